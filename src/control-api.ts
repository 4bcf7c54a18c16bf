import * as v from 'valibot';
import { isCidr } from './prefix-table.ts';

/**
 * The wire shapes of the control-plane API and their parsers, for both sides. HTTPS and JSON on port 15012; every call
 * but `/healthz`, `/v1/bundle` and `/v1/jwks`, which publish what is public, carries a projected service-account token as
 * bearer. Unknown fields are ignored.
 */
export const tokenAudience = 'remora';

export const paths = {
  certificates: '/v1/certificates',
  stream: '/v1/stream',
  destinations: '/v1/destinations',
  workloads: '/v1/workloads',
  reports: '/v1/reports',
  canary: '/v1/canary',
  bundle: '/v1/bundle',
  health: '/healthz',
  jwks: '/v1/jwks',
} as const;

/** Bytes of the largest reply that a sidecar reads, and of the largest line of a stream. */
export const maxReplyBytes = 256 * 1024;
/** Bytes of the largest request that the control plane reads. */
export const maxRequestBytes = 64 * 1024;
/** Bytes of the largest report that the control plane keeps. */
export const maxReportBytes = 32 * 1024;
/** Bytes of the longest line of a stream that tells of a policy; what is longer comes in parts. */
export const maxPolicyLineBytes = 192 * 1024;
/** Bytes of the largest policy of one workload, as JSON: instead of a larger one it gets one that denies everything. */
export const maxPolicyBytes = 64 * 1024 * 1024;
/** The most destinations that one request may name. */
export const maxDestinations = 1000;
/** The most addresses whose workloads one request may ask for: the answers fit into a reply. */
export const maxWorkloads = 50;
/** The most ports with a Service that are told of one workload. */
export const maxServicePorts = 20;
/** A stream that is silent for longer than two of these is lost; milliseconds. */
export const heartbeatIntervalMs = 15_000;

export const certificateRequest = v.object({
  /** PKCS#10, PEM. Identity is taken from the token, never from here. */
  csr: v.pipe(v.string(), v.maxLength(16 * 1024)),
  /** A wish: the control plane brings it within its limits, and takes its own lifetime when it is absent. */
  ttlSeconds: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1))),
});
export type CertificateRequest = v.InferOutput<typeof certificateRequest>;

export const trustBundles = v.record(v.string(), v.string());

export const certificateReply = v.object({
  /** PEM, leaf first, without the root. */
  certificateChain: v.string(),
  /** PEM roots by trust domain. */
  trustBundles,
  /** RFC 3339. */
  serverTime: v.string(),
});
export type CertificateReply = v.InferOutput<typeof certificateReply>;

/** What a destination's endpoint speaks. */
export const endpointTransport = v.picklist(['hbone', 'direct', 'plaintext']);

export const endpoint = v.object({
  /** `ip:port` of the application. */
  address: v.string(),
  /** Empty for a plaintext endpoint. */
  spiffeId: v.string(),
  transport: endpointTransport,
  zone: v.optional(v.string()),
  /** Connections may go to it. */
  ready: v.boolean(),
  /** It is going away: connections go to it only while no other is ready. */
  terminating: v.boolean(),
});
export type Endpoint = v.InferOutput<typeof endpoint>;

export const destination = v.object({
  /** `ip:port` as asked for. */
  address: v.string(),
  /** `name.namespace` when the address belongs to a Service; absent for a pod address. */
  service: v.optional(v.string()),
  /** `namespace/name` of the ServiceEntry that knows the address; absent where a Service or a pod does. */
  entry: v.optional(v.string()),
  /** Absent or empty when the registry knows the address but has no endpoint for it. */
  endpoints: v.array(endpoint),
  /** One sentence why there is no endpoint, where somebody has to be told. */
  problem: v.optional(v.string()),
  /** Connections of one client go to one endpoint until it has made none for this long: `sessionAffinity: ClientIP`. */
  affinitySeconds: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1))),
  /** How long the answer may be used while it cannot be refreshed; seconds. */
  ttlSeconds: v.number(),
  /** False when the registry does not know the address at all. */
  known: v.optional(v.boolean(), true),
});
export type Destination = v.InferOutput<typeof destination>;

