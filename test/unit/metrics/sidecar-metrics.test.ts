import { expect, it } from 'vitest';
import type { MetricSources } from '../../../src/metrics/sidecar-metrics.ts';
import { createSidecarMetrics } from '../../../src/metrics/sidecar-metrics.ts';

it('shows at each scrape how many endpoints are set aside by then', async () => {
  let setAside = 0;
  const sources = {
    liveConnections: () => [],
    endpointsSetAside: () => setAside,
    memory: [],
    interception: () => ({ proofs: [], bypassed: { inbound: 0, outbound: 0 } }),
    closedGates: () => new Map(),
    identity: () => undefined,
    peersByRoot: () => new Map(),
    isControlPlaneUp: () => true,
  } as unknown as MetricSources;
  const metrics = createSidecarMetrics({ version: '0', node: '0', openssl: '0' }, () => sources);
  expect(await metrics.text()).toContain('\nremora_endpoints_set_aside 0\n');
  setAside = 3;
  expect(await metrics.text()).toContain('\nremora_endpoints_set_aside 3\n');
});
