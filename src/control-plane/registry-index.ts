import type { EndpointSlice, Pod, RegistryObjects, Service } from './store/objects.ts';

export type ServicePort = Service['spec']['ports'][number];

interface Reference {
  readonly name?: string | undefined;
  readonly namespace?: string | undefined;
}

/** One state of the registry, prepared for questions by address. */
export interface RegistryIndex {
  readonly servicesByIp: ReadonlyMap<string, Service>;
  /** Pods that run, by each address of their own; pods on the network of their node have none. */
  readonly podsByIp: ReadonlyMap<string, Pod>;
  /** Undefined when the registry holds none at all for the Service. */
  slicesOf(service: Service): readonly EndpointSlice[] | undefined;
  /** The pod that an endpoint of `slice` refers to. */
  podNamed(reference: Reference, slice: EndpointSlice): Pod | undefined;
  /** Running pods in the namespace of the Service that carry every label of its selector; none without a selector. */
  podsSelectedBy(service: Service): readonly Pod[];
  /** Canonical, without repetition. */
  addressesOf(pod: Pod): readonly string[];
}

const serviceNameLabel = 'kubernetes.io/service-name';

export function indexRegistry({ pods, services, endpointSlices }: RegistryObjects): RegistryIndex {
  const running = pods.filter(({ status }) => status.phase !== 'Succeeded' && status.phase !== 'Failed');
  const podsByName = new Map(pods.map((pod) => [nameOf(pod.metadata), pod]));
  const podsByNamespace = Map.groupBy(running, ({ metadata }) => metadata.namespace);
  const slices = Map.groupBy(endpointSlices, ({ metadata }) =>
    nameOf({ namespace: metadata.namespace, name: metadata.labels[serviceNameLabel] ?? '' }),
  );
  return {
    servicesByIp: new Map(services.flatMap((service) => clusterIpsOf(service).map((ip) => [ip, service]))),
    podsByIp: mapPodsByIp(running),
    slicesOf: ({ metadata }) => slices.get(nameOf(metadata)),
    podNamed: ({ name = '', namespace }, slice) =>
      podsByName.get(nameOf({ name, namespace: namespace ?? slice.metadata.namespace })),
    podsSelectedBy({ metadata, spec }) {
      const wanted = Object.entries(spec.selector ?? {});
      if (wanted.length === 0) return [];
      const candidates = podsByNamespace.get(metadata.namespace) ?? [];
      return candidates.filter((pod) => wanted.every(([label, value]) => pod.metadata.labels[label] === value));
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

function clusterIpsOf({ spec }: Service): readonly string[] {
  const all = new Set([spec.clusterIP, ...spec.clusterIPs]);
  return [...all].filter((ip) => ip !== undefined).filter((ip) => ip !== '' && ip !== 'None');
}

function addressesOf({ status }: Pod): readonly string[] {
  const all = new Set([status.podIP, ...status.podIPs.map(({ ip }) => ip)]);
  return [...all].filter((ip) => ip !== undefined);
}

function nameOf({ namespace, name }: { readonly namespace: string; readonly name: string }): string {
  return `${namespace}/${name}`;
}
