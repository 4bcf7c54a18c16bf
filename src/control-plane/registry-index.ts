import { formatAddress } from '../addresses.ts';
import type { PrefixTable } from '../prefix-table.ts';
import { createPrefixTable } from '../prefix-table.ts';
import type { ServiceEntry } from './policy/service-entry.ts';
import type { EndpointSlice, Pod, RegistryObjects, Service } from './store/objects.ts';

export type ServicePort = Service['spec']['ports'][number];

/** One state of the registry, prepared for questions by address. */
export interface RegistryIndex {
  /** By each cluster IP. */
  readonly servicesByIp: ReadonlyMap<string, Service>;
  /** By each address outside of the cluster that kube-proxy takes for the Service's own, with each of its TCP ports. */
  readonly servicesByExternalAddress: ReadonlyMap<string, Service>;
  /** Pods that run, by each address of their own; pods on the network of their node have none. */
  readonly podsByIp: ReadonlyMap<string, Pod>;
  /** Undefined when the registry holds none at all for the Service. */
  slicesOf(service: Service): readonly EndpointSlice[] | undefined;
  podNamed(namespace: string, name: string): Pod | undefined;
  /** Running pods in the namespace of the Service that carry every label of its selector; none without a selector. */
  podsSelectedBy(service: Service): readonly Pod[];
  /** Running pods of the namespace that carry every one of these labels; none without any. */
  podsLabelled(namespace: string, wanted: Readonly<Record<string, string>>): readonly Pod[];
  /** ServiceEntries with a range that holds the address: of the longest range first, and of one range the oldest first. */
  entriesAt(ip: string): Iterable<ServiceEntry>;
  /** Canonical, without repetition. */
  addressesOf(pod: Pod): readonly string[];
}

const serviceNameLabel = 'kubernetes.io/service-name';

export function indexRegistry({ pods, services, endpointSlices, serviceEntries }: RegistryObjects): RegistryIndex {
  const running = pods.filter(({ status }) => status.phase !== 'Succeeded' && status.phase !== 'Failed');
  const podsByName = new Map(pods.map((pod) => [nameOf(pod.metadata), pod]));
  const podsByNamespace = Map.groupBy(running, ({ metadata }) => metadata.namespace);
  const slices = Map.groupBy(endpointSlices, ({ metadata }) =>
    nameOf({ namespace: metadata.namespace, name: metadata.labels[serviceNameLabel] ?? '' }),
  );
  const podsLabelled = (namespace: string, labels: Readonly<Record<string, string>>) => {
    const wanted = Object.entries(labels);
    if (wanted.length === 0) return [];
    const candidates = podsByNamespace.get(namespace) ?? [];
    return candidates.filter((pod) => wanted.every(([label, value]) => pod.metadata.labels[label] === value));
  };
  /** Made when somebody asks: most addresses are those of Services and pods. */
  let entries: PrefixTable<ServiceEntry> | undefined;
  return {
    servicesByIp: new Map(services.flatMap((service) => clusterIpsOf(service).map((ip) => [ip, service]))),
    servicesByExternalAddress: mapExternalAddresses(services),
    podsByIp: mapPodsByIp(running),
    slicesOf: ({ metadata }) => slices.get(nameOf(metadata)),
    podNamed: (namespace, name) => podsByName.get(nameOf({ namespace, name })),
    podsSelectedBy: ({ metadata, spec }) => podsLabelled(metadata.namespace, spec.selector ?? {}),
    podsLabelled,
    entriesAt(ip) {
      entries ??= indexEntries(serviceEntries);
      return entries.matches(ip);
    },
    addressesOf,
  };
}

/** While a new pod already has the address of one that is going, the address is the new one's. */
function mapPodsByIp(running: readonly Pod[]): ReadonlyMap<string, Pod> {
  const byIp = new Map<string, Pod>();
  for (const pod of running.filter(({ spec }) => !spec.hostNetwork)) {
    for (const ip of addressesOf(pod)) {
      const other = byIp.get(ip);
      if (other === undefined || isNewer(pod, other)) byIp.set(ip, pod);
    }
  }
  return byIp;
}

function isNewer({ metadata: one }: Pod, { metadata: other }: Pod): boolean {
  const [isOneGoing, isOtherGoing] = [one.deletionTimestamp !== undefined, other.deletionTimestamp !== undefined];
  if (isOneGoing !== isOtherGoing) return isOtherGoing;
  return (one.creationTimestamp ?? '') > (other.creationTimestamp ?? '');
}

/** kube-proxy leaves a Service alone that is only a name for another. */
function clusterIpsOf({ spec }: Service): readonly string[] {
  if (spec.type === 'ExternalName') return [];
  const all = new Set([spec.clusterIP, ...spec.clusterIPs]);
  return [...all].filter((ip) => ip !== undefined).filter((ip) => ip !== '' && ip !== 'None');
}

/** Whoever may make a Service can name any address here: an address that another Service has already stays with the older one. */
function mapExternalAddresses(services: readonly Service[]): ReadonlyMap<string, Service> {
  const byAddress = new Map<string, Service>();
  for (const service of services.toSorted(byAge)) {
    for (const ip of externalIpsOf(service)) {
      for (const { port } of service.spec.ports.filter(({ protocol }) => protocol === 'TCP')) {
        const address = formatAddress({ ip, port });
        if (!byAddress.has(address)) byAddress.set(address, service);
      }
    }
  }
  return byAddress;
}

/** As kube-proxy reads them: of a Service with a cluster IP, and those of a load balancer that does not insist on being passed. */
function externalIpsOf(service: Service): readonly string[] {
  const { spec, status } = service;
  if (clusterIpsOf(service).length === 0) return [];
  // Who may call is then decided by kube-proxy, from the caller's address.
  if (spec.loadBalancerSourceRanges.length > 0) return spec.externalIPs;
  const ingress = status.loadBalancer.ingress.filter(({ ipMode }) => (ipMode ?? 'VIP') === 'VIP');
  return [...spec.externalIPs, ...ingress.map(({ ip }) => ip).filter((ip) => ip !== undefined)];
}

/** The oldest first. */
export function byAge({ metadata: one }: Service, { metadata: other }: Service): number {
  const [first, second] = [one, other].map((metadata) => `${metadata.creationTimestamp ?? ''} ${nameOf(metadata)}`);
  return (first ?? '') < (second ?? '') ? -1 : 1;
}

function indexEntries(entries: readonly ServiceEntry[]): PrefixTable<ServiceEntry> {
  const byAgeOf = (entry: ServiceEntry) => `${entry.creationTimestamp ?? ''} ${nameOf(entry)}`;
  const aged = entries.map((entry) => ({ entry, age: byAgeOf(entry) }));
  aged.sort(({ age: one }, { age: other }) => (one < other ? -1 : 1));
  return createPrefixTable(aged.flatMap(({ entry }) => entry.ranges.map((range) => [range, entry] as const)));
}

function addressesOf({ status }: Pod): readonly string[] {
  const all = new Set([status.podIP, ...status.podIPs.map(({ ip }) => ip)]);
  return [...all].filter((ip) => ip !== undefined);
}

function nameOf({ namespace, name }: { readonly namespace: string; readonly name: string }): string {
  return `${namespace}/${name}`;
}
