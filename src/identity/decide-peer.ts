import type { Certificate } from './certificate.ts';
import type { SpiffeId } from './spiffe-id.ts';
import { parseSpiffeId } from './spiffe-id.ts';
import type { Refusal } from './trust-path.ts';
import { criticalExtension, findTrustPath, isForMutualTls, outOfDate, refused } from './trust-path.ts';

/** The most certificates that a chain may have, its root not counted. */
export const maxChainLength = 8;

/** What a chain is judged by. */
export interface PeerRules {
  /** The roots of a trust domain; undefined when there is no bundle for it. */
  anchorsOf(trustDomain: string): readonly Certificate[] | undefined;
  /** Undefined accepts every identity that is proved. */
  readonly expectedId: SpiffeId | undefined;
  /** Wall time, milliseconds since the epoch. */
  readonly nowMs: number;
  /** Accepts a leaf without any key usage, which X509-SVID §4.3 forbids. */
  readonly acceptsAbsentKeyUsage: boolean;
}

export type Decision =
  | {
      readonly kind: 'accepted';
      readonly id: SpiffeId;
      readonly path: readonly [leaf: Certificate, ...issuers: Certificate[]];
    }
  | Refusal;

/**
 * Decides who a chain proves, by the SPIFFE X509-SVID rules, which OpenSSL does not know, and by a path to the roots of the
 * leaf's own trust domain, which OpenSSL does not keep apart. A pure function of what it is given.
 */
export function decidePeer(leaf: Certificate, intermediates: readonly Certificate[], rules: PeerRules): Decision {
  const named = identityOf(leaf);
  if (named.kind === 'refused') return named;
  const { id } = named;
  const unfit = unfitLeaf(leaf, rules);
  if (unfit !== undefined) return unfit;
  const anchors = rules.anchorsOf(id.trustDomain);
  if (anchors === undefined) return refused('trust_domain', `there is no trust bundle for ${id.trustDomain}`);
  const found = findTrustPath({ leaf, id, intermediates, anchors, nowMs: rules.nowMs });
  if (found.kind === 'refused') return found;
  if (rules.expectedId !== undefined && rules.expectedId.uri !== id.uri) {
    return refused('peer_identity', `it is ${id.uri}, expected ${rules.expectedId.uri}`);
  }
  return { kind: 'accepted', id, path: found.path };
}

/** The one URI of a leaf, as a SPIFFE ID. */
export function identityOf(leaf: Certificate): { readonly kind: 'id'; readonly id: SpiffeId } | Refusal {
  const [uri, second] = leaf.uris;
  if (uri === undefined) return refused('svid_no_uri', 'the certificate has no URI among its names');
  if (second !== undefined)
    return refused('svid_multiple_uris', 'the certificate has more than one URI among its names');
  const parsed = parseSpiffeId(uri);
  return parsed.kind === 'id' ? parsed : refused(parsed.reason, `${quoted(uri)} is not a SPIFFE ID: ${parsed.why}`);
}

/** What makes a certificate unfit for a workload, whoever issued it (X509-SVID §5.2). */
function unfitLeaf(leaf: Certificate, { nowMs, acceptsAbsentKeyUsage }: PeerRules): Refusal | undefined {
  const { keyUsage } = leaf;
  if (leaf.isAuthority) return refused('svid_is_ca', 'the certificate is an authority (CA:TRUE)');
  if (keyUsage === undefined && !acceptsAbsentKeyUsage)
    return refused('svid_key_usage', 'the certificate has no key usage');
  if (keyUsage?.digitalSignature === false) return refused('svid_key_usage', 'its key usage lacks digitalSignature');
  if (keyUsage?.keyCertSign || keyUsage?.crlSign)
    return refused('svid_key_usage', 'its key usage has keyCertSign or cRLSign');
  if (!isForMutualTls(leaf)) return refused('bad_purpose', 'its extended key usage lacks serverAuth or clientAuth');
  if (leaf.unknownCritical !== undefined) return criticalExtension(leaf.unknownCritical);
  if (leaf.weakKey !== undefined) return refused('untrusted', `the certificate is too weak: ${leaf.weakKey}`);
  if (leaf.weakSignature !== undefined)
    return refused('untrusted', `the certificate is too weak: ${leaf.weakSignature}`);
  return outOfDate(leaf, nowMs);
}

/** What a stranger wrote, fit for a log: short, in printable ASCII and plainly delimited. */
function quoted(text: string): string {
  const escaped = text
    .slice(0, 120)
    .replaceAll(/[^\x20-\x7e]|["\\]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16).padStart(2, '0')}`);
  return `"${escaped}${text.length > 120 ? '...' : ''}"`;
}