export const destinationsRequest = v.object({
  addresses: v.pipe(v.array(v.pipe(v.string(), v.maxLength(64))), v.maxLength(maxDestinations)),
});
export const destinationsReply = v.object({ destinations: v.array(destination) });

/** Metrics are labelled with it: Kubernetes knows no longer names, and none with other characters. */
const workloadLabel = v.pipe(v.string(), v.maxLength(253), v.regex(/^[A-Za-z0-9][-A-Za-z0-9_.]*$/));

/** Characters of the longest name of a pod that is told; Kubernetes knows longer ones, and hardly anybody has them. */
export const maxPodNameLength = 100;

/** A longer one is not told beside the name of a pod. */
export const maxSidecarIdLength = 256;

/** The pod at an address, as Istio's metrics name it. */
export const namedWorkload = v.object({
  /** As asked for. */
  address: v.string(),
  /** Absent when its name is too long for a reply with many of them. */
  pod: v.optional(v.pipe(workloadLabel, v.maxLength(maxPodNameLength))),
  /** That of the Deployment, StatefulSet, DaemonSet, Job or CronJob, or of the pod itself. */
  name: workloadLabel,
  namespace: workloadLabel,
  serviceAccount: workloadLabel,
  app: workloadLabel,
  version: workloadLabel,
  canonicalName: workloadLabel,
  canonicalRevision: workloadLabel,
  cluster: workloadLabel,
  /** The SPIFFE ID of its sidecar, where that captures all that the pod sends; absent where it does not, or there is none. */
  sidecarId: v.optional(v.pipe(v.string(), v.maxLength(maxSidecarIdLength))),
  /** By TCP port of the pod: `name.namespace` of the Service that sends connections there, of several the oldest. */
  services: v.pipe(
    v.array(
      v.object({
        port: v.pipe(v.number(), v.integer()),
        service: v.pipe(v.string(), v.maxLength(128), v.regex(/^[-a-z0-9]+\.[-a-z0-9]+$/)),
      }),
    ),
    v.maxLength(maxServicePorts),
  ),
});
export type NamedWorkload = v.InferOutput<typeof namedWorkload>;

export const workloadsRequest = v.object({
  addresses: v.pipe(v.array(v.pipe(v.string(), v.maxLength(64))), v.maxLength(maxWorkloads)),
});
/** Addresses that are no pod's of its own are left out. */
export const workloadsReply = v.object({ workloads: v.array(namedWorkload) });

export const streamRequest = v.object({
  destinations: v.pipe(v.array(v.pipe(v.string(), v.maxLength(64))), v.maxLength(maxDestinations)),
});

/** PeerAuthentication's modes. */
const policyMode = v.picklist(['STRICT', 'PERMISSIVE', 'DISABLE']);

/** `namespace/name` of the object, or what people call what is none. */
const policyName = v.pipe(v.string(), v.maxLength(512));

const policyPort = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65535));

/** A list that is empty would be one thing to whoever reads it as no restriction, and another as one that nobody meets. */
const filled = <S extends v.GenericSchema>(item: S) => v.optional(v.pipe(v.array(item), v.minLength(1)));
const texts = filled(v.string());

/**
 * Every list is one of alternatives, every `not…` list one of exceptions; all that are present must hold. Patterns are Istio's:
 * exact, `prefix*`, `*suffix`, or `*` for anything that is there.
 */
export const policySource = v.strictObject({
  /** SPIFFE IDs without `spiffe://`. */
  principals: texts,
  notPrincipals: texts,
  namespaces: texts,
  notNamespaces: texts,
  /** `namespace/name`, literally. */
  serviceAccounts: texts,
  notServiceAccounts: texts,
  /** Addresses and CIDRs. */
  ipBlocks: texts,
  notIpBlocks: texts,
});
export type PolicySource = v.InferOutput<typeof policySource>;

export const policyOperation = v.strictObject({
  ports: filled(policyPort),
  notPorts: filled(policyPort),
});
export type PolicyOperation = v.InferOutput<typeof policyOperation>;

/** What a condition may look at; everything else is of HTTP, or is not supported. */
export const conditionKeys = [
  'source.principal',
  'source.namespace',
  'source.ip',
  'destination.ip',
  'destination.port',
] as const;

