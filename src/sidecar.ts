import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import type { Address } from './addresses.ts';
import { formatAddress } from './addresses.ts';
import type { AdminParts } from './agent/admin.ts';
import { startAdminServer } from './agent/admin.ts';
import type { AppHealth } from './agent/app-health/app-health.ts';
import { createAppHealth } from './agent/app-health/app-health.ts';
import { createAppMetrics } from './agent/app-metrics/app-metrics.ts';
import { createInterceptionWatch } from './agent/audit/watch.ts';
import { loggedReadiness, watchExpiry } from './agent/gates.ts';
import type { HealthParts } from './agent/health.ts';
import { startHealthServer } from './agent/health.ts';
import type { IdentitySource } from './agent/identity-sources/source.ts';
import { createInterceptionBook } from './agent/interception-book.ts';
import { watchPolicy } from './agent/policy-watch.ts';
import { ownWorkloadOf } from './agent/registry/own-workload.ts';
import { startReports } from './agent/reports.ts';
import { sidecarStateOf } from './agent/sidecar-state.ts';
import type { RenewalCounter } from './agent/sources.ts';
import { startSources } from './agent/sources.ts';
import { alsoTelling, createTrafficBook } from './agent/traffic-book.ts';
import type { Clock } from './clock.ts';
import { systemClock } from './clock.ts';
import { agentTable } from './config/table.ts';
import type { AgentSettings, Origins } from './config.ts';
import { agentHelp, loadAgentSettings } from './config.ts';
import type { Places } from './connection-places.ts';
import { createPlaces, sharedPagePlaces } from './connection-places.ts';
import { descriptorBudget, warnOfFewDescriptors } from './descriptors.ts';
import { DeniedError, exitCodes } from './errors.ts';
import { watchEventLoop } from './event-loop-lag.ts';
import type { Host, Subcommand } from './host.ts';
import type { Identity } from './identity/identity.ts';
import { remainingMs } from './identity/identity.ts';
import { hideMemory, originalDestination, returnFreeMemory } from './libc.ts';
import { createDrain } from './lifecycle.ts';
import type { Log } from './log.ts';
import { createLog } from './log.ts';
import type { LogOutput } from './log-output.ts';
import { createLogOutput } from './log-output.ts';
import { createLogging } from './logging.ts';
import { containerMemory, heapMemory } from './memory-limit.ts';
import { watchMemory } from './memory-pressure.ts';
import { identityFacts } from './metrics/identity-facts.ts';
import type { MetricsPage } from './metrics/scrape-server.ts';
import { startScrapeServer } from './metrics/scrape-server.ts';
import { sharedPage } from './metrics/shared-page.ts';
import { createSidecarMetrics } from './metrics/sidecar-metrics.ts';
import { createTcpTraffic, tellingTcpTraffic } from './metrics/tcp/traffic.ts';
import { outputBlocked, renewalReasons } from './outcomes.ts';
import { reservedInbound } from './ports.ts';
import { createAccounts } from './proxy/account.ts';
import type { DataPlane } from './proxy/data-plane.ts';
import { startDataPlane } from './proxy/data-plane.ts';
import { explainSidecar } from './proxy/explain/explain-sidecar.ts';
import { createDeclaredGuard, createPodAddresses, createPodGuard } from './proxy/inbound/guard.ts';
import { createEndpointBook } from './proxy/outbound/endpoint-book.ts';
import { createPeerBook } from './proxy/peer-book.ts';
import { createRecentFailures } from './proxy/recent-failures.ts';
import { createRefusalLines } from './proxy/refusal-lines.ts';
import { dataPlaneSettings, reservedPortsOf } from './proxy/settings.ts';
import { setAsideBy, shownTraffic } from './proxy/shown.ts';
import { createSlots } from './proxy/slots.ts';
import type { ServerGroup } from './server-group.ts';
import { startTogether } from './server-group.ts';
import { createStopping, createStopRequest } from './stopping.ts';
import { version } from './version.ts';

/** `remora agent`: the composition root of the sidecar. Runs until it is told to stop. */
export const run: Subcommand = async (host) => {
  if (host.args.some((argument) => argument === '--help' || argument === '-h')) {
    host.stdout.write(agentHelp());
    return exitCodes.ok;
  }
  hideMemory();
  const loaded = loadAgentSettings({ ...host, readFile: (path) => readFileSync(path, 'utf8') });
  const output = createLogOutput();
  const log = createLog(loaded.settings.logLevel, output, loaded.settings.logFormat);
  const stop = createStopRequest(host, systemClock);
  const sidecar = await startSidecar(host, systemClock, { log, output }, loaded, stop.ask);
  log.info({ signal: await Promise.race([stop.asked, sidecar.failed]) }, 'Stopping');
  const forced = await sidecar.stop();
  log.info({ forced }, 'Stopped');
  return forced === 0 ? exitCodes.ok : exitCodes.failure;
};

