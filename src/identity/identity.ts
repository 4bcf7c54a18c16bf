import type { KeyObject, X509Certificate } from 'node:crypto';
import { timestamp } from '../clock.ts';
import { messageOf, RenewalError } from '../errors.ts';
import type { RenewalReason } from '../outcomes.ts';
import type { Certificate } from './certificate.ts';
import { readCertificate } from './certificate.ts';
import { decidePeer, identityOf, maxChainLength } from './decide-peer.ts';
import { readPemCertificates, writePemCertificate } from './pem.ts';
import type { SpiffeId } from './spiffe-id.ts';
import type { TrustBundles } from './trust-bundle.ts';

/** Everything that a handshake needs, as one immutable snapshot: whoever holds it sees one generation of all of it. */
export interface Identity {
  readonly generation: number;
  readonly spiffeId: SpiffeId;
  readonly key: KeyObject;
  readonly leaf: X509Certificate;
  /** Leaf first, without the root. */
  readonly chain: readonly X509Certificate[];
  readonly chainPem: string;
  readonly bundles: TrustBundles;
  /** SHA-256 of the root that the chain ends in, lower-case hexadecimal. It may have left the bundles since. */
  readonly rootFingerprint: string;
  /** The latest start of validity on the path; milliseconds since the epoch. */
  readonly notBeforeMs: number;
  /** The earliest end of validity on the path, its root included: from then on every peer refuses. */
  readonly notAfterMs: number;
  /** Why it is over before its certificate is, one sentence: revoked, or its root is trusted no more. */
  readonly endedBecause?: string | undefined;
}

/**
 * How long an identity may still be shown, not above zero once it is over. What ended it early ended it for good, also when the
 * clock is set back.
 */
export function remainingMs({ endedBecause, notAfterMs }: Identity, nowMs: number): number {
  return endedBecause === undefined ? notAfterMs - nowMs : Math.min(0, notAfterMs - nowMs);
}

/** Why an identity that is over is so, in one sentence. */
export function whyOver({ endedBecause, notAfterMs }: Identity): string {
  return endedBecause ?? `Our own certificate expired at ${timestamp(notAfterMs)}`;
}

export interface IdentityParts {
  readonly generation: number;
  readonly key: KeyObject;
  /** Leaf first, then the intermediates in their order; a root behind them is left out. */
  readonly chainPem: string;
  readonly bundles: TrustBundles;
  /** Undefined accepts whatever identity the certificate proves. */
  readonly expected: SpiffeId | undefined;
  /** Wall time, milliseconds since the epoch. */
  readonly nowMs: number;
}

/**
 * Makes a snapshot that every peer with our rules and bundles would accept, at this moment. Throws `RenewalError` with
 * `bad_pem`, `key_mismatch`, `wrong_identity`, `chain_invalid`, `bundle_empty`, `not_yet_valid` or `already_expired`.
 */
export function makeIdentity({ generation, key, chainPem, bundles, expected, nowMs }: IdentityParts): Identity {
  if (bundles.domains.size === 0) throw new RenewalError('bundle_empty', 'The trust bundle holds no root');
  const [leaf, ...presented] = readChain(chainPem);
  checkLeaf(leaf, key, expected);
  const intermediates = withoutRoot(presented, bundles);
  const { id, path } = verify(leaf, intermediates, bundles, nowMs);
  const chain = [leaf, ...intermediates];
  if (!chain.every((certificate, index) => certificate === path[index])) {
    throw new RenewalError(
      'chain_invalid',
      'The chain holds certificates that are out of order or do not belong to it',
    );
  }
  return {
    generation,
    spiffeId: id,
    key,
    leaf: leaf.x509,
    chain: chain.map(({ x509 }) => x509),
    chainPem: chain.map(({ x509 }) => writePemCertificate(x509.raw)).join(''),
    bundles,
    rootFingerprint: path.at(-1)?.fingerprint ?? '',
    notBeforeMs: Math.max(...path.map((certificate) => certificate.notBeforeMs)),
    notAfterMs: Math.min(...path.map((certificate) => certificate.notAfterMs)),
  };
}

function readChain(chainPem: string): [leaf: Certificate, ...rest: Certificate[]] {
  try {
    const [leaf, ...rest] = readPemCertificates(chainPem).map(readCertificate);
    if (leaf !== undefined) return [leaf, ...rest];
  } catch (error) {
    throw new RenewalError('bad_pem', `The certificate chain cannot be read: ${messageOf(error)}`, { cause: error });
  }
  throw new RenewalError('bad_pem', 'The certificate chain holds no certificate');
}

/** What would be said less well by the rules for peers. */
function checkLeaf(leaf: Certificate, key: KeyObject, expected: SpiffeId | undefined): void {
  if (leaf.isAuthority)
    throw new RenewalError('chain_invalid', 'The chain begins with an authority, expected the leaf first');
  if (!leaf.x509.checkPrivateKey(key))
    throw new RenewalError('key_mismatch', 'The certificate is for another key than ours');
  const named = identityOf(leaf);
  if (named.kind === 'id' && expected !== undefined && named.id.uri !== expected.uri) {
    throw new RenewalError('wrong_identity', `The certificate is for ${named.id.uri}, expected ${expected.uri}`);
  }
}

/** Peers hold their own copy of the root; sending it is bytes for nothing. */
function withoutRoot(presented: readonly Certificate[], bundles: TrustBundles): readonly Certificate[] {
  const roots = [...bundles.domains.values()].flat();
  const last = presented.at(-1);
  return roots.some((root) => root.fingerprint === last?.fingerprint) ? presented.slice(0, -1) : presented;
}

const renewalReasons: Readonly<Record<string, RenewalReason>> = {
  expired: 'already_expired',
  not_yet_valid: 'not_yet_valid',
};

function verify(leaf: Certificate, intermediates: readonly Certificate[], bundles: TrustBundles, nowMs: number) {
  if (intermediates.length >= maxChainLength) {
    throw new RenewalError(
      'chain_invalid',
      `The chain has ${intermediates.length + 1} certificates, at most ${maxChainLength} are allowed`,
    );
  }
  const anchorsOf = (trustDomain: string) => bundles.domains.get(trustDomain)?.map((anchor) => anchor.facts);
  const decision = decidePeer(leaf, intermediates, {
    anchorsOf,
    expectedId: undefined,
    nowMs,
    acceptsAbsentKeyUsage: false,
  });
  if (decision.kind === 'accepted') return decision;
  throw new RenewalError(
    renewalReasons[decision.reason] ?? 'chain_invalid',
    `No peer would accept the certificate: ${decision.why}`,
  );
}
