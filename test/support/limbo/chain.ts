import type { HandshakeReason } from '../../../src/outcomes.ts';
import type { CertificateSpec, ExtensionSpec, MadeCertificate } from '../certificates.ts';
import { makeAuthority, makeCertificate } from '../certificates.ts';

/** What a peer shows, and the roots that our side has for its trust domain. */
export interface Chain {
  readonly leaf: MadeCertificate;
  readonly intermediates: readonly MadeCertificate[];
  readonly roots: readonly MadeCertificate[];
  readonly trustDomain: string;
}

/**
 * `bundle` is a root that is refused when the trust bundle is read, `unreadable` a certificate that OpenSSL cannot take for
 * one, so that nobody can show it with OpenSSL.
 */
export type LimboVerdict = HandshakeReason | 'accepted' | 'bundle' | 'unreadable';

/** After x509-limbo: a chain, what must become of it, and why. */
export type LimboCase = readonly [
  title: string,
  chain: () => Chain,
  /** What our own rules say. */
  ours: LimboVerdict,
  /** What comes of a handshake, where OpenSSL or the reading of the bundle is stricter. */
  handshake?: LimboVerdict,
];

export interface ChainSpec {
  readonly root?: CertificateSpec;
  /** From the root down. */
  readonly intermediates?: readonly CertificateSpec[];
  readonly leaf?: CertificateSpec;
  readonly trustDomain?: string;
}

export const limboDomain = 'cluster.local';

export function leafSpec(trustDomain: string = limboDomain): CertificateSpec {
  return { subject: '', sans: [{ uri: `spiffe://${trustDomain}/ns/shop/sa/peer` }] };
}

/** A root, intermediates below it and a leaf; whatever is not given is as it should be. */
export function chainOf({ root = {}, intermediates = [], leaf = {}, trustDomain = limboDomain }: ChainSpec): Chain {
  const anchor = makeAuthority({ subject: 'limbo root', ...root });
  const made: MadeCertificate[] = [];
  for (const [index, spec] of intermediates.entries()) {
    made.unshift(makeAuthority({ subject: `limbo intermediate ${index}`, issuer: made[0] ?? anchor, ...spec }));
  }
  const last = makeCertificate({ issuer: made[0] ?? anchor, ...leafSpec(trustDomain), ...leaf });
  return { leaf: last, intermediates: made, roots: [anchor], trustDomain };
}

/** A leaf below one intermediate that differs by this. */
export function below(intermediate: CertificateSpec, leaf: CertificateSpec = {}): () => Chain {
  return () => chainOf({ intermediates: [intermediate], leaf });
}

/** A leaf that differs by this, below one good intermediate. */
export function leafWith(leaf: CertificateSpec): () => Chain {
  return below({}, leaf);
}

/** A leaf right below a root that differs by this. */
export function rootWith(root: CertificateSpec): () => Chain {
  return () => chainOf({ root });
}

export function withExtension(oid: string, value: Uint8Array, critical = true): { extensions: ExtensionSpec[] } {
  return { extensions: [{ oid, critical, value }] };
}