/** A sidecar whose listeners are bound. */
interface Sidecar {
  /** Rejects when it must not go on; never resolves. */
  readonly failed: Promise<never>;
  /** Resolves with the number of connections that had to be reset. */
  stop(): Promise<number>;
}

async function startSidecar(
  host: Host,
  clock: Clock,
  { log, output }: { log: Log; output: LogOutput },
  { settings, origins }: { settings: AgentSettings; origins: Origins },
  askToStop: (by: string) => void,
): Promise<Sidecar> {
  const budget = descriptorBudget(host.descriptorLimit());
  warnOfFewDescriptors(budget, settings.maxConnections, agentTable.maxConnections.default, log);
  const fitting = budget.connections;
  const container = containerMemory();
  const pools = [heapMemory(), ...(container === undefined ? [] : [container])];
  const reclaim = () => {
    host.collectGarbage?.();
    returnFreeMemory();
  };
  const memory = watchMemory({ pools, reclaim, clock, log });
  const startedAtMs = clock.now();
  const readiness = loggedReadiness(log);
  const drain = createDrain(clock);
  const interception = createInterceptionBook();
  const build = { version, node: host.versions.node, openssl: host.versions.openssl };
  const metrics = createSidecarMetrics(build, () => ({
    liveConnections: accounts.live,
    endpointsSetAside: endpoints.countSetAside,
    closedGates: readiness.closed,
    identity: () => identity && identityFacts(identity, remainingMs(identity.current(), clock.now())),
    peersByRoot: peers.byRoot,
    isControlPlaneUp: sources.isControlPlaneUp,
    policy: policyInForce,
    tcpSeries: () => tcp.series(),
    memory: pools,
    interception: interception.facts,
  }));
  output.on('drop', () => metrics.logLineSuppressed(outputBlocked));
  const eventLoop = watchEventLoop({ clock, log, record: metrics.eventLoopLagged });
  const logging = createLogging(log, settings.accessLog);
  const refusals = createRefusalLines({ counter: metrics, log, clock, accessLogRate: settings.accessLogRate });
  const failures = createRecentFailures();
  const traffic = createTrafficBook(clock);
  const observer = alsoTelling(
    tellingTcpTraffic(metrics, () => tcp),
    traffic,
  );
  const accounts = createAccounts({
    observer,
    refusals,
    failures,
    log,
    clock,
    accessLog: () => logging.current().accessLog,
    clockSkewMs: () => identity?.renewal().clockSkewMs,
  });
  const peers = createPeerBook(clock);
  const endpoints = createEndpointBook({ clock, log, counter: metrics });
  let identity: IdentitySource | undefined;
  const counter: RenewalCounter = {
    renewalSucceeded: metrics.renewalSucceeded,
    renewalFailed(source, reason) {
      metrics.renewalFailed(source, reason);
      // Until there is an identity, the probe says what keeps it away.
      if (identity === undefined) readiness.close('identity', renewalReasons[reason].happened);
    },
  };
  const sources = startSources({ clock, log, counter }, settings);
  const policyInForce = watchPolicy(clock, sources.policy, settings.minimumInboundMode, readiness);

  const { workloads } = sources;
  const ownWorkload = ownWorkloadOf({ clock, book: workloads, identity: () => identity?.current().spiffeId });
  const tcp = createTcpTraffic({ clock, workloads, ownWorkload, names: settings });
  workloads.subscribe(tcp.answered);

  const podAddresses = createPodAddresses(clock);
  const currentIdentity = (): Identity => {
    if (identity === undefined) throw new DeniedError('not_ready', 'There is no identity yet');
    return identity.current();
  };
  const surroundings = {
    hasIpv6: hasIpv6(),
    podAddresses,
    spiffeId: () => currentIdentity().spiffeId.uri,
    probeAnswer: randomBytes(16).toString('hex'),
  };
  const watchParts = { clock, log, readiness, book: interception, askCanary: sources.askCanary };
  const interceptionWatch = createInterceptionWatch(watchParts, settings, surroundings);
  const parts = {
    clock,
    log,
    accounts,
    observer,
    refusals,
    drain,
    connections: createSlots(Math.min(settings.maxConnections, fitting)),
    descriptors: createSlots(fitting),
    memory,
    identity: { current: currentIdentity },
    revocations: sources.revocations,
    peers,
    policy: sources.policy,
    registry: sources.registry,
    endpoints,
    guard: settings.capture
      ? createPodGuard(podAddresses, reservedPortsOf(settings))
      : createDeclaredGuard(settings.deliver),
    originalDestination,
    canaryAnswer: interceptionWatch.canaryAnswer,
  };
  const appHealth = createAppHealth({
    clock,
    log,
    drain,
    probes: settings.appProbes,
    reservedPorts: reservedInbound(settings.ports),
  });
  const starting = new AbortController();
  const { plane, stopping, pages } = await bind();
  const { reporting } = sources;
  const stateSources = {
    ...{ readiness, policy: sources.policy, minimumMode: settings.minimumInboundMode, interception, traffic },
    live: accounts.live,
  };
  const state = () =>
    sidecarStateOf(stateSources, identity && { current: identity.current(), renewal: identity.renewal() });
  const reports =
    reporting && startReports({ clock, log, reporting, identity: () => identity?.current(), peers, state });
  log.info({ ...pageAddresses(settings), ...shownAddresses(plane) }, 'Listening');
  readiness.open('listeners');

  sources.revocations.subscribe(plane.revocationsChanged);
  const failed = Promise.withResolvers<never>();
  interceptionWatch.start(plane.captured, failed.reject);
  const obtaining = sources.identity(starting.signal).then(
    (source) => {
      identity = source;
      plane.identityChanged(source.current());
      source.subscribe(plane.identityChanged);
      watchExpiry(clock, source, readiness);
    },
    (error: unknown) => {
      if (!starting.signal.aborted) throw error;
    },
  );

  /** All listeners, or none: a process that could not bind one must end. */
  async function bind() {
    let bound: DataPlane | undefined;
    try {
      const planeSettings = dataPlaneSettings(settings, surroundings);
      bound = await startDataPlane(parts, planeSettings);
      const stopping = createStopping({ clock, log, readiness, drain, plane: bound }, settings);
      const places = createPlaces(sharedPagePlaces(budget.pages));
      const captureProofs = () => interception.facts().proofs;
      const isDraining = () => stopping.progress().stage === 'draining';
      const explainParts = {
        ...parts,
        ...{ failures, podAddresses, captureProofs, isDraining, isControlPlaneUp: sources.isControlPlaneUp },
      };
      const admin = {
        clock,
        log,
        places,
        readiness,
        identity: () => identity && { current: identity.current(), renewal: identity.renewal() },
        peers,
        revocations: sources.revocations,
        ...{ startedAtMs, settings, origins, interception: interception.facts, failures, stopping, drain, logging },
        policy: { current: sources.policy.current, inForce: policyInForce },
        isControlPlaneUp: sources.isControlPlaneUp,
        destinations: { known: sources.registry.known, isSetAside: setAsideBy(endpoints, planeSettings) },
        ...shownTraffic(clock, accounts, bound),
        explain: explainSidecar(bound, explainParts, settings, planeSettings),
        quit: () => askToStop('POST /quitquitquit'),
      };
      const place = settings.appMetrics;
      const appMetrics = place && createAppMetrics({ clock, log, place, counter: metrics });
      const pageParts = {
        metrics: { ...sharedPage(clock, metrics), ...appMetrics },
        appHealth,
        health: { readiness, log, places },
        admin,
        places,
      };
      return { plane: bound, stopping, pages: await startPages(settings, surroundings.hasIpv6, pageParts) };
    } catch (error) {
      bound?.retireInbound();
      bound?.retireOutbound();
      await sources.close();
      throw error;
    }
  }

  return {
    failed: failed.promise,
    async stop() {
      const forced = await stopping.stop();
      refusals.close();
      memory.close();
      eventLoop.close();
      await interceptionWatch.stop();
      starting.abort(new Error('The sidecar is shutting down'));
      await obtaining;
      await identity?.close();
      await reports?.close();
      await sources.close();
      appHealth.close();
      await pages.close();
      return forced;
    },
  };
}

