import * as v from 'valibot';
import { canonicalIp } from '../../addresses.ts';
import type { ScopedPolicy } from '../policy/authorization-policy.ts';
import type { PeerAuthentication } from '../policy/peer-authentication.ts';
import type { ServiceEntry } from '../policy/service-entry.ts';
import { absent, dnsName, metadata } from './metadata.ts';

/**
 * The Kubernetes objects that discovery reads, with the fields that it needs and the API server's defaults for what is
 * absent. Addresses are canonical. Other fields are ignored: objects come as `kubectl get -o yaml` prints them.
 */

const ip = v.pipe(
  v.string(),
  v.check((text) => canonicalIp(text) !== undefined, 'is not an IP address'),
  v.transform((text) => canonicalIp(text) ?? text),
);
const port = v.pipe(
  v.number(),
  v.integer('is not a port'),
  v.minValue(1, 'is not a port'),
  v.maxValue(65535, 'is not a port'),
);
const protocol = v.nullish(v.string(), 'TCP');

/** Of all annotations, which may be large, those alone by which a sidecar captures less; whether they are as expected or not. */
const captureAnnotations = v.pipe(
  v.unknown(),
  v.transform((all) => {
    const found = Object.entries(all ?? {}).filter(([name]) => /^traffic\.sidecar\.istio\.io\/.*outbound/i.test(name));
    return found.length === 0 ? undefined : Object.fromEntries(found);
  }),
);

/** What made a pod is a name for people: whatever is not as expected counts as absent. */
const podMetadata = v.object({
  ...metadata.entries,
  annotations: absent(captureAnnotations),
  generateName: v.fallback(absent(v.string()), undefined),
  ownerReferences: v.fallback(
    absent(v.array(v.object({ kind: v.string(), name: v.string(), controller: absent(v.boolean()) }))),
    undefined,
  ),
});

const container = v.object({
  name: v.string(),
  ports: v.nullish(v.array(v.object({ name: absent(v.string()), containerPort: port, protocol })), []),
});

export const pod = v.object({
  metadata: podMetadata,
  spec: v.object({
    serviceAccountName: v.nullish(dnsName, 'default'),
    nodeName: absent(v.string()),
    hostNetwork: v.nullish(v.boolean(), false),
    containers: v.nullish(v.array(container), []),
    initContainers: v.nullish(v.array(container), []),
  }),
  status: v.nullish(
    v.object({
      phase: absent(v.string()),
      podIP: absent(ip),
      podIPs: v.nullish(v.array(v.object({ ip })), []),
      conditions: v.nullish(v.array(v.object({ type: v.string(), status: v.string() })), []),
    }),
    {},
  ),
});
export type Pod = v.InferOutput<typeof pod>;

/** As the API server has them: up to a day. */
const affinitySeconds = v.pipe(
  v.number(),
  v.integer('is not a number of seconds from 1 to 86400'),
  v.minValue(1, 'is not a number of seconds from 1 to 86400'),
  v.maxValue(86_400, 'is not a number of seconds from 1 to 86400'),
);

/** `None` is a Service without an address of its own: its pods are dialled. */
const clusterIp = v.union([v.picklist(['None', '']), ip], 'is not an IP address');

export const service = v.object({
  metadata,
  spec: v.object({
    type: absent(v.string()),
    clusterIP: absent(clusterIp),
    clusterIPs: v.nullish(v.array(clusterIp), []),
    externalIPs: v.nullish(v.array(ip), []),
    loadBalancerSourceRanges: v.nullish(v.array(v.string()), []),
    internalTrafficPolicy: absent(v.string()),
    sessionAffinity: absent(v.string()),
    sessionAffinityConfig: absent(
      v.object({ clientIP: absent(v.object({ timeoutSeconds: absent(affinitySeconds) })) }),
    ),
    selector: absent(v.record(v.string(), v.string())),
    publishNotReadyAddresses: v.nullish(v.boolean(), false),
    ports: v.nullish(
      v.array(
        v.object({
          name: v.nullish(v.string(), ''),
          port,
          targetPort: absent(v.union([port, v.string()], 'is neither a port nor the name of one')),
          protocol,
        }),
      ),
      [],
    ),
  }),
  status: v.nullish(
    v.object({
      loadBalancer: v.nullish(
        v.object({ ingress: v.nullish(v.array(v.object({ ip: absent(ip), ipMode: absent(v.string()) })), []) }),
        {},
      ),
    }),
    {},
  ),
});
export type Service = v.InferOutput<typeof service>;

