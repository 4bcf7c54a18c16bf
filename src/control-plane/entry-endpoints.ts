import { isIPv6 } from 'node:net';
import type { Address } from '../addresses.ts';
import { formatAddress } from '../addresses.ts';
import type { Endpoint } from '../control-api.ts';
import { workloadSpiffeId } from '../identity/spiffe-id.ts';
import { podEndpoint } from './pod-endpoint.ts';
import type { EntryEndpoint, EntryPort, ServiceEntry } from './policy/service-entry.ts';
import type { EndpointSource } from './service-endpoints.ts';
import { isReady } from './service-endpoints.ts';
import type { Pod } from './store/objects.ts';

type Reached = Pick<Endpoint, 'address' | 'transport' | 'spiffeId'>;

/**
 * Whom a ServiceEntry leads to from an address and a port of it. Nobody where it has a problem. Mutual TLS needs somebody to prove;
 * an endpoint of the mesh that nothing says how to reach is left out, never declared plaintext.
 */
export function entryEndpoints(entry: ServiceEntry, address: Address, source: EndpointSource): readonly Endpoint[] {
  const port = entry.ports === 'every' ? undefined : entry.ports.find(({ number }) => number === address.port);
  if (entry.problem !== undefined || port === undefined) return [];
  const { target } = entry;
  switch (target.kind) {
    case 'original':
      return withState(originalEndpoint(entry, address));
    case 'endpoints':
      return target.endpoints.flatMap((endpoint) => withState(listedEndpoint(endpoint, port, entry, source)));
    case 'pods': {
      const pods = source.index.podsLabelled(entry.namespace, target.selector);
      return pods.flatMap((pod) =>
        withState(selectedEndpoint(pod, port, address, entry, source), isReady(pod), pod.metadata.deletionTimestamp),
      );
    }
    default:
      return target satisfies never;
  }
}

function withState(reached: (Reached & { zone?: string }) | undefined, ready = true, deletion?: string): Endpoint[] {
  return reached === undefined ? [] : [{ ...reached, ready, terminating: deletion !== undefined }];
}

function originalEndpoint({ isExternal, spiffeIds }: ServiceEntry, address: Address): Reached | undefined {
  const [spiffeId] = spiffeIds;
  if (isExternal) return inPlaintext(address);
  return spiffeId === undefined ? undefined : { address: formatAddress(address), transport: 'direct', spiffeId };
}

function listedEndpoint(endpoint: EntryEndpoint, port: EntryPort, entry: ServiceEntry, source: EndpointSource) {
  const { ip, ports, transport, serviceAccount, zone } = endpoint;
  const { index, trustDomain } = source;
  const address = {
    ip,
    port: Object.hasOwn(ports, port.name) ? (ports[port.name] ?? port.targetPort) : port.targetPort,
  };
  const placed = (reached: Reached | undefined) => reached && { ...reached, ...(zone !== undefined && { zone }) };
  // Dialled as it is it would be kube-proxy who chooses, and a pod with a sidecar would be reached in plaintext.
  if (index.servicesByIp.has(ip) || index.servicesByExternalAddress.has(formatAddress(address))) return undefined;
  const pod = index.podsByIp.get(ip);
  if (pod !== undefined) return placed(podOf(pod, address, entry, source));
  if (transport === undefined) return undefined;
  if (transport === 'plaintext') return placed(inPlaintext(address));
  const spiffeId =
    serviceAccount === undefined
      ? onlyOne(entry.spiffeIds)
      : workloadSpiffeId(trustDomain, entry.namespace, serviceAccount).uri;
  if (spiffeId === undefined) return undefined;
  return placed({ address: formatAddress(address), transport, spiffeId });
}

function selectedEndpoint(
  pod: Pod,
  { targetPort }: EntryPort,
  { ip: asked }: Address,
  entry: ServiceEntry,
  source: EndpointSource,
): Reached | undefined {
  const ips = source.index.addressesOf(pod);
  const ip = ips.find((one) => isIPv6(one) === isIPv6(asked)) ?? ips[0];
  return ip === undefined ? undefined : podOf(pod, { ip, port: targetPort }, entry, source);
}

/** A pod is what the registry says it is; where the entry names who has to be proved, it is used only as one of these. */
function podOf(pod: Pod, address: Address, { spiffeIds }: ServiceEntry, source: EndpointSource): Reached | undefined {
  const reached = podEndpoint(address, pod, source);
  return spiffeIds.length === 0 || spiffeIds.includes(reached.spiffeId) ? reached : undefined;
}

function inPlaintext(address: Address): Reached {
  return { address: formatAddress(address), transport: 'plaintext', spiffeId: '' };
}

function onlyOne<T>(items: readonly T[]): T | undefined {
  return items.length === 1 ? items[0] : undefined;
}
