import * as v from 'valibot';

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
  reports: '/v1/reports',
  bundle: '/v1/bundle',
  health: '/healthz',
  jwks: '/v1/jwks',
} as const;

/** Bytes of the largest reply that a sidecar reads, and of the largest line of a stream. */
export const maxReplyBytes = 256 * 1024;
/** Bytes of the largest request that the control plane reads. */
export const maxRequestBytes = 64 * 1024;
/** Bytes of the largest report that the control plane keeps. */
export const maxReportBytes = 8 * 1024;
/** The most destinations that one request may name. */
export const maxDestinations = 1000;
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
  /** Absent or empty when the registry knows the address but has no endpoint for it. */
  endpoints: v.array(endpoint),
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

export const streamRequest = v.object({
  destinations: v.pipe(v.array(v.pipe(v.string(), v.maxLength(64))), v.maxLength(maxDestinations)),
});

/** The policy of the calling workload: full state, already selected for it by the control plane. */
export const policyState = v.object({
  /** Mode of every inbound port without one of its own. */
  mode: v.picklist(['STRICT', 'PERMISSIVE', 'DISABLE']),
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

/** One line of `POST /v1/stream`: the full state of one topic. A topic that is not known is ignored. */
export const streamMessage = v.variant('topic', [
  v.object({ topic: v.literal('heartbeat') }),
  v.object({ topic: v.literal('trust-bundles'), ...versioned, data: trustBundles }),
  v.object({ topic: v.literal('revocations'), ...versioned, data: revocationState }),
  v.object({ topic: v.literal('policy'), ...versioned, data: policyState }),
  v.object({ topic: v.literal('destination'), ...versioned, data: destination }),
]);
export type StreamMessage = v.InferOutput<typeof streamMessage>;

const count = v.pipe(v.number(), v.integer(), v.minValue(0));

/** SHA-256 of a certificate, lower-case hexadecimal. */
const fingerprint = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));

/** What a sidecar may say of itself with `POST /v1/reports`; who it is comes from its token. */
export const report = v.object({
  /** Of the sidecar's program. */
  version: v.optional(v.pipe(v.string(), v.maxLength(64))),
  /** Callers without mutual TLS, by the workload or address that they were seen with. */
  plaintextCallers: v.optional(
    v.pipe(
      v.array(v.object({ caller: v.pipe(v.string(), v.maxLength(64)), port: count, connections: count })),
      v.maxLength(100),
    ),
  ),
  /** Peers that are connected, or were within the last hour, by the root that they chain to. */
  peersByRoot: v.optional(v.pipe(v.array(v.object({ root: fingerprint, peers: count })), v.maxLength(20))),
  /** The root that its own certificate chains to; absent when that has ended. */
  issuedBy: v.optional(fingerprint),
  /** Roots of its own trust domain that it trusts peers by. */
  trustedRoots: v.optional(v.pipe(v.array(fingerprint), v.maxLength(50))),
  /** Roots that it trusts the control plane by: what its CA file holds. */
  controlPlaneRoots: v.optional(v.pipe(v.array(fingerprint), v.maxLength(50))),
});
export type Report = v.InferOutput<typeof report>;

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