interface PageParts {
  readonly metrics: MetricsPage;
  readonly appHealth: AppHealth;
  readonly health: HealthParts;
  readonly admin: AdminParts;
  readonly places: Places;
}

/** Metrics, health and admin. */
function startPages(settings: AgentSettings, withIpv6: boolean, parts: PageParts): Promise<ServerGroup> {
  const { ports, metricsBind, healthBind, adminListen } = settings;
  const { metrics, appHealth, health, admin, places } = parts;
  const usable = (ips: readonly string[]) => ips.filter((ip) => withIpv6 || !ip.includes(':'));
  return startTogether([
    ...usable(metricsBind).map(
      (ip) => () => startScrapeServer({ ip, port: ports.metrics }, metrics, appHealth, places),
    ),
    ...usable(healthBind).map((ip) => () => startHealthServer({ ip, port: ports.health }, health)),
    () => startAdminServer(adminListen, admin),
  ]);
}

function pageAddresses({ adminListen, ports }: AgentSettings) {
  const admin = adminListen.kind === 'tcp' ? formatAddress(adminListen.address) : adminListen.path;
  return { admin, metricsPort: ports.metrics, healthPort: ports.health };
}

function hasIpv6(): boolean {
  return Object.values(networkInterfaces()).some((list) => list?.some(({ family }) => family === 'IPv6'));
}

function shownAddresses({ addresses }: DataPlane): Record<string, readonly string[]> {
  return Object.fromEntries(
    Object.entries(addresses).map(([name, list]: [string, readonly Address[]]) => [name, list.map(formatAddress)]),
  );
}
