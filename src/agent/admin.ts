import type { ShownConnection, ShownFailure, ShownTunnel, StrictPreviewPage } from '../admin-api.ts';
import { adminPaths } from '../admin-api.ts';
import type { Clock } from '../clock.ts';
import { timestamp } from '../clock.ts';
import type { Endpoint, PolicyState } from '../control-api.ts';
import type { Revocations } from '../identity/revocations.ts';
import type { Logging } from '../logging.ts';
import type { Direction } from '../outcomes.ts';
import type { HeldIdentity } from './certificates-page.ts';
import { certificatesPageOf } from './certificates-page.ts';
import type { ConfigShown } from './config-page.ts';
import { changedSettings, configPageOf } from './config-page.ts';
import type { ControlPlaneFacts } from './control-plane-book.ts';
import { destinationsPageOf } from './destinations-page.ts';
import type { EndingParts } from './ending.ts';
import { drainAction, quitAction, shownDrain } from './ending.ts';
import type { TimedReadiness } from './gate-times.ts';
import { readyPage } from './health.ts';
import type { InterceptionFacts } from './interception-book.ts';
import type { NewConnections } from './last-minute.ts';
import { refuseForeign } from './local-requests.ts';
import { loggingAction, loggingPageOf } from './logging-page.ts';
import type { Page, PageHandler, PageListener, PageServer, PageServerParts } from './page-server.ts';
import { startPageServer } from './page-server.ts';
import { policyPageOf } from './policy-page.ts';
import type { PolicyInForce } from './policy-watch.ts';
import type { CachedDestination } from './registry/destination-cache.ts';
import type { PeerCounts } from './root-use.ts';
import type { OpenNow, PlacesNow } from './status-page.ts';
import { statusPageOf } from './status-page.ts';

export interface AdminParts extends Pick<PageServerParts, 'log' | 'places'>, ConfigShown, EndingParts {
  readonly clock: Clock;
  /** Wall time, milliseconds since the epoch. */
  readonly startedAtMs: number;
  readonly readiness: Pick<TimedReadiness, 'closed' | 'closedSince'>;
  /** Undefined before the first identity. */
  identity(): HeldIdentity | undefined;
  readonly logging: Logging;
  readonly peers: PeerCounts;
  readonly revocations: { current(): Revocations };
  readonly policy: { current(): PolicyState | undefined; inForce(): PolicyInForce | undefined };
  /** What switching to STRICT now would break. */
  strictPreview(): StrictPreviewPage;
  readonly destinations: { known(): Iterable<CachedDestination>; isSetAside(endpoint: Endpoint): boolean };
  isControlPlaneUp(): boolean;
  /** Undefined without one. */
  controlPlane(): ControlPlaneFacts | undefined;
  interception(): InterceptionFacts;
  /** The connections that are carried now, and the tunnels that are open. */
  connections(): Iterable<ShownConnection>;
  tunnels(): readonly ShownTunnel[];
  /** How many there are of each. */
  openNow(): OpenNow;
  placesNow(): PlacesNow;
  /** Of the last minute. */
  newConnections(): Readonly<Record<Direction, NewConnections>>;
  /** What would become of a connection, as the query asks. */
  explain(query: URLSearchParams): Promise<Page>;
  /** Connections that failed lately, the latest first. */
  readonly failures: { all(): readonly ShownFailure[]; find(id: string): ShownFailure | undefined };
}

export type AdminServer = PageServer;

/** One line of the list of pages. */
interface Entry {
  readonly path: string;
  readonly does: string;
  readonly get?: PageHandler;
  /** Whoever is in the pod may do this. */
  readonly post?: PageHandler;
}

/**
 * Serves the admin pages, which show no key, to whoever is on this host: a request that a browser makes for another site
 * is refused by its Host and Origin, and what changes something is for no browser at all. Throws `FailureError` or
 * `PermissionError`.
 */
export function startAdminServer(listener: PageListener, parts: AdminParts): Promise<AdminServer> {
  const { log, places } = parts;
  const entries = entriesOf(parts);
  const index = Object.fromEntries(entries.map((entry) => [`${methodsOf(entry)} ${entry.path}`, entry.does]));
  return startPageServer(listener, {
    log,
    places,
    refuse: refuseForeign,
    pages: { [adminPaths.index]: () => ok(index), ...handlersOf(entries, 'get') },
    actions: handlersOf(entries, 'post'),
  });
}

