import type { ServedTunnelLimits } from '../../src/proxy/transport/hbone/serve.ts';
import type { TunnelLimits } from '../../src/proxy/transport/hbone/tunnel.ts';

/** Of both ends of a tunnel that a test drives by itself. */
export const tunnelLimits: TunnelLimits & ServedTunnelLimits = {
  streamWindowBytes: 65_536,
  tunnelWindowBytes: 1 << 24,
  maxStreams: 100,
  idleTimeoutMs: 60_000,
  servedIdleTimeoutMs: 60_000,
  maxAgeMs: 3_600_000,
  openTimeoutMs: 10_000,
};
