import { readBundle } from './bundle-document.ts';
import type { BundleLimits, TrustAnchor, TrustBundles } from './trust-bundle.ts';
import { bundleLimits, joinTrustBundles, parseTrustBundle, TrustBundleError } from './trust-bundle.ts';

/** By trust domain what its file holds, PEM or a SPIFFE bundle document, or why it cannot be read. */
export type BundleTexts = ReadonlyMap<string, string | Error>;

type RootsByDomain = TrustBundles['domains'];

export interface Federation {
  /** Those of our own trust domain and the `federated` ones. */
  readonly bundles: TrustBundles;
  /** Without the trust domains that publish no root. */
  readonly federated: RootsByDomain;
  /** Why the latest bundle of a trust domain is not used. */
  readonly refused: ReadonlyMap<string, Error>;
}

/**
 * The roots of our own trust domain together with the latest ones of each federated one. What cannot be used leaves that
 * trust domain with its roots in use, if it has any, and is no matter of the others; a trust domain that has gone from
 * `latest`, or publishes no root, is trusted no more. Throws `TrustBundleError` when our own roots cannot be used alone.
 */
export function federate(
  own: RootsByDomain,
  inUse: RootsByDomain,
  latest: BundleTexts,
  limits: BundleLimits = bundleLimits,
): Federation {
  const { read, refused } = readAll(latest);
  const kept = [...inUse].filter(([domain]) => refused.has(domain) || (read.get(domain)?.length ?? 0) > 0);
  const wanted = [...read].filter(([, roots]) => roots.length > 0);
  const join = (federated: RootsByDomain) => joinTrustBundles(new Map([...own, ...federated, ...own]), limits);
  const whole = new Map([...kept, ...wanted]);
  try {
    return { bundles: join(whole), federated: whole, refused };
  } catch (error) {
    if (!(error instanceof TrustBundleError)) throw error;
  }
  // One after the other, to keep apart the ones that cannot be trusted beside the others: those in use come first.
  let federated: RootsByDomain = new Map();
  let bundles = join(federated);
  for (const [domain, roots] of [...kept, ...wanted]) {
    const next = new Map([...federated, [domain, roots]]);
    try {
      bundles = join(next);
      federated = next;
      if (read.has(domain)) refused.delete(domain);
    } catch (error) {
      if (!(error instanceof TrustBundleError)) throw error;
      refused.set(domain, error);
    }
  }
  return { bundles, federated, refused };
}

/** No roots for a trust domain that publishes none. */
function readAll(latest: BundleTexts): {
  readonly read: RootsByDomain;
  readonly refused: Map<string, Error>;
} {
  const read = new Map<string, readonly TrustAnchor[]>();
  const refused = new Map<string, Error>();
  for (const [domain, text] of latest) {
    const roots = text instanceof Error ? text : rootsIn(domain, text);
    if (roots instanceof Error) refused.set(domain, roots);
    else read.set(domain, roots);
  }
  return { read, refused };
}

function rootsIn(domain: string, text: string): readonly TrustAnchor[] | TrustBundleError {
  try {
    const pem = readBundle(domain, text);
    return pem === undefined ? [] : parseTrustBundle(domain, pem);
  } catch (error) {
    if (error instanceof TrustBundleError) return error;
    throw error;
  }
}
