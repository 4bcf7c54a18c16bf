import type { IdentitySource } from '../agent/identity-sources/source.ts';
import { parseDate } from '../clock.ts';
import type { Identity } from '../identity/identity.ts';
import type { IdentityFacts } from './sidecar-metrics.ts';

/** What the metrics show of the identity in use, which lasts for `remainingMs` more. */
export function identityFacts(source: IdentitySource, remainingMs: number): IdentityFacts {
  const { nextAttemptMs, clockSkewMs } = source.renewal();
  return {
    ...lastingFacts(source.current()),
    remainingMs: Math.max(0, remainingMs),
    nextRenewalMs: nextAttemptMs,
    clockSkewMs,
  };
}

type LastingFacts = Omit<IdentityFacts, 'remainingMs' | 'nextRenewalMs' | 'clockSkewMs'>;

/** An identity does not change, and to read the dates of five hundred roots takes milliseconds. */
const factsOf = new WeakMap<Identity, LastingFacts>();

function lastingFacts(identity: Identity): LastingFacts {
  const known = factsOf.get(identity);
  if (known !== undefined) return known;
  const { generation, notBeforeMs, leaf, chain, bundles, spiffeId } = identity;
  const isOwn = (domain: string) => domain === spiffeId.trustDomain;
  const earliest = (dates: readonly number[]) => (dates.length === 0 ? undefined : Math.min(...dates));
  const roots = [...bundles.domains.values()].flat();
  const facts = {
    generation,
    notBeforeMs,
    notAfterMs: parseDate(leaf.validTo),
    issuerNotAfterMs: earliest(chain.slice(1).map(({ validTo }) => parseDate(validTo))),
    rootNotAfterMs: earliest(roots.map(({ certificate }) => parseDate(certificate.validTo))),
    rootsByTrustDomain: new Map(
      [...bundles.domains]
        .sort(([a], [b]) => Number(isOwn(b)) - Number(isOwn(a)))
        .map(([domain, anchors]) => [domain, anchors.map(({ fingerprint }) => fingerprint)]),
    ),
  };
  factsOf.set(identity, facts);
  return facts;
}
