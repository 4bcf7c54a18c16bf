import { expect, it } from 'vitest';
import { createReadiness } from '../../../src/lifecycle.ts';
import { handshakeReasons } from '../../../src/outcomes.ts';
import { sidecarMetrics } from '../../support/metrics.ts';

it('shows at each scrape how many endpoints are set aside by then', async () => {
  let setAside = 0;
  const metrics = sidecarMetrics({ endpointsSetAside: () => setAside });
  expect(await metrics.text('prometheus')).toContain('\nremora_endpoints_set_aside 0\n');
  setAside = 3;
  expect(await metrics.text('prometheus')).toContain('\nremora_endpoints_set_aside 3\n');
});

it('says which mode is in force and since when, and nothing before a policy', async () => {
  let policy: { mode: 'STRICT' | 'PERMISSIVE'; sinceMs: number } | undefined;
  const metrics = sidecarMetrics({ policy: () => policy });
  const shown = async () => (await metrics.text('prometheus')).match(/^remora_(?:mode|policy).*$/gm);
  expect(await shown()).toBeNull();
  policy = { mode: 'PERMISSIVE', sinceMs: 1_700_000_000_500 };
  expect(await shown()).toEqual([
    'remora_mode_info{port="*",mode="PERMISSIVE"} 1',
    'remora_policy_last_update_timestamp_seconds 1700000000.5',
  ]);
  policy = { ...policy, mode: 'STRICT' };
  expect(await shown()).toContain('remora_mode_info{port="*",mode="STRICT"} 1');
  expect(await shown()).toHaveLength(2);
  policy = undefined;
  expect(await shown()).toBeNull();
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
