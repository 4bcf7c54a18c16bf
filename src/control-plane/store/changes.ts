import { formatRange } from '../../prefix-table.ts';
import { hasSidecar } from '../pod-endpoint.ts';
import type { ScopedPolicy } from '../policy/authorization-policy.ts';
import type { PeerAuthentication } from '../policy/peer-authentication.ts';
import type { ServiceEntry } from '../policy/service-entry.ts';
import { indexRegistry } from '../registry-index.ts';
import { hasReadyEndpoint, isReady } from '../service-endpoints.ts';
import type { EndpointSlice, Named, Pod, RegistryObjects, Service } from './objects.ts';

/** What became of the objects of one kind, each as a text for people that begins with `namespace/name`. */
export interface KindChanges {
  readonly kind: string;
  readonly added: readonly string[];
  readonly removed: readonly string[];
  /** With what changed, as it was and as it is. */
  readonly changed: readonly string[];
}

export interface RegistryChanges {
  /** Kinds without a change are left out. */
  readonly kinds: readonly KindChanges[];
  /** Services that are gone, with the addresses that led to them. */
  readonly servicesRemoved: readonly string[];
  /** Services that stayed, had an endpoint that was ready, and have none. */
  readonly servicesEmptied: readonly string[];
}

/** What of an object is told when it changes: values by name. */
type Facts = Readonly<Record<string, readonly string[]>>;

type Identified = { readonly metadata: Named['metadata'] } | { readonly name: string; readonly namespace: string };

/** What a person has to know who asks why a destination is another one than before. Other fields change without a word. Pure. */
export function changesBetween(before: RegistryObjects, after: RegistryObjects): RegistryChanges {
  const services = kindChanges('Service', before.services, after.services, serviceFacts);
  const kinds = [
    services,
    kindChanges('Pod', before.pods, after.pods, podFacts),
    kindChanges('EndpointSlice', before.endpointSlices, after.endpointSlices, sliceFacts),
    kindChanges('ServiceAccount', before.serviceAccounts, after.serviceAccounts, () => ({})),
    kindChanges('Namespace', before.namespaces, after.namespaces, () => ({})),
    kindChanges('PeerAuthentication', before.peerAuthentications, after.peerAuthentications, modeFacts),
    kindChanges('AuthorizationPolicy', before.authorizationPolicies, after.authorizationPolicies, policyFacts),
    kindChanges('ServiceEntry', before.serviceEntries, after.serviceEntries, entryFacts),
  ];
  return {
    kinds: kinds.filter(({ added, removed, changed }) => added.length + removed.length + changed.length > 0),
    servicesRemoved: services.removed,
    servicesEmptied: emptiedServices(before, after),
  };
}

function kindChanges<T extends Identified>(
  kind: string,
  before: readonly T[],
  after: readonly T[],
  factsOf: (object: T) => Facts,
): KindChanges {
  const gone = new Map(before.map((one) => [nameOf(one, kind), one]));
  const added: string[] = [];
  const changed: string[] = [];
  for (const one of after) {
    const name = nameOf(one, kind);
    const previous = gone.get(name);
    gone.delete(name);
    if (previous === undefined) added.push(named(name, factsOf(one)));
    else if (previous !== one) changed.push(...differences(name, factsOf(previous), factsOf(one)));
  }
  return { kind, added, removed: [...gone].map(([name, one]) => named(name, factsOf(one))), changed };
}

/** A Namespace is in none. */
function nameOf(object: Identified, kind: string): string {
  const { namespace, name } = 'metadata' in object ? object.metadata : object;
  return kind === 'Namespace' ? name : `${namespace}/${name}`;
}

/** With its addresses, where it has any: people ask for these. */
function named(name: string, { addresses = [] }: Facts): string {
  return addresses.length === 0 ? name : `${name} (${few(addresses)})`;
}

/** `shop/api: service account api became api-v2`; of lists what is no more in them, and what is new. */
function differences(name: string, before: Facts, after: Facts): string[] {
  const parts = Object.entries(after).flatMap(([what, now]) => {
    const was = before[what] ?? [];
    const [lost, gained] = [was.filter((one) => !now.includes(one)), now.filter((one) => !was.includes(one))];
    if (lost.length + gained.length === 0) return [];
    if (was.length <= 1 && now.length <= 1) return [`${what} ${few(was) || 'none'} became ${few(now) || 'none'}`];
    return [
      [what, lost.length > 0 && `lost ${few(lost)}`, gained.length > 0 && `gained ${few(gained)}`]
        .filter(Boolean)
        .join(' '),
    ];
  });
  return parts.length === 0 ? [] : [`${name}: ${parts.join('; ')}`];
}

