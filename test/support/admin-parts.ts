import type { AdminParts } from '../../src/agent/admin.ts';
import { timedReadiness } from '../../src/agent/gate-times.ts';
import { createLastMinute } from '../../src/agent/last-minute.ts';
import { timestamp } from '../../src/clock.ts';
import { loadAgentSettings } from '../../src/config.ts';
import { noRevocations } from '../../src/identity/revocations.ts';
import { createReadiness } from '../../src/lifecycle.ts';
import { createLog } from '../../src/log.ts';
import { createLogging } from '../../src/logging.ts';
import { createRecentFailures } from '../../src/proxy/recent-failures.ts';
import { createFakeClock } from './fake-clock.ts';

/** What the admin pages show of a sidecar that has done nothing yet. */
export function adminParts(parts: Partial<AdminParts> = {}): AdminParts {
  const clock = parts.clock ?? createFakeClock();
  const args = ['--control-plane', 'https://control-plane:15012', '--mesh-networks', '10.0.0.0/8'];
  const log = createLog('silent');
  return {
    clock,
    log,
    logging: createLogging(log, 'all'),
    startedAtMs: clock.now(),
    ...loadAgentSettings({ args, env: {}, nodeFlags: [], uid: 1337, gid: 1337, readFile: () => '' }),
    readiness: timedReadiness(clock, createReadiness([])),
    identity: () => undefined,
    peers: { byRoot: () => new Map(), sinceMs: clock.now() },
    revocations: { current: () => noRevocations },
    policy: { current: () => undefined, inForce: () => undefined },
    strictPreview: () => ({
      now: timestamp(clock.now()),
      since: timestamp(clock.now()),
      pod: { name: null, namespace: null, workload: null },
      mode: null,
      ports: [],
      forgotten: null,
    }),
    destinations: { known: () => [], isSetAside: () => false },
    isControlPlaneUp: () => false,
    controlPlane: () => undefined,
    interception: () => ({ proofs: [], bypassed: { inbound: 0, outbound: 0 } }),
    connections: () => [],
    tunnels: () => [],
    openNow: () => ({ connections: { inbound: 0, outbound: 0 }, tunnels: { inbound: 0, outbound: 0 } }),
    newConnections: createLastMinute(clock).counts,
    placesNow: () => ({ inUse: 0, most: 10_000 }),
    explain: async () => ({ status: 200, body: {} }),
    failures: createRecentFailures(),
    stopping: { progress: () => ({ stage: 'serving', isStopping: false }), drain: async () => undefined },
    drain: { size: 0 },
    quit: () => undefined,
    ...parts,
  };
}
