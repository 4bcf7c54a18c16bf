import { isIPv6 } from 'node:net';
import type { Address } from '../addresses.ts';
import { canonicalIp, parsePort } from '../addresses.ts';
import type { Endpoint } from '../control-api.ts';
import type { PodReach } from './pod-endpoint.ts';
import { podEndpoint } from './pod-endpoint.ts';
import type { RegistryIndex, ServicePort } from './registry-index.ts';
import type { EndpointSlice, Pod, Service } from './store/objects.ts';

/** An endpoint of a Service, with what decides who may use it. */
export interface PlacedEndpoint {
  readonly endpoint: Endpoint;
  readonly node: string | undefined;
  /** Whose it is meant to be; empty is no hint. */
  readonly forNodes: readonly string[];
  readonly forZones: readonly string[];
}

/** What there is to answer from. */
export interface EndpointSource extends PodReach {
  readonly index: RegistryIndex;
}

/**
 * Every endpoint behind one address of a Service, ready or not, in the order of their addresses. Empty when the Service
 * has no such port, or nothing behind it.
 */
export function serviceEndpoints(
  service: Service,
  { ip, port }: Address,
  source: EndpointSource,
): readonly PlacedEndpoint[] {
  const servicePort = service.spec.ports.find((one) => one.port === port && one.protocol === 'TCP');
  if (servicePort === undefined) return [];
  const family = isIPv6(ip) ? 'IPv6' : 'IPv4';
  const slices = source.index.slicesOf(service);
  if (slices === undefined) return inOrder(selectedEndpoints(service, servicePort, family, source));
  const ofFamily = slices.filter(({ addressType }) => addressType === family);
  return inOrder(ofFamily.flatMap((slice) => sliceEndpoints(slice, servicePort, source)));
}

/** An endpoint that moves from slice to slice is in both for a while; and slices list it in any order. */
function inOrder(all: readonly PlacedEndpoint[]): readonly PlacedEndpoint[] {
  const byAddress = new Map(all.toReversed().map((one) => [one.endpoint.address, one]));
  return [...byAddress.values()].sort((one, other) => (one.endpoint.address < other.endpoint.address ? -1 : 1));
}

function sliceEndpoints(slice: EndpointSlice, { name }: ServicePort, source: EndpointSource): PlacedEndpoint[] {
  const { index } = source;
  const port = slice.ports.find((one) => one.name === name && one.protocol === 'TCP')?.port;
  if (port === undefined) return [];
  return slice.endpoints.flatMap(({ addresses, conditions, hints, nodeName, targetRef, zone }) => {
    const ip = canonicalIp(addresses[0] ?? '');
    const { namespace = slice.metadata.namespace, name: podName = '' } = targetRef ?? {};
    const isPod = targetRef?.kind === 'Pod';
    const pod = isPod ? index.podNamed(namespace, podName) : index.podsByIp.get(ip ?? '');
    // A pod that the registry does not hold yet may have a sidecar: it is left out, never declared plaintext.
    if (ip === undefined || (isPod && pod === undefined)) return [];
    const endpoint = { ...podEndpoint({ ip, port }, pod, source), ...stateOf(conditions) };
    return {
      endpoint: zone === undefined ? endpoint : { ...endpoint, zone },
      node: nodeName ?? pod?.spec.nodeName,
      forNodes: hints.forNodes.map(({ name: node }) => node),
      forZones: hints.forZones.map(({ name: hinted }) => hinted),
    };
  });
}

/**
 * As kube-proxy reads the conditions: ready ones first, whether or not they terminate, as they do when addresses are
 * published that are not ready; then those that terminate and still serve.
 */
function stateOf({
  ready = true,
  serving = true,
  terminating = false,
}: EndpointSlice['endpoints'][number]['conditions']) {
  return { ready: ready || (serving && terminating), terminating: terminating && !ready };
}

/** The endpoints that the control plane of a cluster would derive, for a directory that holds none. */
function selectedEndpoints(
  service: Service,
  servicePort: ServicePort,
  family: 'IPv4' | 'IPv6',
  source: EndpointSource,
): PlacedEndpoint[] {
  const { index } = source;
  return index.podsSelectedBy(service).flatMap((pod) => {
    const ip = index.addressesOf(pod).find((one) => isIPv6(one) === (family === 'IPv6'));
    const podPort = podPortOf(pod, servicePort);
    if (ip === undefined || podPort === undefined) return [];
    const serving = isReady(pod);
    const terminating = pod.metadata.deletionTimestamp !== undefined;
    const ready = service.spec.publishNotReadyAddresses || (serving && !terminating);
    const state = stateOf({ ready, serving, terminating });
    const endpoint = { ...podEndpoint({ ip, port: podPort }, pod, source), ...state };
    return { endpoint, node: pod.spec.nodeName, forNodes: [], forZones: [] };
  });
}

/** A pod whose conditions nobody wrote down is taken for ready. */
export function isReady({ status }: Pod): boolean {
  const condition = status.conditions.find(({ type }) => type === 'Ready');
  return condition === undefined || condition.status === 'True';
}

/** Whether connections to a Service have anywhere to go, whatever the port. */
export function hasReadyEndpoint(service: Service, index: RegistryIndex): boolean {
  const slices = index.slicesOf(service);
  if (slices === undefined)
    return index.podsSelectedBy(service).some((pod) => service.spec.publishNotReadyAddresses || isReady(pod));
  return slices.some(({ endpoints }) => endpoints.some(({ conditions }) => stateOf(conditions).ready));
}

/** Where a Service sends connections to one of its pods; undefined when it names a port that the pod does not have. */
export function podPortOf({ spec }: Pod, { port, targetPort = port }: ServicePort): number | undefined {
  if (typeof targetPort === 'number') return targetPort;
  const ports = [...spec.containers, ...spec.initContainers].flatMap((container) => container.ports);
  const named = ports.find(({ name, protocol }) => name === targetPort && protocol === 'TCP');
  return named?.containerPort ?? parsePort(targetPort);
}
