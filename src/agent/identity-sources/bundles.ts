import { RenewalError } from '../../errors.ts';
import { readBundle } from '../../identity/bundle-document.ts';
import type { BundleTexts, Federation } from '../../identity/federation.ts';
import { federate } from '../../identity/federation.ts';
import type { Identity } from '../../identity/identity.ts';
import { makeIdentity } from '../../identity/identity.ts';
import type { TrustBundles } from '../../identity/trust-bundle.ts';
import { parseTrustBundle, parseTrustBundles, TrustBundleError } from '../../identity/trust-bundle.ts';
import type { PemBundles } from '../stream-state.ts';

/** The whole set or nothing. Throws `RenewalError`, also when our own trust domain has no root: that would trust nobody. */
export function parseBundles(pem: PemBundles, ownTrustDomain: string): TrustBundles {
  const bundles = refusing(() => parseTrustBundles(pem));
  if ((bundles.domains.get(ownTrustDomain)?.length ?? 0) > 0) return bundles;
  throw new RenewalError('bundle_empty', `The trust bundles hold no root of our own trust domain ${ownTrustDomain}`);
}

/**
 * Our own bundle, PEM or a SPIFFE bundle document, with the latest ones of other trust domains, as `federate` has it. Throws
 * `RenewalError` for our own one, also when it publishes no root.
 */
export function federateBundles(
  own: { readonly trustDomain: string; readonly text: string },
  inUse: Federation['federated'],
  latest: BundleTexts,
): Federation {
  const { trustDomain, text } = own;
  return refusing(() => {
    // Without a root a document reads as an empty PEM does: it would trust nobody, ourselves included.
    const roots = parseTrustBundle(trustDomain, readBundle(trustDomain, text) ?? '');
    return federate(new Map([[trustDomain, roots]]), inUse, latest);
  });
}

function refusing<T>(make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof TrustBundleError) throw new RenewalError(error.reason, error.message, { cause: error });
    throw error;
  }
}

/** Whether both hold the same roots for the same trust domains, in whatever order. */
export function isSameBundles(a: TrustBundles, b: TrustBundles): boolean {
  return fingerprintsOf(a) === fingerprintsOf(b);
}

function fingerprintsOf({ domains }: TrustBundles): string {
  const lines = [...domains].map(([domain, anchors]) => {
    const fingerprints = anchors.map(({ fingerprint }) => fingerprint).sort();
    return `${domain} ${fingerprints.join()}`;
  });
  return lines.sort().join('\n');
}

/**
 * The same certificate under other trust bundles. When they no longer vouch for it, every peer refuses it from now on:
 * the identity then ends at once, while the new bundles hold for peers.
 */
export function withBundles(identity: Identity, bundles: TrustBundles, generation: number, nowMs: number): Identity {
  const { key, chainPem, spiffeId, notBeforeMs } = identity;
  // Its own dates are not the question: of a certificate that has not begun, by a clock that went back, no root would be looked for.
  const withinMs = Math.min(Math.max(nowMs, notBeforeMs), identity.notAfterMs - 1);
  try {
    return makeIdentity({ generation, key, chainPem, bundles, expected: spiffeId, nowMs: withinMs });
  } catch (error) {
    if (!(error instanceof RenewalError)) throw error;
    // A root that is not valid yet may be so soon; whatever else is wrong is wrong from now on.
    const isEarly = error.reason === 'not_yet_valid';
    const notAfterMs = isEarly ? identity.notAfterMs : Math.min(identity.notAfterMs, nowMs);
    return { ...identity, generation, bundles, notAfterMs, endedBecause: isEarly ? undefined : error.message };
  }
}