export const policyCondition = v.strictObject({
  key: v.picklist(conditionKeys),
  values: texts,
  notValues: texts,
});
export type PolicyCondition = v.InferOutput<typeof policyCondition>;

/** One of `from` and one of `to` must match, where they are given, and all of `when`. An empty rule matches everything. */
export const policyRule = v.strictObject({
  from: filled(policySource),
  to: filled(policyOperation),
  when: filled(policyCondition),
});
export type PolicyRule = v.InferOutput<typeof policyRule>;

/** An AuthorizationPolicy that selects the calling workload, with Istio's rule for attributes of HTTP already applied. */
export const authorizationPolicy = v.strictObject({
  name: policyName,
  action: v.picklist(['ALLOW', 'DENY', 'AUDIT']),
  /** `istio.io/dry-run`: it is evaluated and told of, and decides nothing. */
  isDryRun: v.optional(v.boolean()),
  /** One sentence why it cannot be enforced as it is written: then it denies everything. Absent when it can. */
  problem: v.optional(v.pipe(v.string(), v.maxLength(1000))),
  rules: v.array(policyRule),
});
export type AuthorizationPolicy = v.InferOutput<typeof authorizationPolicy>;

/**
 * The policy of the calling workload: full state, already selected for it by the control plane. Strict, unlike everything else
 * that is pushed: a field that is not known here may be what narrows a rule, so that it makes the whole not understood.
 */
export const policyState = v.strictObject({
  /** Mode of every inbound port without one of its own. */
  mode: policyMode,
  /** The PeerAuthentication that sets it; absent when none does. */
  modeSetBy: v.optional(policyName),
  /** One sentence why that one cannot be followed as it is written: then it means STRICT. Absent when it can. */
  modeProblem: v.optional(v.pipe(v.string(), v.maxLength(1000))),
  ports: v.optional(v.array(v.strictObject({ port: policyPort, mode: policyMode, setBy: policyName }))),
  authorization: v.optional(v.array(authorizationPolicy)),
  /** What ServiceEntries register, as CIDRs with their ports, where none is every port: sidecars ask for these wherever they lie. */
  registered: v.optional(
    v.array(v.strictObject({ cidr: v.pipe(v.string(), v.maxLength(64), v.check(isCidr)), ports: v.array(policyPort) })),
  ),
});
export type PolicyState = v.InferOutput<typeof policyState>;

const hexadecimal = v.pipe(v.string(), v.maxLength(4096), v.regex(/^[0-9a-f]+$/i));

/** What nobody may rely on any more: full state, for every sidecar the same. */
export const revocationState = v.object({
  /**
   * Serials in upper-case hexadecimal; of one issuer (its name in DER, lower-case hexadecimal), or without it of whichever; of
   * peers of one trust domain, or without it of all.
   */
  certificates: v.array(
    v.object({
      trustDomain: v.optional(v.string()),
      issuer: v.optional(hexadecimal),
      serials: v.array(hexadecimal),
    }),
  ),
  /** SPIFFE IDs; every certificate for them. */
  identities: v.array(v.string()),
  /** One sentence why it cannot be known who is revoked: then no new connection is trusted. Absent when it is known. */
  unknown: v.optional(v.string()),
});
export type RevocationState = v.InferOutput<typeof revocationState>;

/** Versions compare only within an epoch; a new epoch replaces everything. */
const versioned = { epoch: v.string(), version: v.number() };

/**
 * A line with a part of a policy that is too long for one. The texts of all parts of one version, one behind the other, are
 * lines of JSON, each with its line feed: the policy without its AuthorizationPolicies, then each of these.
 */
export const policyPart = v.strictObject({
  topic: v.literal('policy'),
  ...versioned,
  /** From 1 on, in order. */
  part: v.pipe(v.number(), v.integer(), v.minValue(1)),
  of: v.pipe(v.number(), v.integer(), v.minValue(2)),
  text: v.string(),
});
export type PolicyPart = v.InferOutput<typeof policyPart>;

