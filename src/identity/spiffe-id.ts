/**
 * SPIFFE IDs as the SPIFFE-ID specification writes them, byte for byte: nothing is decoded, folded or normalised, so
 * that two IDs are the same identity exactly when their texts are equal.
 */
export interface SpiffeId {
  /** The whole ID, such as `spiffe://cluster.local/ns/shop/sa/web`. */
  readonly uri: string;
  readonly trustDomain: string;
  /** Starts with a slash; a workload's path is never empty. */
  readonly path: string;
}

export type SpiffeIdResult =
  | { readonly kind: 'id'; readonly id: SpiffeId }
  | { readonly kind: 'invalid'; readonly reason: 'svid_id_syntax' | 'svid_id_too_long'; readonly why: string };

/** Every implementation must accept this many bytes (SPIFFE-ID §2.3); we accept no more. */
const maxUriLength = 2048;
const scheme = 'spiffe://';
const trustDomainSyntax = /^[a-z0-9._-]{1,255}$/;
const segmentSyntax = /^[A-Za-z0-9._-]+$/;

/** Whether `text` is a well-formed trust domain: 1–255 of `a-z 0-9 . _ -`. One that looks like an address is not special. */
export function isTrustDomain(text: string): boolean {
  return trustDomainSyntax.test(text);
}

function isSegment(text: string): boolean {
  return segmentSyntax.test(text) && text !== '.' && text !== '..';
}

/**
 * Parses the ID of a workload; never throws. A text read from a certificate must hold one character a byte (latin1), so
 * that whatever is not ASCII is refused here and not interpreted.
 */
export function parseSpiffeId(text: string): SpiffeIdResult {
  if (text.length > maxUriLength) return tooLong(text.length);
  if (!text.startsWith(scheme)) return malformed(`it does not start with ${scheme}`);
  const slash = text.indexOf('/', scheme.length);
  if (slash === -1) return malformed('it has no path');
  const trustDomain = text.slice(scheme.length, slash);
  if (!isTrustDomain(trustDomain))
    return malformed('its trust domain is not 1 to 255 of a-z, 0-9, dot, dash and underscore');
  const path = text.slice(slash);
  if (!path.slice(1).split('/').every(isSegment)) {
    return malformed(
      'a segment of its path is empty, a dot segment, or not of A-Z, a-z, 0-9, dot, dash and underscore',
    );
  }
  return { kind: 'id', id: { uri: text, trustDomain, path } };
}

function malformed(why: string): SpiffeIdResult {
  return { kind: 'invalid', reason: 'svid_id_syntax', why };
}

function tooLong(length: number): SpiffeIdResult {
  return {
    kind: 'invalid',
    reason: 'svid_id_too_long',
    why: `it is ${length} bytes long, at most ${maxUriLength} are allowed`,
  };
}

/** `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`; throws `TypeError` when a part cannot stand in an ID. */
export function workloadSpiffeId(trustDomain: string, namespace: string, serviceAccount: string): SpiffeId {
  const parsed = parseSpiffeId(`${scheme}${trustDomain}/ns/${namespace}/sa/${serviceAccount}`);
  // A slash in any of the parts makes the path longer than that of a workload.
  if (parsed.kind === 'id' && workloadOf(parsed.id) !== undefined) return parsed.id;
  throw new TypeError(`No SPIFFE ID can be made of ${JSON.stringify({ trustDomain, namespace, serviceAccount })}`);
}

/** The namespace and service account that an ID of our own shape names; undefined for any other, which is still an identity. */
export function workloadOf(id: SpiffeId): { readonly namespace: string; readonly serviceAccount: string } | undefined {
  const [, ns, namespace, sa, serviceAccount, ...rest] = id.path.split('/');
  if (ns !== 'ns' || sa !== 'sa' || namespace === undefined || serviceAccount === undefined || rest.length > 0)
    return undefined;
  return { namespace, serviceAccount };
}