const condition = absent(v.boolean());
const hints = v.nullish(v.array(v.object({ name: v.string() })), []);

export const endpointSlice = v.object({
  metadata,
  addressType: v.string(),
  endpoints: v.nullish(
    v.array(
      v.object({
        addresses: v.array(v.string()),
        conditions: v.nullish(v.object({ ready: condition, serving: condition, terminating: condition }), {}),
        targetRef: absent(
          v.object({ kind: absent(v.string()), name: absent(v.string()), namespace: absent(v.string()) }),
        ),
        nodeName: absent(v.string()),
        zone: absent(v.string()),
        hints: v.nullish(v.object({ forZones: hints, forNodes: hints }), {}),
      }),
    ),
    [],
  ),
  ports: v.nullish(v.array(v.object({ name: v.nullish(v.string(), ''), port: absent(port), protocol })), []),
});
export type EndpointSlice = v.InferOutput<typeof endpointSlice>;

export const named = v.object({ metadata });
export type Named = v.InferOutput<typeof named>;

/** Every kind of Kubernetes that is read, by API version and kind; those of Istio are in policy/read.ts. */
export const kinds = {
  'v1/Pod': pod,
  'v1/Service': service,
  'discovery.k8s.io/v1/EndpointSlice': endpointSlice,
  'v1/Namespace': named,
  'v1/ServiceAccount': named,
  'v1/Node': named,
} as const;
export type Kind = keyof typeof kinds;

/** One object of a known kind; those of Istio under their first version, whichever they were written in. */
export type RegistryObject =
  | { [K in Kind]: { readonly kind: K; readonly object: v.InferOutput<(typeof kinds)[K]> } }[Kind]
  | { readonly kind: 'security.istio.io/v1/PeerAuthentication'; readonly object: PeerAuthentication }
  | { readonly kind: 'security.istio.io/v1/AuthorizationPolicy'; readonly object: ScopedPolicy }
  | { readonly kind: 'networking.istio.io/v1/ServiceEntry'; readonly object: ServiceEntry };

/** A consistent state of the whole registry. */
export interface RegistryObjects {
  readonly pods: readonly Pod[];
  readonly services: readonly Service[];
  readonly endpointSlices: readonly EndpointSlice[];
  readonly namespaces: readonly Named[];
  readonly serviceAccounts: readonly Named[];
  readonly nodes: readonly Named[];
  readonly peerAuthentications: readonly PeerAuthentication[];
  readonly authorizationPolicies: readonly ScopedPolicy[];
  readonly serviceEntries: readonly ServiceEntry[];
}

export function collectObjects(objects: Iterable<RegistryObject>): RegistryObjects {
  const collected: { -readonly [K in keyof RegistryObjects]: RegistryObjects[K][number][] } = {
    pods: [],
    services: [],
    endpointSlices: [],
    namespaces: [],
    serviceAccounts: [],
    nodes: [],
    peerAuthentications: [],
    authorizationPolicies: [],
    serviceEntries: [],
  };
  for (const entry of objects) {
    switch (entry.kind) {
      case 'v1/Pod':
        collected.pods.push(entry.object);
        break;
      case 'v1/Service':
        collected.services.push(entry.object);
        break;
      case 'discovery.k8s.io/v1/EndpointSlice':
        collected.endpointSlices.push(entry.object);
        break;
      case 'v1/Namespace':
        collected.namespaces.push(entry.object);
        break;
      case 'v1/ServiceAccount':
        collected.serviceAccounts.push(entry.object);
        break;
      case 'v1/Node':
        collected.nodes.push(entry.object);
        break;
      case 'security.istio.io/v1/PeerAuthentication':
        collected.peerAuthentications.push(entry.object);
        break;
      case 'security.istio.io/v1/AuthorizationPolicy':
        collected.authorizationPolicies.push(entry.object);
        break;
      case 'networking.istio.io/v1/ServiceEntry':
        collected.serviceEntries.push(entry.object);
        break;
      default:
        entry satisfies never;
    }
  }
  return collected;
}

export const noObjects: RegistryObjects = collectObjects([]);
