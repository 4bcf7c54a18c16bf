import type { Address } from '../addresses.ts';
import { canonicalIp } from '../addresses.ts';
import type { NamedWorkload } from '../control-api.ts';
import { maxPodNameLength, maxServicePorts, maxSidecarIdLength } from '../control-api.ts';
import { workloadSpiffeId } from '../identity/spiffe-id.ts';
import { workloadOf } from '../pod-workload.ts';
import { isDnsLabel } from './names.ts';
import { hasSidecar } from './pod-endpoint.ts';
import type { RegistryIndex } from './registry-index.ts';
import { byAge } from './registry-index.ts';
import { podPortOf } from './service-endpoints.ts';
import type { Pod, RegistryObjects, Service } from './store/objects.ts';

export interface WorkloadSettings {
  /** What Istio's metrics call this cluster. */
  readonly clusterName: string;
  readonly trustDomain: string;
}

/** Answers which workload has an IP address; undefined for an address that is no pod's of its own. Pure. */
export type Workloads = (address: string) => NamedWorkload | undefined;

/** Names pods as Istio's metrics do: by what made them, and by their labels. */
export function createWorkloads(
  { services }: RegistryObjects,
  { clusterName: cluster, trustDomain }: WorkloadSettings,
  index: RegistryIndex,
): Workloads {
  const byNamespace = Map.groupBy(services, ({ metadata }) => metadata.namespace);
  /** Made when a pod of the namespace is asked for: of most states of a registry, few are. */
  const made = new Map<string, ReadonlyMap<string, ServicesByPort>>();

  const servicesAt = (ip: string, namespace: string): NamedWorkload['services'] => {
    const byIp = made.get(namespace) ?? servicesByPodIp(byNamespace.get(namespace) ?? [], index);
    made.set(namespace, byIp);
    return [...(byIp.get(ip) ?? [])].map(([port, service]) => ({ port, service }));
  };
  return (address) => {
    const ip = canonicalIp(address) ?? '';
    const pod = index.podsByIp.get(ip);
    if (pod === undefined) return undefined;
    const { name } = pod.metadata;
    const named = name.length <= maxPodNameLength && fitting(name) !== undefined && { pod: name };
    const sidecarId = capturesAll(pod) ? idOf(pod, trustDomain) : '';
    const sidecar = sidecarId !== '' && sidecarId.length <= maxSidecarIdLength && { sidecarId };
    return {
      address,
      ...named,
      ...namesOf(pod),
      cluster,
      ...sidecar,
      services: servicesAt(ip, pod.metadata.namespace),
    };
  };
}

/** Where an annotation asks for less, nobody here knows what still goes through the sidecar. */
function capturesAll(pod: Pod): boolean {
  return hasSidecar(pod) && pod.metadata.annotations === undefined;
}

function idOf({ metadata, spec }: Pod, trustDomain: string): string {
  return workloadSpiffeId(trustDomain, metadata.namespace, spec.serviceAccountName).uri;
}

function namesOf(pod: Pod): Omit<NamedWorkload, 'address' | 'cluster' | 'sidecarId' | 'services'> {
  const { namespace, labels } = pod.metadata;
  const label = (...keys: readonly string[]) =>
    keys.map((key) => fitting(labels[key])).find((value) => value !== undefined);
  const name = fitting(workloadOf(pod).name) ?? pod.metadata.name;
  const canonicalName = label('service.istio.io/canonical-name', 'app.kubernetes.io/name', 'app') ?? name;
  const canonicalRevision =
    label('service.istio.io/canonical-revision', 'app.kubernetes.io/version', 'version') ?? 'latest';
  return {
    name,
    namespace,
    serviceAccount: pod.spec.serviceAccountName,
    app: label('app') ?? canonicalName,
    version: label('version') ?? canonicalRevision,
    canonicalName,
    canonicalRevision,
  };
}

type ServicesByPort = ReadonlyMap<number, string>;

/**
 * Which Service leads to a port of a pod, of several the oldest: by EndpointSlices as kube-proxy reads them, or by labels
 * where there are none. Only Services whose name can stand in a DNS name of the cluster.
 */
function servicesByPodIp(services: readonly Service[], index: RegistryIndex): ReadonlyMap<string, ServicesByPort> {
  const byIp = new Map<string, Map<number, string>>();
  for (const service of services.toSorted(byAge)) {
    const { name, namespace } = service.metadata;
    if (service.spec.type === 'ExternalName' || !isDnsLabel(name) || !isDnsLabel(namespace)) continue;
    for (const { ip, port } of podAddressesOf(service, index)) {
      const byPort = byIp.get(ip) ?? new Map<number, string>();
      byIp.set(ip, byPort);
      if (!byPort.has(port) && byPort.size < maxServicePorts) byPort.set(port, `${name}.${namespace}`);
    }
  }
  return byIp;
}

function podAddressesOf(service: Service, index: RegistryIndex): Address[] {
  const servicePorts = service.spec.ports.filter(({ protocol }) => protocol === 'TCP');
  const slices = index.slicesOf(service);
  if (slices === undefined)
    return index.podsSelectedBy(service).flatMap((pod) => {
      const ports = servicePorts.map((servicePort) => podPortOf(pod, servicePort)).filter((port) => port !== undefined);
      return index.addressesOf(pod).flatMap((ip) => ports.map((port) => ({ ip, port })));
    });
  const names = new Set(servicePorts.map(({ name }) => name));
  return slices.flatMap(({ endpoints, ports }) => {
    const mine = ports.filter(({ name, protocol }) => protocol === 'TCP' && names.has(name)).map(({ port }) => port);
    return endpoints.flatMap(({ addresses }) => {
      const ip = canonicalIp(addresses[0] ?? '');
      return ip === undefined ? [] : mine.flatMap((port) => (port === undefined ? [] : { ip, port }));
    });
  });
}

/** A value that Kubernetes would take for a label or a name; a directory of YAML may hold any. */
function fitting(value: string | undefined): string | undefined {
  return value !== undefined && value.length <= 253 && /^[A-Za-z0-9][-A-Za-z0-9_.]*$/.test(value) ? value : undefined;
}
