import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import type { Address } from './addresses.ts';
import { formatAddress } from './addresses.ts';
import { createAppHealth } from './agent/app-health/app-health.ts';
import { createInterceptionWatch } from './agent/audit/watch.ts';
import { createNodeAddresses } from './agent/callers/node-addresses.ts';
import { reportedCallersOf } from './agent/callers/reported-callers.ts';
import { changedSettings } from './agent/config-page.ts';
import { timedReadiness } from './agent/gate-times.ts';
import { loggedReadiness, watchExpiry } from './agent/gates.ts';
import type { IdentitySource } from './agent/identity-sources/source.ts';
import { watchPolicy } from './agent/policy-watch.ts';
import { startReports } from './agent/reports.ts';
import { sidecarStateOf } from './agent/sidecar-state.ts';
import type { RenewalCounter } from './agent/sources.ts';
import { startSources } from './agent/sources.ts';
import type { Clock } from './clock.ts';
import { systemClock } from './clock.ts';
import { agentTable } from './config/table.ts';
import type { AgentSettings, Origins } from './config.ts';
import { agentHelp, loadAgentSettings } from './config.ts';
import { createPlaces, sharedPagePlaces } from './connection-places.ts';
import { descriptorBudget, warnOfFewDescriptors } from './descriptors.ts';
import { DeniedError, exitCodes } from './errors.ts';
import { watchEventLoop } from './event-loop-lag.ts';
import type { Host, Subcommand } from './host.ts';
import type { Identity } from './identity/identity.ts';
import { hideMemory, originalDestination, returnFreeMemory } from './libc.ts';
import { createDrain } from './lifecycle.ts';
import type { Log } from './log.ts';
import { createLog } from './log.ts';
import type { LogOutput } from './log-output.ts';
import { createLogOutput } from './log-output.ts';
import { containerMemory, heapMemory } from './memory-limit.ts';
import { watchMemory } from './memory-pressure.ts';
import { renewalReasons } from './outcomes.ts';
import { asGiven } from './phrases.ts';
import { reservedInbound } from './ports.ts';
import type { DataPlane } from './proxy/data-plane.ts';
import { startDataPlane } from './proxy/data-plane.ts';
import { createDeclaredGuard, createPodAddresses, createPodGuard } from './proxy/inbound/guard.ts';
import { dataPlaneSettings, reservedPortsOf } from './proxy/settings.ts';
import { createSlots } from './proxy/slots.ts';
import { createBooks } from './sidecar/books.ts';
import { startPages } from './sidecar/pages.ts';
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
  const startedAtMs = clock.now();
  const budget = descriptorBudget(host.descriptorLimit());
  warnOfFewDescriptors(budget, settings.maxConnections, agentTable.maxConnections.default, log);
  const { pools, memory } = watchOwnMemory(host, clock, log);
  const readiness = timedReadiness(clock, loggedReadiness(log));
  const drain = createDrain(clock);
  const build = { version, node: host.versions.node, openssl: host.versions.openssl };
  let identity: IdentitySource | undefined;
  const books = createBooks(
    {
      ...{ clock, log, output, build, readiness, pools },
      asked: {
        identity: () => identity,
        policyInForce: () => policyInForce(),
        policy: () => sources.policy.current(),
        isControlPlaneUp: () => sources.isControlPlaneUp(),
        workloads: () => sources.workloads,
      },
    },
    settings,
  );
  const { metrics, interception, traffic, accounts } = books;
  const eventLoop = watchEventLoop({ clock, log, record: metrics.eventLoopLagged });
  const counter: RenewalCounter = {
    renewalSucceeded: metrics.renewalSucceeded,
    renewalFailed(source, reason, detail) {
      metrics.renewalFailed(source, reason);
      // Until there is an identity, the probe says what keeps it away.
      if (identity === undefined) readiness.close('identity', `${renewalReasons[reason].happened} (${detail})`);
    },
  };
  const sources = startSources({ clock, log, counter }, settings);
  const { policy, revocations, reporting, workloads } = sources;
  workloads.subscribe(books.tcp.answered);
  workloads.subscribe(books.callers.answered);
  const nodes = createNodeAddresses(clock, settings.nodeAddress);
  const policyInForce = watchPolicy(clock, policy, settings.minimumInboundMode, readiness);

  const held = () => identity && { current: identity.current(), renewal: identity.renewal() };
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
  const interceptionWatch = createInterceptionWatch(
    { clock, log, readiness, book: interception, askCanary: sources.askCanary },
    settings,
    surroundings,
  );
  const proxy = {
    ...books,
    ...{ clock, log, drain, memory, policy, revocations, originalDestination },
    connections: createSlots(Math.min(settings.maxConnections, budget.connections)),
    descriptors: createSlots(budget.connections),
    identity: { current: currentIdentity },
    registry: sources.registry,
    guard: settings.capture
      ? createPodGuard(podAddresses, reservedPortsOf(settings))
      : createDeclaredGuard(settings.deliver),
    canaryAnswer: interceptionWatch.canaryAnswer,
  };
  const appHealth = createAppHealth({
    ...{ clock, log, drain },
    probes: settings.appProbes,
    reservedPorts: reservedInbound(settings.ports),
  });
  const { plane, stopping, pages } = await bind();
  const changed = changedSettings({ settings, origins }).map(({ typed, from }) => asGiven(typed, from));
  log.info({ settings: changed }, 'Settings that differ from their defaults');
  log.info({ ...pageAddresses(settings), ...shownAddresses(plane) }, 'Listening');
  readiness.open('listeners');

  const { minimumInboundMode: minimumMode } = settings;
  const stateParts = { readiness, policy, minimumMode, interception, traffic, live: accounts.live };
  const state = () => sidecarStateOf(stateParts, held());
  const callers = (maxBytes: number) => reportedCallersOf({ callers: books.callers, nodes, minimumMode }, maxBytes);
  const reportParts = { clock, log, identity: () => identity?.current(), peers: books.peers, state, callers };
  const reports = reporting && startReports({ ...reportParts, reporting });

  revocations.subscribe(plane.revocationsChanged);
  policy.subscribe(plane.policyChanged);
  const failed = Promise.withResolvers<never>();
  interceptionWatch.start(plane.captured, failed.reject);
  const starting = new AbortController();
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
      bound = await startDataPlane(proxy, planeSettings);
      const stopper = createStopping({ clock, log, readiness, drain, plane: bound }, settings);
      const places = createPlaces(sharedPagePlaces(budget.pages));
      const pageParts = {
        ...{ startedAtMs, books, sources, policyInForce, readiness, podAddresses, proxy, appHealth, places, nodes },
        ...{ plane: bound, stopping: stopper, held },
        quit: () => askToStop('POST /quitquitquit'),
      };
      const pageSettings = { settings, origins, plane: planeSettings, hasIpv6: surroundings.hasIpv6 };
      return { plane: bound, stopping: stopper, pages: await startPages(pageParts, pageSettings) };
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
      books.refusals.close();
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

/** The heap, and the container where there is one: whoever is short of either gives garbage back first. */
function watchOwnMemory(host: Host, clock: Clock, log: Log) {
  const container = containerMemory();
  const pools = [heapMemory(), ...(container === undefined ? [] : [container])];
  const reclaim = () => {
    host.collectGarbage?.();
    returnFreeMemory();
  };
  return { pools, memory: watchMemory({ pools, reclaim, clock, log }) };
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
