import type { MetricSources, SidecarMetrics } from '../../src/metrics/sidecar-metrics.ts';
import { createSidecarMetrics } from '../../src/metrics/sidecar-metrics.ts';

/** The metrics of a sidecar that has nothing yet but what `sources` says. */
export function sidecarMetrics(sources: Partial<MetricSources> = {}): SidecarMetrics {
  const all: MetricSources = {
    liveConnections: () => [],
    endpointsSetAside: () => 0,
    closedGates: () => new Map(),
    identity: () => undefined,
    peersByRoot: () => new Map(),
    isControlPlaneUp: () => true,
    policy: () => undefined,
    plaintextConnections: () => new Map(),
    memory: [],
    tcpSeries: () => [],
    interception: () => ({ proofs: [], bypassed: { inbound: 0, outbound: 0 } }),
    ...sources,
  };
  return createSidecarMetrics({ version: '0', node: '0', openssl: '0' }, () => all);
}
