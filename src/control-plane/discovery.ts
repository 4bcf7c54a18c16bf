import { isIPv6 } from 'node:net';
import type { Address } from '../addresses.ts';
import { canonicalIp, formatAddress, parseAddress, parsePort } from '../addresses.ts';
import type { Destination, Endpoint } from '../control-api.ts';
import { workloadSpiffeId } from '../identity/spiffe-id.ts';
import { sidecarPorts } from '../ports.ts';
import { limitEndpoints } from './endpoint-limit.ts';
import type { RegistryIndex, ServicePort } from './registry-index.ts';
import { indexRegistry } from './registry-index.ts';
import type { EndpointSlice, Pod, RegistryObjects, Service } from './store/objects.ts';

export interface DiscoverySettings {
  readonly trustDomain: string;
  /** How long a sidecar may use an answer while the control plane is away; seconds. */
  readonly destinationTtlSeconds: number;
}

/** Answers what is behind an address; the same text for the same registry. Pure. */
export type Discovery = (address: string) => Destination;

/** The sidecar itself answers these, in clear and uncaptured: a Prometheus in the mesh scrapes them. */
const sidecarOwnPorts: ReadonlySet<number> = new Set([sidecarPorts.metrics, sidecarPorts.health]);

/** What kube-proxy would do with an address, plus who must be there and how it is reached. */
export function createDiscovery(objects: RegistryObjects, settings: DiscoverySettings): Discovery {
  const index = indexRegistry(objects);
  const endpointsOf = remembered((service, address) =>
    limitEndpoints(serviceEndpoints(service, address, index, settings)),
  );
  return (asked) => {
    const address = parseAddress(asked);
    const service = address && index.servicesByIp.get(address.ip);
    const pod = address && index.podsByIp.get(address.ip);
    const answer = { address: asked, ttlSeconds: settings.destinationTtlSeconds, known: true };
    if (address !== undefined && service !== undefined) {
      const { name, namespace } = service.metadata;
      return { ...answer, service: `${name}.${namespace}`, endpoints: [...endpointsOf(service, address)] };
    }
    // Whoever dials a pod by its own address wants this one, ready or not, as without a mesh.
    if (address !== undefined && pod !== undefined) {
      const endpoint = podEndpoint(address, pod, settings);
      return { ...answer, endpoints: [{ ...endpoint, ready: true, terminating: false }] };
    }
    return { ...answer, known: false, endpoints: [] };
  };
}

type EndpointsOf = (service: Service, address: Address) => readonly Endpoint[];

/** Many sidecars ask for the same Service. Only what has endpoints is kept: there are no more such addresses than ports of Services. */
function remembered(find: EndpointsOf): EndpointsOf {
  const found = new Map<string, readonly Endpoint[]>();
  return (service, address) => {
    const name = formatAddress(address);
    const endpoints = found.get(name) ?? find(service, address);
    if (endpoints.length > 0) found.set(name, endpoints);
    return endpoints;
  };
}

/** Empty when the Service has no such port, or nothing behind it. */
function serviceEndpoints(
  service: Service,
  { ip, port }: Address,
  index: RegistryIndex,
  settings: DiscoverySettings,
): Endpoint[] {
  const servicePort = service.spec.ports.find((one) => one.port === port && one.protocol === 'TCP');
  if (servicePort === undefined) return [];
  const family = isIPv6(ip) ? 'IPv6' : 'IPv4';
  const slices = index.slicesOf(service);
  return slices === undefined
    ? selectedEndpoints(service, servicePort, family, index, settings)
    : slices
        .filter(({ addressType }) => addressType === family)
        .flatMap((slice) => sliceEndpoints(slice, servicePort, index, settings));
}

function sliceEndpoints(
  slice: EndpointSlice,
  { name }: ServicePort,
  index: RegistryIndex,
  settings: DiscoverySettings,
): Endpoint[] {
  const port = slice.ports.find((one) => one.name === name && one.protocol === 'TCP')?.port;
  if (port === undefined) return [];
  return slice.endpoints.flatMap(({ addresses, conditions, targetRef, zone }) => {
    const ip = canonicalIp(addresses[0] ?? '');
    const pod = targetRef?.kind === 'Pod' ? index.podNamed(targetRef, slice) : index.podsByIp.get(ip ?? '');
    // A pod that the registry does not hold yet may have a sidecar: it is left out, never declared plaintext.
    if (ip === undefined || (targetRef?.kind === 'Pod' && pod === undefined)) return [];
    const terminating = conditions.terminating ?? false;
    // A Service prefers ready endpoints, and falls back to terminating ones that still serve.
    const ready = (conditions.ready ?? true) || (terminating && (conditions.serving ?? false));
    const endpoint = { ...podEndpoint({ ip, port }, pod, settings), ready, terminating };
    return [zone === undefined ? endpoint : { ...endpoint, zone }];
  });
}

/** The endpoints that the control plane of a cluster would derive, for a directory that holds none. */
function selectedEndpoints(
  service: Service,
  { targetPort, port }: ServicePort,
  family: 'IPv4' | 'IPv6',
  index: RegistryIndex,
  settings: DiscoverySettings,
): Endpoint[] {
  return index.podsSelectedBy(service).flatMap((pod) => {
    const ip = index.addressesOf(pod).find((one) => isIPv6(one) === (family === 'IPv6'));
    const podPort = targetPort === undefined ? port : portOf(pod, targetPort);
    if (ip === undefined || podPort === undefined) return [];
    const ready = service.spec.publishNotReadyAddresses || isReady(pod);
    const terminating = pod.metadata.deletionTimestamp !== undefined;
    return [{ ...podEndpoint({ ip, port: podPort }, pod, settings), ready, terminating }];
  });
}

function podEndpoint(address: Address, pod: Pod | undefined, { trustDomain }: DiscoverySettings) {
  if (pod === undefined || !hasSidecar(pod) || sidecarOwnPorts.has(address.port)) {
    return { address: formatAddress(address), transport: 'plaintext', spiffeId: '' } as const;
  }
  const { uri } = workloadSpiffeId(trustDomain, pod.metadata.namespace, pod.spec.serviceAccountName);
  return { address: formatAddress(address), transport: 'hbone', spiffeId: uri } as const;
}

/** Istio's label for pods that accept HBONE, or our container. On the network of its node no pod is captured. */
function hasSidecar({ metadata, spec }: Pod): boolean {
  if (spec.hostNetwork) return false;
  const isOurs = ({ name }: { readonly name: string }) => name === 'remora';
  const isLabelled = metadata.labels['networking.istio.io/tunnel'] === 'http';
  return isLabelled || spec.containers.some(isOurs) || spec.initContainers.some(isOurs);
}

/** A pod whose conditions nobody wrote down is taken for ready. */
function isReady({ status }: Pod): boolean {
  const condition = status.conditions.find(({ type }) => type === 'Ready');
  return condition === undefined || condition.status === 'True';
}

function portOf({ spec }: Pod, targetPort: number | string): number | undefined {
  if (typeof targetPort === 'number') return targetPort;
  const ports = [...spec.containers, ...spec.initContainers].flatMap((container) => container.ports);
  const named = ports.find(({ name, protocol }) => name === targetPort && protocol === 'TCP');
  return named?.containerPort ?? parsePort(targetPort);
}
