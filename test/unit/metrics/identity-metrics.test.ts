import { describe, expect, it } from 'vitest';
import type { IdentitySource, RenewalState } from '../../../src/agent/identity-sources/source.ts';
import type { Identity } from '../../../src/identity/identity.ts';
import { remainingMs } from '../../../src/identity/identity.ts';
import { parseTrustBundles } from '../../../src/identity/trust-bundle.ts';
import { identityFacts } from '../../../src/metrics/identity-facts.ts';
import { maxRootLabels } from '../../../src/metrics/sidecar-families.ts';
import type { MetricSources, SidecarMetrics } from '../../../src/metrics/sidecar-metrics.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';
import { sidecarMetrics } from '../../support/metrics.ts';

const nowMs = Math.floor(Date.now() / 1000) * 1000;
const authority = createTestAuthority('cluster.local');
const partner = createTestAuthority('partner.example');
const bundles = parseTrustBundles({ 'partner.example': partner.bundlePem, 'cluster.local': authority.bundlePem });
const [ownRoot = ''] = bundles.domains.get('cluster.local')?.map(({ fingerprint }) => fingerprint) ?? [];
const [partnerRoot = ''] = bundles.domains.get('partner.example')?.map(({ fingerprint }) => fingerprint) ?? [];
const short = (root: string) => root.slice(0, 16);
const identity = createTestIdentity(authority, {
  namespace: 'shop',
  serviceAccount: 'web',
  bundles,
  certificate: { notAfterMs: nowMs + 3_600_000 },
});

type Peers = ReturnType<MetricSources['peersByRoot']>;

/** What one scrape shows of families whose names match, one line for each sample. */
async function samples(
  pattern: RegExp,
  {
    current,
    renewal = {},
    atMs = nowMs,
    peers = new Map(),
    before = () => undefined,
  }: {
    current?: Identity;
    renewal?: Partial<RenewalState>;
    atMs?: number;
    peers?: Peers;
    before?: (metrics: SidecarMetrics) => void;
  } = {},
): Promise<string[]> {
  const state = { nextAttemptMs: undefined, lastFailure: undefined, clockSkewMs: undefined, ...renewal };
  const source = { current: () => current, renewal: () => state } as unknown as IdentitySource;
  const metrics = sidecarMetrics({
    identity: () => (current === undefined ? undefined : identityFacts(source, remainingMs(current, atMs))),
    peersByRoot: () => peers,
  });
  before(metrics);
  // Twice: what a scrape shows must not depend on the one before.
  await metrics.text('prometheus');
  return (await metrics.text('prometheus')).split('\n').filter((line) => !line.startsWith('#') && pattern.test(line));
}

const ofTime = /^remora_(?:certificate_(?:next|not_before|generation)|identity_|clock_skew)/;

describe('metrics of the identity', () => {
  it('say before the first one that it has lapsed, and nothing that is not known', async () => {
    expect(await samples(ofTime)).toEqual([
      'remora_certificate_generation 0',
      'remora_identity_time_to_outage_seconds 0',
    ]);
  });

  it('say when it is renewed, how long it lasts, and how far the clocks are apart', async () => {
    const renewal = { nextAttemptMs: nowMs + 1_800_500, clockSkewMs: -1500 };
    expect(await samples(ofTime, { current: identity, renewal })).toEqual([
      `remora_certificate_not_before_timestamp_seconds ${identity.notBeforeMs / 1000}`,
      'remora_certificate_generation 1',
      `remora_certificate_next_renewal_timestamp_seconds ${nowMs / 1000 + 1800.5}`,
      'remora_identity_time_to_outage_seconds 3600',
      'remora_clock_skew_seconds -1.5',
    ]);
  });

  it('say after its end that it has lapsed and when the next attempt is, and never a negative time', async () => {
    const renewal = { nextAttemptMs: nowMs + 3_610_000 };
    const shown = await samples(ofTime, { current: identity, renewal, atMs: nowMs + 3_605_000 });
    expect(shown).toContain('remora_identity_time_to_outage_seconds 0');
    expect(shown).toContain(`remora_certificate_next_renewal_timestamp_seconds ${nowMs / 1000 + 3610}`);
  });

  it('say when no peer accepts it any more, also where its leaf lasts longer', async () => {
    const ended = { ...identity, notAfterMs: nowMs + 60_000 };
    expect(await samples(/time_to_outage|kind="workload"/, { current: ended })).toEqual([
      `remora_certificate_not_after_timestamp_seconds{kind="workload"} ${nowMs / 1000 + 3600}`,
      'remora_identity_time_to_outage_seconds 60',
    ]);
  });

  it('do not show when files are renewed, because somebody else does it', async () => {
    expect(await samples(/next_renewal|clock_skew/, { current: identity })).toEqual([]);
  });

  it('count attempts by source, result and reason, also before the first identity', async () => {
    const before = (metrics: SidecarMetrics) => {
      metrics.renewalFailed('control_plane', 'unreachable');
      metrics.renewalFailed('control_plane', 'unreachable');
      metrics.renewalSucceeded('files');
    };
    expect(await samples(/renewals_total/, { before })).toEqual([
      'remora_certificate_renewals_total{source="control_plane",result="failure",reason="unreachable"} 2',
      'remora_certificate_renewals_total{source="files",result="success",reason=""} 1',
    ]);
  });
});

describe('peers by root', () => {
  const seen = (size: number, unnamed = 0) => ({ recent: { size }, unnamed });

  it('are zero for each root without any, and other where the root is in no bundle', async () => {
    const peers = new Map([
      [partnerRoot, seen(2, 40)],
      ['f'.repeat(64), seen(1)],
      ['e'.repeat(64), seen(3)],
    ]);
    expect(await samples(/peers_by_root/, { current: identity, peers })).toEqual([
      `remora_peers_by_root{root="${short(ownRoot)}"} 0`,
      `remora_peers_by_root{root="${short(partnerRoot)}"} 42`,
      'remora_peers_by_root{root="other"} 4',
    ]);
    expect(await samples(/peers_by_root/)).toEqual(['remora_peers_by_root{root="other"} 0']);
  });

  it('have a bounded number of labels, with the roots of our own trust domain first', async () => {
    const many = Array.from({ length: maxRootLabels }, () => createTestAuthority('partner.example').bundlePem).join('');
    const crowded = parseTrustBundles({ 'partner.example': many, 'cluster.local': authority.bundlePem });
    const roots = [...crowded.domains.values()].flat().map(({ fingerprint }) => fingerprint);
    const peers = new Map(roots.map((root) => [root, seen(1)]));
    const shown = await samples(/peers_by_root/, { current: { ...identity, bundles: crowded }, peers });
    expect(shown).toHaveLength(maxRootLabels + 1);
    expect(shown[0]).toBe(`remora_peers_by_root{root="${short(ownRoot)}"} 1`);
    expect(shown.at(-1)).toBe('remora_peers_by_root{root="other"} 1');
  });
});
