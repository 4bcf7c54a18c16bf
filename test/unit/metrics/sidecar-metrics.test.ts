import { expect, it } from 'vitest';
import type { PolicyInForce } from '../../../src/agent/policy-watch.ts';
import { createReadiness } from '../../../src/lifecycle.ts';
import { maxPortLabels } from '../../../src/metrics/sidecar-families.ts';
import { handshakeReasons } from '../../../src/outcomes.ts';
import type { Mode } from '../../../src/policy/mode.ts';
import { sidecarMetrics } from '../../support/metrics.ts';

it('shows at each scrape how many endpoints are set aside by then', async () => {
  let setAside = 0;
  const metrics = sidecarMetrics({ endpointsSetAside: () => setAside });
  expect(await metrics.text('prometheus')).toContain('\nremora_endpoints_set_aside 0\n');
  setAside = 3;
  expect(await metrics.text('prometheus')).toContain('\nremora_endpoints_set_aside 3\n');
});

const inForce = (mode: Mode, port?: number) => ({ port, mode, setBy: undefined, fromPolicy: mode });

it('says which modes are in force and since when, and nothing before a policy', async () => {
  let policy: PolicyInForce | undefined;
  const metrics = sidecarMetrics({ policy: () => policy });
  const shown = async () => (await metrics.text('prometheus')).match(/^remora_(?:mode|policy).*$/gm);
  expect(await shown()).toBeNull();
  const policies = { enforced: 2, audit: 0, dry_run: 1, invalid: 3 };
  policy = { modes: [inForce('PERMISSIVE')], policies, sinceMs: 1_700_000_000_500 };
  expect(await shown()).toEqual([
    'remora_mode_info{port="*",mode="PERMISSIVE"} 1',
    'remora_policy_objects{state="enforced"} 2',
    'remora_policy_objects{state="audit"} 0',
    'remora_policy_objects{state="dry_run"} 1',
    'remora_policy_objects{state="invalid"} 3',
    'remora_policy_last_update_timestamp_seconds 1700000000.5',
  ]);
  policy = { ...policy, modes: [inForce('STRICT'), inForce('DISABLE', 8080)] };
  expect((await shown())?.filter((line) => line.startsWith('remora_mode_info'))).toEqual([
    'remora_mode_info{port="*",mode="STRICT"} 1',
    'remora_mode_info{port="8080",mode="DISABLE"} 1',
  ]);
  policy = undefined;
  expect(await shown()).toBeNull();
});

it('shows the modes of ports beyond the bound as those of other, each once', async () => {
  const ports = Array.from({ length: maxPortLabels + 20 }, (_, n) => inForce(n % 2 ? 'STRICT' : 'DISABLE', 1000 + n));
  const policies = { enforced: 0, audit: 0, dry_run: 0, invalid: 0 };
  const metrics = sidecarMetrics({ policy: () => ({ modes: [inForce('STRICT'), ...ports], policies, sinceMs: 0 }) });
  const shown = (await metrics.text('prometheus')).match(/^remora_mode_info.*$/gm) ?? [];
  expect(shown).toHaveLength(maxPortLabels + 2);
  expect(shown.slice(-2).sort()).toEqual([
    'remora_mode_info{port="other",mode="DISABLE"} 1',
    'remora_mode_info{port="other",mode="STRICT"} 1',
  ]);
});

it('counts what AUDIT policies match, and what policies on trial would have decided', async () => {
  const metrics = sidecarMetrics();
  const denied = { kind: 'denied', reason: 'policy_deny', by: 'shop/trial' } as const;
  metrics.connectionJudged({ audited: ['shop/one', 'shop/two'], dryRun: denied }, 'allowed');
  metrics.connectionJudged({ dryRun: { kind: 'allowed', by: undefined } }, 'denied');
  metrics.connectionJudged({ policy: 'shop/allow' }, 'allowed');
  expect((await metrics.text('prometheus')).match(/^remora_connections_(?:audited|dry_run).*$/gm)).toEqual([
    'remora_connections_audited_total 1',
    'remora_connections_dry_run_total{enforced="allowed",dry_run="denied"} 1',
    'remora_connections_dry_run_total{enforced="denied",dry_run="allowed"} 1',
  ]);
});

it('begins at zero what alerts watch, so that the first failure is a rise', async () => {
  const text = await sidecarMetrics().text('prometheus');
  for (const direction of ['inbound', 'outbound']) {
    for (const reason of Object.keys(handshakeReasons))
      expect(text).toContain(
        `remora_tls_handshakes_total{direction="${direction}",result="failure",reason="${reason}"} 0\n`,
      );
    expect(text).toContain(
      `remora_connections_total{direction="${direction}",transport="plaintext",security="plaintext"} 0\n`,
    );
  }
});

it('counts what no handshake of ours can settle on as other', async () => {
  const metrics = sidecarMetrics();
  metrics.handshakeSucceeded('inbound', 5, { version: 'TLSv1.3', cipher: 'TLS_NULL', group: 'X25519' });
  expect(await metrics.text('prometheus')).toContain(
    'remora_tls_negotiated_total{direction="inbound",version="TLSv1.3",cipher="other",group="X25519"} 1\n',
  );
});

it('shows each readiness gate, open or closed', async () => {
  const readiness = createReadiness();
  const metrics = sidecarMetrics({ closedGates: readiness.closed });
  readiness.open('identity');
  readiness.open('not_draining');
  const text = await metrics.text('prometheus');
  expect(text).toContain('remora_ready{gate="listeners"} 0\n');
  expect(text).toContain('remora_ready{gate="identity"} 1\n');
  expect(text).toContain('remora_ready{gate="policy"} 0\n');
  expect(text).toContain('remora_ready{gate="interception"} 0\n');
  expect(text).toContain('remora_ready{gate="not_draining"} 1\n');
});

it('counts plaintext connections by port, for those that a switch to STRICT would refuse', async () => {
  const counts = new Map([
    ['8080', 412],
    ['other', 3],
  ]);
  const metrics = sidecarMetrics({ plaintextConnections: () => counts });
  expect((await metrics.text('prometheus')).match(/^remora_strict_preview_\S+ .*$/gm)).toEqual([
    'remora_strict_preview_plaintext_connections_total{port="8080"} 412',
    'remora_strict_preview_plaintext_connections_total{port="other"} 3',
  ]);
});
