import type { X509Certificate } from 'node:crypto';

/** A root that peers of one trust domain may chain to. */
export interface TrustAnchor {
  readonly certificate: X509Certificate;
  readonly pem: string;
  /** SHA-256 of the DER, lower-case hexadecimal. */
  readonly fingerprint: string;
}

/** The roots of every trust domain that this sidecar trusts, never merged: each domain is vouched for by its own roots only. */
export interface TrustBundles {
  readonly domains: ReadonlyMap<string, readonly TrustAnchor[]>;
}

/** A set of trust bundles that cannot be used; the message is one sentence. */
export class TrustBundleError extends Error {
  readonly reason: 'bundle_empty' | 'bad_pem' | 'chain_invalid' | 'too_large';

  constructor(reason: TrustBundleError['reason'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'TrustBundleError';
    this.reason = reason;
  }
}

/** Parses PEM roots by trust domain: the whole set or nothing. Throws `TrustBundleError`. */
export function parseTrustBundles(pemByDomain: Readonly<Record<string, string>>): TrustBundles {
  throw new TypeError(`not built yet: ${Object.keys(pemByDomain)}`);
}
