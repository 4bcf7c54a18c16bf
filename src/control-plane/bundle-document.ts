import type { JWK } from 'jose';
import type { Authority } from './authority.ts';

/**
 * The SPIFFE bundle document of the trust domain (SPIFFE Trust Domain and Bundle, §4): a JWK set whose keys are its
 * roots. Sidecars read a changed bundle from their streams; the hint is for federated domains, in seconds.
 */
export function bundleDocument({ root }: Authority) {
  const { kty = 'EC', crv, x, y } = root.publicKey.export({ format: 'jwk' });
  const key: JWK = { kty, use: 'x509-svid', x5c: [root.raw.toString('base64')] };
  return { keys: [{ ...key, crv, x, y }], spiffe_sequence: 1, spiffe_refresh_hint: 300 };
}
