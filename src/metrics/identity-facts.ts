import type { IdentitySource } from '../agent/identity-sources/source.ts';
import { parseDate } from '../clock.ts';
import type { IdentityFacts } from './sidecar-metrics.ts';

/** What the metrics show of the identity in use, which lasts for `remainingMs` more. */
export function identityFacts(source: IdentitySource, remainingMs: number): IdentityFacts {
  const { generation, notBeforeMs, leaf, chain, bundles, spiffeId } = source.current();
  const { nextAttemptMs, clockSkewMs } = source.renewal();
  const isOwn = (domain: string) => domain === spiffeId.trustDomain;
  const earliest = (dates: readonly number[]) => (dates.length === 0 ? undefined : Math.min(...dates));
  const roots = [...bundles.domains.values()].flat();
  return {
    generation,
    notBeforeMs,
    notAfterMs: parseDate(leaf.validTo),
    remainingMs: Math.max(0, remainingMs),
    issuerNotAfterMs: earliest(chain.slice(1).map(({ validTo }) => parseDate(validTo))),
    rootNotAfterMs: earliest(roots.map(({ certificate }) => parseDate(certificate.validTo))),
    nextRenewalMs: nextAttemptMs,
    clockSkewMs,
    rootsByTrustDomain: new Map(
      [...bundles.domains]
        .sort(([a], [b]) => Number(isOwn(b)) - Number(isOwn(a)))
        .map(([domain, anchors]) => [domain, anchors.map(({ fingerprint }) => fingerprint)]),
    ),
  };
}
