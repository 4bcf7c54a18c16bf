import * as v from 'valibot';
import { renewalReasons } from './outcomes.ts';

/** The shapes of the admin pages of a sidecar, for both sides: JSON over HTTP on loopback or a unix socket. */
export const adminPaths = { certificates: '/certs', ready: '/ready', connections: '/connections' } as const;

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

export const certificatesPage = v.object({
  spiffeId: v.string(),
  /** Grows with each certificate and each change of the trust bundles. */
  generation: v.number(),
  /** No connection is made or taken with it after its end. */
  isExpired: v.boolean(),
  notBefore: instant,
  notAfter: instant,
  /** Leaf first, without the root. */
  chain: v.array(shownCertificate),
  /** Null when something else renews. */
  nextRenewal: v.nullable(instant),
  lastFailure: v.nullable(shownRenewalFailure),
  /** The clock of the control plane minus this one; null when it is not known. */
  clockSkewSeconds: v.nullable(v.number()),
  /** Roots by trust domain. */
  trustBundles: v.record(v.string(), v.array(shownCertificate)),
});
export type CertificatesPage = v.InferOutput<typeof certificatesPage>;