/** One line of `POST /v1/stream`: the full state of one topic. A topic that is not known is ignored. */
export const streamMessage = v.variant('topic', [
  v.object({ topic: v.literal('heartbeat') }),
  v.object({ topic: v.literal('trust-bundles'), ...versioned, data: trustBundles }),
  v.object({ topic: v.literal('revocations'), ...versioned, data: revocationState }),
  v.strictObject({ topic: v.literal('policy'), ...versioned, data: policyState }),
  v.object({ topic: v.literal('destination'), ...versioned, data: destination }),
]);
export type StreamMessage = v.InferOutput<typeof streamMessage>;

const count = v.pipe(v.number(), v.integer(), v.minValue(0));

/** SHA-256 of a certificate, lower-case hexadecimal. */
const fingerprint = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));

/** A word of somebody's closed list, perhaps of a newer version. */
const word = v.pipe(v.string(), v.regex(/^\w{1,40}$/));
/** RFC 3339. */
const instant = v.pipe(v.string(), v.maxLength(40));
const direction = v.picklist(['inbound', 'outbound']);

/** How often connections of one kind failed since the sidecar started. */
export const reportedFailure = v.object({
  direction,
  /** The closed list: `handshake`, `denied` or `closed`. */
  outcome: word,
  reason: word,
  count,
  lastAt: instant,
});
export type ReportedFailure = v.InferOutput<typeof reportedFailure>;

/** Who was connected with whom, seen from one end. */
export const reportedEdge = v.object({
  direction,
  /** The SPIFFE ID that was proved; absent in plaintext. */
  peer: v.optional(v.pipe(v.string(), v.maxLength(256))),
  /** `name.namespace` as it was dialled. */
  service: v.optional(v.pipe(v.string(), v.maxLength(128))),
  security: word,
  /** Since the sidecar started, or since it was noticed again. */
  connections: count,
  lastAt: instant,
});
export type ReportedEdge = v.InferOutput<typeof reportedEdge>;

/** What is known of whoever calls without an identity, by its address. `kubelet` is anything with an address of the node. */
export const callerKind = v.picklist(['workload', 'kubelet', 'unknown']);
export type CallerKind = v.InferOutput<typeof callerKind>;

/** Names of policies that are longer have no place in a report. */
export const maxReportedNameLength = 128;

/** A caller with a longer SPIFFE ID is only counted. */
export const maxReportedPrincipal = 256;

/** Somebody who has called a port of the sender; the names are the registry's, from when it called. */
export const reportedCaller = v.object({
  port: policyPort,
  /** Canonical IP address. */
  address: v.pipe(v.string(), v.maxLength(45)),
  /** The SPIFFE ID that was proved; absent in plaintext. */
  principal: v.optional(v.pipe(v.string(), v.maxLength(maxReportedPrincipal))),
  kind: callerKind,
  workload: v.optional(workloadLabel),
  namespace: v.optional(workloadLabel),
  /** Since the sidecar started, or since it was noticed again. */
  connections: count,
  /** Of these, those that were carried when it was told. */
  open: count,
  firstAt: instant,
  lastAt: instant,
  /**
   * The SPIFFE ID that it proves where the port is not DISABLE: it has a sidecar, and every connection came in plaintext while the
   * port was DISABLE.
   */
  meshedId: v.optional(v.pipe(v.string(), v.maxLength(maxSidecarIdLength))),
  /** It is the node and has never sent anything, as a TCP probe. */
  onlyConnects: v.optional(v.boolean()),
  /** The mode or an AuthorizationPolicy did not let these connections in. */
  isRefused: v.optional(v.boolean()),
});
export type ReportedCaller = v.InferOutput<typeof reportedCaller>;

/** At most so many more callers, that were forgotten or had no place in the report; without a port of several. */
export const furtherCallers = v.object({
  port: v.optional(policyPort),
  isPlaintext: v.boolean(),
  callers: count,
  lastAt: instant,
});
export type FurtherCallers = v.InferOutput<typeof furtherCallers>;

/** The most callers in a report, and ports with further ones. */
export const maxReportedCallers = 100;
export const maxFurtherCallers = 8;

/** Who has called the sender. */
export const reportedCallers = v.object({
  /** Since when it remembers them. */
  since: instant,
  /** Its own floor: no policy lowers it. */
  minimumMode: policyMode,
  callers: v.pipe(v.array(reportedCaller), v.maxLength(maxReportedCallers)),
  further: v.pipe(v.array(furtherCallers), v.maxLength(maxFurtherCallers)),
});
export type ReportedCallers = v.InferOutput<typeof reportedCallers>;

