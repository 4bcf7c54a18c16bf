import * as v from 'valibot';
import { renewalReasons } from './outcomes.ts';

/** The shapes of the admin pages of a sidecar, for both sides: JSON over HTTP on loopback or a unix socket. */
export const adminPaths = {
  certificates: '/certs',
  ready: '/ready',
  status: '/status',
  connections: '/connections',
  tunnels: '/tunnels',
  handshakes: '/handshakes',
  policy: '/policy',
  destinations: '/destinations',
  config: '/config',
  logging: '/logging',
  explain: '/explain',
  drain: '/drain',
  quit: '/quitquitquit',
} as const;

/** RFC 3339. */
const instant = v.string();

/** A certificate as a person compares it; never with a private key. */
export const shownCertificate = v.object({
  subject: v.string(),
  issuer: v.string(),
  /** Upper-case hexadecimal. */
  serial: v.string(),
  notBefore: instant,
  notAfter: instant,
  /** SHA-256 of the DER, lower-case hexadecimal. */
  fingerprint: v.string(),
  pem: v.string(),
});
export type ShownCertificate = v.InferOutput<typeof shownCertificate>;

export const shownRenewalFailure = v.object({
  reason: v.picklist(Object.keys(renewalReasons) as (keyof typeof renewalReasons)[]),
  happened: v.string(),
  remedy: v.string(),
  /** What exactly was found. */
  message: v.string(),
  at: instant,
});

/** A connection that was refused, could not be made, or ended otherwise than by its applications: as its log line has it. */
export const shownFailure = v.object({
  /** In the log of both sidecars. */
  id: v.string(),
  at: instant,
  direction: v.picklist(['inbound', 'outbound']),
  peerAddress: v.string(),
  originalDestination: v.optional(v.string()),
  endpoint: v.optional(v.string()),
  service: v.optional(v.string()),
  peerId: v.optional(v.string()),
  localId: v.optional(v.string()),
  outcome: v.picklist(['closed', 'denied', 'handshake']),
  reason: v.string(),
  happened: v.string(),
  remedy: v.string(),
  /** What exactly was found. */
  detail: v.optional(v.string()),
});
export type ShownFailure = v.InferOutput<typeof shownFailure>;

const count = v.pipe(v.number(), v.integer(), v.minValue(0));

/** Who chains to one root, as this sidecar has seen it. */
export const shownPeers = v.object({
  /** Tunnels that are open now. */
  open: count,
  /** Identities that are connected, or were within the last hour, the latest first: each with when it was last connected. */
  recent: v.array(v.object({ spiffeId: v.string(), lastSeen: instant })),
  /** At most so many more were so, whose names were not kept. */
  unnamed: count,
  /** When one of them was last connected; null if none was since `peersSince`. */
  lastSeen: v.nullable(instant),
});
export type ShownPeers = v.InferOutput<typeof shownPeers>;

export const shownRoot = v.object({
  ...shownCertificate.entries,
  peers: shownPeers,
  /** As far as this sidecar knows: nobody has chained to it for an hour, ourselves included. */
  mayBeRemoved: v.boolean(),
  /** Why, in one sentence. */
  removal: v.string(),
});
export type ShownRoot = v.InferOutput<typeof shownRoot>;

export const certificatesPage = v.object({
  /** When the page was made. */
  now: instant,
  spiffeId: v.string(),
  /** Grows with each certificate and each change of the trust bundles. */
  generation: v.number(),
  /** No connection is made or taken with it after its end. */
  isExpired: v.boolean(),
  /** Why it is over before its certificate is; null when it is not. */
  endedBecause: v.nullable(v.string()),
  notBefore: instant,
  notAfter: instant,
  /** Leaf first, without the root. */
  chain: v.array(shownCertificate),
  /** SHA-256 of the root that the chain ends in, lower-case hexadecimal. */
  issuedBy: v.string(),
  /** Null when something else renews. */
  nextRenewal: v.nullable(instant),
  lastFailure: v.nullable(shownRenewalFailure),
  /** The clock of the control plane minus this one; null when it is not known. */
  clockSkewSeconds: v.nullable(v.number()),
  /** What is in force. */
  revocations: v.object({
    certificates: count,
    identities: count,
    /** Why it is not known who is revoked, so that nobody new is trusted; else null. */
    unknown: v.nullable(v.string()),
  }),
  /** Since when peers are counted. */
  peersSince: instant,
  /** Roots by trust domain. */
  trustBundles: v.record(v.string(), v.array(shownRoot)),
  /** Roots that are in no bundle any more, with peers that were connected within the last hour. */
  removedRoots: v.array(v.object({ fingerprint: v.string(), peers: shownPeers })),
});
export type CertificatesPage = v.InferOutput<typeof certificatesPage>;
