import type { IdentitySource } from '../agent/identity-sources/source.ts';
import { parseDate } from '../clock.ts';
import type { IdentityFacts } from './sidecar-metrics.ts';

/** What the metrics show of the identity in use. */
export function identityFacts(source: IdentitySource): IdentityFacts {
  const { generation, notBeforeMs, leaf, chain, bundles } = source.current();
  const earliest = (dates: readonly number[]) => (dates.length === 0 ? undefined : Math.min(...dates));
  const roots = [...bundles.domains.values()].flat();
  return {
    generation,
    notBeforeMs,
    notAfterMs: parseDate(leaf.validTo),
    issuerNotAfterMs: earliest(chain.slice(1).map(({ validTo }) => parseDate(validTo))),
    rootNotAfterMs: earliest(roots.map(({ certificate }) => parseDate(certificate.validTo))),
    nextRenewalMs: source.renewal().nextAttemptMs,
    rootsByTrustDomain: new Map([...bundles.domains].map(([domain, anchors]) => [domain, anchors.length])),
  };
}
