import type { KeyObject, X509Certificate } from 'node:crypto';
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
  readonly notBeforeMs: number;
  /** The earliest end of validity of the chain; milliseconds since the epoch. */
  readonly notAfterMs: number;
}

export interface IdentityParts {
  readonly generation: number;
  readonly key: KeyObject;
  readonly chainPem: string;
  readonly bundles: TrustBundles;
  /** Undefined accepts whatever identity the certificate proves. */
  readonly expected: SpiffeId | undefined;
  readonly nowMs: number;
}

/** Makes a snapshot that our own peer verification accepts. Throws `RenewalError`. */
export function makeIdentity(parts: IdentityParts): Identity {
  throw new TypeError(`not built yet: ${parts.generation}`);
}