function entriesOf(parts: AdminParts): readonly Entry[] {
  const { clock, failures, policy, settings, destinations } = parts;
  const now = () => timestamp(clock.now());
  const handshakes = () => failures.all().filter(({ outcome }) => outcome === 'handshake');
  return [
    { path: adminPaths.status, does: 'this sidecar at one glance', get: () => statusReply(parts) },
    {
      path: adminPaths.certificates,
      does: 'the identity, its renewals, the trust bundles, and who needs which root',
      get: () => certificatesReply(parts),
    },
    {
      path: adminPaths.connections,
      does: 'the connections that are carried now',
      get: () => connectionsReply(parts),
    },
    {
      path: adminPaths.tunnels,
      does: 'the tunnels that are open',
      get: () => ok({ now: now(), tunnels: parts.tunnels() }),
    },
    {
      path: adminPaths.handshakes,
      does: 'the handshakes that failed last, in words',
      get: () => ok({ now: now(), handshakes: handshakes() }),
    },
    {
      path: adminPaths.policy,
      does: 'the mode in force, and what sets it',
      get: () =>
        ok(policyPageOf({ nowMs: clock.now(), policy: policy.current(), inForce: policy.inForce(), settings })),
    },
    {
      path: adminPaths.strictPreview,
      does: 'who has called in plaintext, and what switching each port to STRICT now would break',
      get: () => ok(parts.strictPreview()),
    },
    {
      path: adminPaths.destinations,
      does: 'the destinations that are remembered, with their endpoints',
      get: () =>
        ok(destinationsPageOf({ clock, destinations: destinations.known(), isSetAside: destinations.isSetAside })),
    },
    {
      path: adminPaths.explain,
      does: 'what would become of a connection, and why: ?to=ip:port, ?from=spiffe://…&port=8080 or ?id=…',
      get: ({ query }) => parts.explain(query),
    },
    { path: adminPaths.config, does: 'every setting, and where it comes from', get: () => ok(configPageOf(parts)) },
    { path: adminPaths.ready, does: 'ready, or the gates that are closed', get: () => readyPage(parts.readiness) },
    {
      path: adminPaths.logging,
      does: 'what is logged; ?level=debug&accessLog=off changes it until the next start',
      get: () => loggingPageOf(parts.logging),
      post: (request) => loggingAction(parts.logging, request),
    },
    {
      path: adminPaths.drain,
      does: 'not ready, then no new inbound connections; what is open goes on, and so does the process',
      post: () => drainAction(parts),
    },
    { path: adminPaths.quit, does: 'a graceful stop and the end of the process', post: () => quitAction(parts) },
  ];
}

function methodsOf({ get, post }: Entry): string {
  return [...(get ? ['GET'] : []), ...(post ? ['POST'] : [])].join(', ');
}

function handlersOf(entries: readonly Entry[], method: 'get' | 'post'): Record<string, PageHandler> {
  return Object.fromEntries(
    entries.flatMap(({ path, [method]: handler }) => (handler === undefined ? [] : [[path, handler]])),
  );
}

const ok = (body: object): Page => ({ status: 200, body });

function statusReply(parts: AdminParts): Page {
  const { clock, policy } = parts;
  return ok(
    statusPageOf({
      ...parts,
      nowMs: clock.now(),
      identity: parts.identity(),
      revocations: parts.revocations.current(),
      policyInForce: policy.inForce(),
      isControlPlaneUp: parts.isControlPlaneUp(),
      controlPlaneFacts: parts.controlPlane(),
      openNow: parts.openNow(),
      placesNow: parts.placesNow(),
      newConnections: parts.newConnections(),
      changed: changedSettings(parts),
      interception: parts.interception(),
      failures: parts.failures.all(),
      drain: shownDrain(parts),
    }),
  );
}

/** So many connections are gone through in one go: ten thousand of them would hold up what they carry. */
const slice = 250;

/** More than these are not shown at once: whoever reads the page takes no more than 16 MiB. */
export const maxShownConnections = 10_000;

async function connectionsReply({ clock, connections, openNow }: AdminParts): Promise<Page> {
  const shown: ShownConnection[] = [];
  for (const connection of connections()) {
    shown.push(connection);
    if (shown.length === maxShownConnections) break;
    if (shown.length % slice === 0) await clock.sleep(0);
  }
  const { inbound, outbound } = openNow().connections;
  // Some may have ended while they were gone through.
  const leftOut = shown.length < maxShownConnections ? 0 : Math.max(0, inbound + outbound - shown.length);
  return ok({ now: timestamp(clock.now()), connections: shown, leftOut });
}

function certificatesReply({ clock, identity, peers, revocations }: AdminParts): Page {
  const held = identity();
  if (held === undefined) return { status: 503, body: 'There is no certificate yet\n' };
  return ok(certificatesPageOf({ ...held, peers, revocations: revocations.current(), nowMs: clock.now() }));
}
