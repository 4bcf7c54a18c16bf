import type { X509Certificate } from 'node:crypto';
import type { JWK } from 'jose';
import type { Authority } from './authority.ts';
import { trustedRoots } from './root-set.ts';

/**
 * The SPIFFE bundle document of the trust domain (SPIFFE Trust Domain and Bundle, §4): a JWK set whose keys are its
 * roots. Sidecars read a changed bundle from their streams; the hint is for federated domains, in seconds.
 */
export function bundleDocument({ roots, bundleSequence }: Authority) {
  return { keys: trustedRoots(roots).map(keyOf), spiffe_sequence: bundleSequence, spiffe_refresh_hint: 300 };
}

function keyOf(root: X509Certificate): JWK {
  const { kty = 'EC', crv, x, y } = root.publicKey.export({ format: 'jwk' });
  const key: JWK = { kty, use: 'x509-svid', x5c: [root.raw.toString('base64')] };
  return { ...key, crv, x, y } as JWK;
}