const fewTexts = 5;
const longestText = 100;

/** Whatever a file holds, a line has an end. */
function few(texts: readonly string[]): string {
  const shown = texts
    .slice(0, fewTexts)
    .map((text) => (text.length > longestText ? `${text.slice(0, longestText)}…` : text));
  return texts.length > fewTexts ? `${shown.join(', ')} and ${texts.length - fewTexts} more` : shown.join(', ');
}

function serviceFacts({ spec, status }: Service): Facts {
  const ingress = status.loadBalancer.ingress.map(({ ip }) => ip);
  const all = new Set([spec.clusterIP, ...spec.clusterIPs, ...spec.externalIPs, ...ingress]);
  return {
    addresses: [...all].filter((ip) => ip !== undefined).filter((ip) => ip !== ''),
    ports: spec.ports.map(({ port, targetPort = port, protocol }) => `${port}→${targetPort}/${protocol}`),
    selector: labelTexts(spec.selector),
  };
}

function podFacts(pod: Pod): Facts {
  const { metadata, spec, status } = pod;
  const all = new Set([status.podIP, ...status.podIPs.map(({ ip }) => ip)]);
  return {
    addresses: [...all].filter((ip) => ip !== undefined),
    'service account': [spec.serviceAccountName],
    state: [stateOf(pod)],
    sidecar: [hasSidecar(pod) ? 'yes' : 'no'],
    // Selectors go by them.
    labels: labelTexts(metadata.labels),
    uid: metadata.uid === undefined ? [] : [metadata.uid],
  };
}

function stateOf(pod: Pod): string {
  const { metadata, status } = pod;
  if (status.phase === 'Succeeded' || status.phase === 'Failed') return status.phase;
  if (metadata.deletionTimestamp !== undefined) return 'terminating';
  return isReady(pod) ? 'ready' : 'not ready';
}

function sliceFacts({ endpoints, ports }: EndpointSlice): Facts {
  const ready = endpoints.filter(({ conditions }) => conditions.ready ?? true);
  return {
    'ready endpoints': [...new Set(ready.map(({ addresses }) => addresses[0] ?? ''))],
    'other endpoints': [
      ...new Set(endpoints.filter((one) => !ready.includes(one)).map(({ addresses }) => addresses[0] ?? '')),
    ],
    ports: ports.map(({ name, port, protocol }) => `${name}:${port ?? ''}/${protocol}`),
  };
}

function modeFacts({ mode, ports, selector, problem }: PeerAuthentication): Facts {
  return {
    mode: [mode],
    'modes of ports': [...ports].map(([port, own]) => `${port}=${own}`),
    selector: labelTexts(selector),
    problem: problem === undefined ? [] : [problem],
  };
}

function policyFacts({ policy, selector, isSkipped }: ScopedPolicy): Facts {
  return {
    action: [policy.isDryRun ? `${policy.action} on trial` : policy.action],
    rules: policy.rules.map((rule) => JSON.stringify(rule)),
    selector: labelTexts(selector),
    problem: policy.problem === undefined ? [] : [policy.problem],
    skipped: isSkipped ? ['yes'] : [],
  };
}

function entryFacts({ ranges, exportTo, target, problem }: ServiceEntry): Facts {
  return {
    addresses: ranges.map(formatRange),
    'visible in': exportTo === 'all' ? ['all namespaces'] : exportTo,
    endpoints: target.kind === 'endpoints' ? target.endpoints.map(({ ip }) => ip) : [],
    problem: problem === undefined ? [] : [problem],
  };
}

const labelTexts = (labels: Readonly<Record<string, string>> = {}) =>
  Object.entries(labels).map(([label, value]) => `${label}=${value}`);

/** An index is made only where objects may have changed; of the state before only those are asked that have nothing now. */
function emptiedServices(before: RegistryObjects, after: RegistryObjects): string[] {
  const [indexBefore, indexAfter] = [indexRegistry(before), indexRegistry(after)];
  const known = new Map(before.services.map((one) => [nameOf(one, 'Service'), one]));
  return after.services
    .filter((one) => {
      const previous = known.get(nameOf(one, 'Service'));
      if (previous === undefined || hasReadyEndpoint(one, indexAfter)) return false;
      return hasReadyEndpoint(previous, indexBefore);
    })
    .map((one) => named(nameOf(one, 'Service'), serviceFacts(one)));
}
