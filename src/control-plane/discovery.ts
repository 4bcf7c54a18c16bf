import { isIPv6 } from 'node:net';
import type { Address } from '../addresses.ts';
import { formatAddress, isGlobal, parseAddress } from '../addresses.ts';
import type { Destination, Endpoint } from '../control-api.ts';
import type { EndpointChoice } from './endpoint-choice.ts';
import { chooseByHints, chooseOnNode } from './endpoint-choice.ts';
import { limitEndpoints } from './endpoint-limit.ts';
import { entryEndpoints } from './entry-endpoints.ts';
import type { Asker } from './place.ts';
import { createPlaces } from './place.ts';
import { podEndpoint } from './pod-endpoint.ts';
import type { PolicySelection, SelectionSettings } from './policy/select.ts';
import { createSelection } from './policy/select.ts';
import type { ServiceEntry } from './policy/service-entry.ts';
import { isVisibleIn } from './policy/service-entry.ts';
import type { RegistryIndex } from './registry-index.ts';
import { indexRegistry } from './registry-index.ts';
import { serviceEndpoints } from './service-endpoints.ts';
import type { RegistryObjects, Service } from './store/objects.ts';

export interface DiscoverySettings extends SelectionSettings {
  readonly trustDomain: string;
  /** How long a sidecar may use an answer while the control plane is away; seconds. */
  readonly destinationTtlSeconds: number;
}

/** Answers what is behind an address for one pod; the same text for the same registry, place and pod. Pure. */
export type Discovery = (address: string, asker: Asker) => Destination;

/** What kube-proxy on the asker's node would do with an address, plus who must be there and how it is reached. */
export function createDiscovery(
  objects: RegistryObjects,
  settings: DiscoverySettings,
  index: RegistryIndex = indexRegistry(objects),
  { modeAt }: Pick<PolicySelection, 'modeAt'> = createSelection(objects, settings),
): Discovery {
  const { trustDomain, destinationTtlSeconds: ttlSeconds } = settings;
  const source = { index, trustDomain, modeAt };
  const placeOf = createPlaces(objects, index);
  const choices = new Map<string, EndpointChoice>();

  /** Many sidecars ask for the same Service. Only what has endpoints is kept: there are no more such addresses than ports of Services. */
  const choiceOf = (service: Service, address: Address, isLocal: boolean): EndpointChoice => {
    const name = formatAddress(address);
    const known = choices.get(name);
    if (known !== undefined) return known;
    const endpoints = serviceEndpoints(service, address, source);
    const choice = isLocal ? chooseOnNode(endpoints) : chooseByHints(endpoints);
    if (endpoints.length > 0) choices.set(name, choice);
    return choice;
  };
  /** The lists of entries are the same for every address of theirs, and may be long. */
  const listed = new WeakMap<ServiceEntry, Map<string, (asker: string) => readonly Endpoint[]>>();
  const endpointsOf = (entry: ServiceEntry, address: Address): ((asker: string) => readonly Endpoint[]) => {
    const make = () => limitEndpoints(entryEndpoints(entry, address, source));
    if (entry.target.kind === 'original') return make();
    const byPort = listed.get(entry) ?? new Map<string, (asker: string) => readonly Endpoint[]>();
    listed.set(entry, byPort);
    const key = `${address.port} ${isIPv6(address.ip)}`;
    const known = byPort.get(key) ?? make();
    byPort.set(key, known);
    return known;
  };
  return (asked, asker) => {
    const unknown = { address: asked, ttlSeconds, known: false, endpoints: [] };
    const address = parseAddress(asked);
    if (address === undefined) return unknown;
    const answer = { ...unknown, known: true };
    const answerOf = (service: Service, isLocal: boolean): Destination => ({
      ...answer,
      service: `${service.metadata.name}.${service.metadata.namespace}`,
      affinitySeconds: affinitySecondsOf(service),
      endpoints: [...choiceOf(service, address, isLocal)(placeOf(asker), `${asker.namespace}/${asker.pod}`)],
    });
    const service = index.servicesByIp.get(address.ip);
    if (service !== undefined) return answerOf(service, service.spec.internalTrafficPolicy === 'Local');
    // Whoever dials a pod by its own address wants this one, ready or not, as without a mesh.
    const pod = index.podsByIp.get(address.ip);
    if (pod !== undefined)
      return { ...answer, endpoints: [{ ...podEndpoint(address, pod, source), ready: true, terminating: false }] };
    // After pods: an address that a Service claims for itself takes no connection away from one.
    const outer = index.servicesByExternalAddress.get(formatAddress(address));
    if (outer !== undefined) return answerOf(outer, false);
    // Last of all, for the same reason: whoever may write a ServiceEntry may name any address.
    const entry = entryAt(address, asker, index);
    if (entry === undefined) return unknown;
    const name = `${entry.namespace}/${entry.name}`;
    const endpoints = [...endpointsOf(entry, address)(`${asker.namespace}/${asker.pod}`)];
    return { ...answer, entry: name, endpoints, ...(endpoints.length === 0 && { problem: whyNobody(entry) }) };
  };
}

/** The entry that answers for an address: of those that the asker sees and that have the port the narrowest, then the oldest. */
function entryAt({ ip, port }: Address, { namespace }: Asker, { entriesAt }: RegistryIndex): ServiceEntry | undefined {
  if (!isGlobal(ip)) return undefined;
  for (const entry of entriesAt(ip)) {
    const hasPort = entry.ports === 'every' || entry.ports.some(({ number }) => number === port);
    if (hasPort && isVisibleIn(entry, namespace)) return entry;
  }
  return undefined;
}

const longestProblem = 500;

function whyNobody({ problem, target }: ServiceEntry): string {
  if (problem !== undefined) return problem.slice(0, longestProblem);
  if (target.kind === 'pods') return 'its selector selects no pod with an address that can be used';
  return 'none of its endpoints is a pod, or says how it is reached and who has to be proved there';
}

const defaultAffinitySeconds = 10_800;

function affinitySecondsOf({ spec }: Service): number | undefined {
  if (spec.sessionAffinity !== 'ClientIP') return undefined;
  return spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? defaultAffinitySeconds;
}