/** How a sidecar fares. */
export const sidecarState = v.object({
  /** Readiness gates that are shut. */
  notReady: v.pipe(v.array(word), v.maxLength(10)),
  /** Modes of inbound ports; `*` is every other one. `setBy` is absent for the default of the mesh, and for a name that is too long. */
  modes: v.pipe(
    v.array(
      v.object({
        port: v.pipe(v.string(), v.maxLength(5)),
        mode: word,
        setBy: v.optional(v.pipe(v.string(), v.maxLength(maxReportedNameLength))),
      }),
    ),
    v.maxLength(50),
  ),
  /** How many more ports have a mode of their own. */
  modesLeftOut: v.optional(count),
  /** AuthorizationPolicies that cannot be enforced as they are written. */
  invalidPolicies: v.optional(count),
  /** End of its certificate; absent before the first. */
  notAfter: v.optional(instant),
  /** Why the last renewal failed; absent when it did not. */
  renewalFailure: v.optional(word),
  interception: v.pipe(v.array(v.object({ direction, family: word, isOk: v.boolean() })), v.maxLength(8)),
  /** Connections that go around the sidecar now. */
  bypassed: count,
  /** Connections that are carried now. */
  open: v.object({ inbound: count, outbound: count }),
  /** The latest first, and so are edges. */
  failures: v.pipe(v.array(reportedFailure), v.maxLength(40)),
  edges: v.pipe(v.array(reportedEdge), v.maxLength(30)),
});
export type SidecarState = v.InferOutput<typeof sidecarState>;

/** What a sidecar may say of itself with `POST /v1/reports`; who it is comes from its token. */
export const report = v.object({
  /** Of the sidecar's program. */
  version: v.optional(v.pipe(v.string(), v.maxLength(64))),
  callers: v.optional(reportedCallers),
  /** Peers that are connected, or were within the last hour, by the root that they chain to. */
  peersByRoot: v.optional(v.pipe(v.array(v.object({ root: fingerprint, peers: count })), v.maxLength(20))),
  /** The root that its own certificate chains to; absent when that has ended. */
  issuedBy: v.optional(fingerprint),
  /** Roots of its own trust domain that it trusts peers by. */
  trustedRoots: v.optional(v.pipe(v.array(fingerprint), v.maxLength(50))),
  /** Roots that it trusts the control plane by: what its CA file holds. */
  controlPlaneRoots: v.optional(v.pipe(v.array(fingerprint), v.maxLength(50))),
  state: v.optional(sidecarState),
});
export type Report = v.InferOutput<typeof report>;

/** Nothing is asked for: the pod is that of the token. */
export const canaryRequest = v.object({});

/** One dial of the canary port of the calling pod. */
export const canaryDial = v.object({
  /** `ip:port`, as the registry knows the pod. */
  address: v.pipe(v.string(), v.maxLength(64)),
  /** `closed`: it was accepted, and ended or was reset without a word. */
  outcome: v.picklist(['answered', 'closed', 'refused', 'timeout', 'unreachable']),
  /** Absent when what was answered is not what a sidecar says. */
  answer: v.optional(v.pipe(v.string(), v.maxLength(64))),
});
export type CanaryDial = v.InferOutput<typeof canaryDial>;

/** One for each address of the pod; none when the registry does not know it. */
export const canaryReply = v.object({ dials: v.pipe(v.array(canaryDial), v.maxLength(16)) });
export type CanaryReply = v.InferOutput<typeof canaryReply>;

/** RFC 9457 problem document; `reason` is stable and machine-readable. */
export const problem = v.object({
  type: v.optional(v.string(), 'about:blank'),
  title: v.string(),
  status: v.number(),
  reason: v.string(),
  detail: v.optional(v.string()),
});
export type Problem = v.InferOutput<typeof problem>;

/**
 * Parses JSON text against a schema. Throws `SyntaxError` for text that is not JSON and `v.ValiError` for another
 * shape; objects that were read have no prototype pollution, because the schemas copy only the fields they name.
 */
export function parseJson<S extends v.GenericSchema>(schema: S, text: string): v.InferOutput<S> {
  return v.parse(schema, JSON.parse(text));
}
