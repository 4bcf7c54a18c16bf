import type { CallerBook } from '../agent/callers/caller-book.ts';
import { createCallerBook } from '../agent/callers/caller-book.ts';
import type { IdentitySource } from '../agent/identity-sources/source.ts';
import type { InterceptionBook } from '../agent/interception-book.ts';
import { createInterceptionBook } from '../agent/interception-book.ts';
import type { LastMinute } from '../agent/last-minute.ts';
import { createLastMinute } from '../agent/last-minute.ts';
import type { PolicyInForce } from '../agent/policy-watch.ts';
import { ownWorkloadOf } from '../agent/registry/own-workload.ts';
import type { WorkloadBook } from '../agent/registry/workload-book.ts';
import type { TrafficBook } from '../agent/traffic-book.ts';
import { alsoTelling, createTrafficBook } from '../agent/traffic-book.ts';
import type { Clock } from '../clock.ts';
import type { AgentSettings } from '../config.ts';
import type { PolicyState } from '../control-api.ts';
import { remainingMs } from '../identity/identity.ts';
import type { Readiness } from '../lifecycle.ts';
import type { Log } from '../log.ts';
import type { LogOutput } from '../log-output.ts';
import type { Logging } from '../logging.ts';
import { createLogging } from '../logging.ts';
import type { MemoryPool } from '../memory-limit.ts';
import { identityFacts } from '../metrics/identity-facts.ts';
import type { SidecarMetrics } from '../metrics/sidecar-metrics.ts';
import { createSidecarMetrics } from '../metrics/sidecar-metrics.ts';
import type { TcpTraffic } from '../metrics/tcp/traffic.ts';
import { createTcpTraffic } from '../metrics/tcp/traffic.ts';
import { outputBlocked } from '../outcomes.ts';
import { modeInForce } from '../policy/mode.ts';
import type { Accounts, Observer } from '../proxy/account.ts';
import { createAccounts } from '../proxy/account.ts';
import type { EndpointBook } from '../proxy/outbound/endpoint-book.ts';
import { createEndpointBook } from '../proxy/outbound/endpoint-book.ts';
import type { PeerBook } from '../proxy/peer-book.ts';
import { createPeerBook } from '../proxy/peer-book.ts';
import type { RecentFailures } from '../proxy/recent-failures.ts';
import { createRecentFailures } from '../proxy/recent-failures.ts';
import type { RefusalLines } from '../proxy/refusal-lines.ts';
import { createRefusalLines } from '../proxy/refusal-lines.ts';

/** Whoever knows what the books do not; asked when a page or a connection needs it, never before the sidecar is put together. */
export interface Asked {
  /** Undefined before the first. */
  identity(): IdentitySource | undefined;
  policyInForce(): PolicyInForce | undefined;
  policy(): PolicyState | undefined;
  isControlPlaneUp(): boolean;
  workloads(): Pick<WorkloadBook, 'find'>;
}

export interface BookParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly output: LogOutput;
  readonly build: { readonly version: string; readonly node: string; readonly openssl: string };
  readonly readiness: Pick<Readiness, 'closed'>;
  readonly pools: readonly MemoryPool[];
  readonly asked: Asked;
}

/** Everything that is written down of connections, for metrics, logs, pages and reports. */
export interface Books {
  readonly metrics: SidecarMetrics;
  readonly observer: Observer;
  readonly accounts: Accounts;
  readonly logging: Logging;
  readonly refusals: RefusalLines;
  readonly failures: RecentFailures;
  readonly traffic: TrafficBook;
  readonly callers: CallerBook;
  readonly lastMinute: LastMinute;
  readonly peers: PeerBook;
  readonly endpoints: EndpointBook;
  readonly interception: InterceptionBook;
  readonly tcp: TcpTraffic;
}

export function createBooks(parts: BookParts, settings: AgentSettings): Books {
  const { clock, log, output, build, readiness, pools, asked } = parts;
  const interception = createInterceptionBook();
  const peers = createPeerBook(clock);
  const spiffeId = () => asked.identity()?.current().spiffeId;
  const workloads: Pick<WorkloadBook, 'find'> = { find: (ip) => asked.workloads().find(ip) };
  const ownWorkload = ownWorkloadOf({ clock, book: workloads, identity: spiffeId });
  const tcp = createTcpTraffic({ clock, workloads, ownWorkload, names: settings });
  const metrics = createSidecarMetrics(build, () => ({
    liveConnections: accounts.live,
    endpointsSetAside: endpoints.countSetAside,
    closedGates: readiness.closed,
    identity() {
      const source = asked.identity();
      return source && identityFacts(source, remainingMs(source.current(), clock.now()));
    },
    peersByRoot: peers.byRoot,
    isControlPlaneUp: asked.isControlPlaneUp,
    policy: asked.policyInForce,
    tcpSeries: tcp.series,
    plaintextConnections: () => callers.plaintextConnections(),
    memory: pools,
    interception: interception.facts,
  }));
  output.on('drop', () => metrics.logLineSuppressed(outputBlocked));
  const traffic = createTrafficBook(clock);
  const lastMinute = createLastMinute(clock);
  const callers = createCallerBook(clock, workloads, (port) => {
    const policy = asked.policy();
    return policy !== undefined && modeInForce(policy, port, settings.minimumInboundMode).mode === 'DISABLE';
  });
  const observer = alsoTelling(metrics, tcp, traffic, callers, lastMinute);
  const logging = createLogging(log, settings.accessLog);
  const refusals = createRefusalLines({ counter: metrics, log, clock, accessLogRate: settings.accessLogRate });
  const failures = createRecentFailures();
  const endpoints = createEndpointBook({ clock, log, counter: metrics });
  const accounts = createAccounts({
    ...{ observer, refusals, log, clock },
    failures: {
      ...failures,
      add(failure) {
        callers.refused(failure);
        failures.add(failure);
      },
    },
    accessLog: () => logging.current().accessLog,
    clockSkewMs: () => asked.identity()?.renewal().clockSkewMs,
  });
  return {
    metrics,
    observer,
    accounts,
    logging,
    refusals,
    failures,
    traffic,
    callers,
    lastMinute,
    peers,
    endpoints,
    interception,
    tcp,
  };
}
