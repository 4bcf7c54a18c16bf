import type { InterceptionFacts } from '../agent/interception-book.ts';
import type { PolicyInForce } from '../agent/policy-watch.ts';
import type { MemoryPool } from '../memory-limit.ts';
import type {
  ApplicationScrapeResult,
  ClosedReason,
  DeniedReason,
  HandshakeReason,
  ReadinessGate,
  RenewalReason,
} from '../outcomes.ts';
import { handshakeReasons, readinessGates } from '../outcomes.ts';
import type { LiveConnection, Negotiated, Observer } from '../proxy/account.ts';
import type { PolicyDecision } from '../refusal-facts.ts';
import type { DeclaredMetrics } from './declared.ts';
import { declareMetrics } from './declared.ts';
import type { MetricsText } from './shared-page.ts';
import { maxPortLabels, maxRootLabels, negotiable, sidecarFamilies } from './sidecar-families.ts';
import type { TcpSeries } from './tcp/series.ts';
import type { Traffic } from './traffic.ts';
import { addBytes, directions, noTraffic, trafficOf } from './traffic.ts';

/** Values that are read when a scrape asks for them, instead of being pushed at each change. */
export interface MetricSources {
  liveConnections(): Iterable<LiveConnection>;
  /** Endpoints that could not be reached and are passed over for now. */
  endpointsSetAside(): number;
  closedGates(): ReadonlyMap<ReadinessGate, string>;
  /** Undefined before the first identity. */
  identity(): IdentityFacts | undefined;
  /** By SHA-256 of the root: identities that are connected or were within the last hour, and at most so many more. */
  peersByRoot(): ReadonlyMap<string, { readonly recent: { readonly size: number }; readonly unnamed: number }>;
  isControlPlaneUp(): boolean;
  /** Undefined while there is none that can be enforced. */
  policy(): PolicyInForce | undefined;
  /** Inbound, since the start, by port and `other`. */
  plaintextConnections(): ReadonlyMap<string, number>;
  readonly memory: readonly Pick<MemoryPool, 'name' | 'limit' | 'used'>[];
  /** Connections by their two ends. */
  tcpSeries(): readonly Readonly<TcpSeries>[];
  /** Empty without capture. */
  interception(): InterceptionFacts;
}

export interface IdentityFacts {
  readonly generation: number;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Until no peer accepts it any more: the earliest end on its path, or 0 when it was revoked or its root is trusted no more. */
  readonly remainingMs: number;
  /** The earliest end of each kind; absent when there is none. */
  readonly issuerNotAfterMs: number | undefined;
  readonly rootNotAfterMs: number | undefined;
  readonly nextRenewalMs: number | undefined;
  /** The clock of the control plane minus ours; undefined when it is not known. */
  readonly clockSkewMs: number | undefined;
  /** SHA-256 of the roots, those of its own trust domain first. */
  readonly rootsByTrustDomain: ReadonlyMap<string, readonly string[]>;
}

export interface SidecarMetrics extends Observer, MetricsText {
  /** The event loop ran something so much later than it was due. */
  eventLoopLagged(lagSeconds: number): void;
  renewalSucceeded(source: string): void;
  renewalFailed(source: string, reason: RenewalReason): void;
  applicationScraped(result: ApplicationScrapeResult): void;
}

type Metrics = DeclaredMetrics<typeof sidecarFamilies>;

/** Counts what it observes, and reads the rest when a scrape asks. */
export function createSidecarMetrics(
  build: { version: string; node: string; openssl: string },
  sources: () => MetricSources,
): SidecarMetrics {
  const settled = noTraffic();
  let traffic: Traffic = settled;
  let tcpSeries: readonly Readonly<TcpSeries>[] = [];
  let identity: IdentityFacts | undefined;
  const metrics = declareMetrics(sidecarFamilies, () => {
    traffic = trafficOf(settled, sources().liveConnections());
    tcpSeries = sources().tcpSeries();
    identity = sources().identity();
  });
  const handshakes = metrics.counter('remora_tls_handshakes_total');
  const handshakeDuration = metrics.histogram('remora_tls_handshake_duration_seconds');
  const negotiated = metrics.counter('remora_tls_negotiated_total');
  const connections = metrics.counter('remora_connections_total');
  const closed = metrics.counter('remora_connections_closed_total');
  const denied = metrics.counter('remora_connections_denied_total');
  const audited = metrics.counter('remora_connections_audited_total');
  const dryRuns = metrics.counter('remora_connections_dry_run_total');
  const suppressed = metrics.counter('remora_log_lines_suppressed_total');
  const renewals = metrics.counter('remora_certificate_renewals_total');
  const proofs = metrics.counter('remora_proof_renewals_total');
  const applicationScrapes = metrics.counter('remora_application_scrapes_total');
  const tunnelsOpen = metrics.gauge('remora_tunnels_open');
  const eventLoopLag = metrics.histogram('remora_event_loop_lag_seconds');
  // What alerts watch begins at zero: to `increase()`, a series that appears has not risen. All other counters begin with
  // their first event, because most of what they could count never happens.
  for (const direction of directions) {
    handshakes.inc({ direction, result: 'success', reason: '' }, 0);
    for (const reason of Object.keys(handshakeReasons)) handshakes.inc({ direction, result: 'failure', reason }, 0);
    connections.inc({ direction, transport: 'hbone', security: 'mutual_tls' }, 0);
    connections.inc({ direction, transport: 'plaintext', security: 'plaintext' }, 0);
  }
  readTraffic(metrics, () => traffic);
  readTcpSeries(metrics, () => tcpSeries);
  readIdentity(metrics, () => identity);
  readPeers(
    metrics,
    () => identity,
    () => sources().peersByRoot(),
  );
  readState(metrics, sources);
  metrics.readAtScrape('remora_build_info', (set) => set(build, 1));

  return {
    text: metrics.text,
    eventLoopLagged: (lagSeconds) => eventLoopLag.observe(lagSeconds),
    connectionOpened({ direction, facts }: LiveConnection) {
      connections.inc({ direction, transport: facts.transport, security: facts.security });
    },
    connectionClosed({ direction, bytes }: LiveConnection, reason: ClosedReason) {
      addBytes(settled[direction], bytes);
      closed.inc({ direction, reason });
    },
    connectionFailed: (direction, reason: ClosedReason) => closed.inc({ direction, reason }),
    connectionDenied: (direction, reason: DeniedReason) => denied.inc({ direction, reason }),
    connectionJudged(decision: PolicyDecision, enforced: 'allowed' | 'denied') {
      if (decision.audited !== undefined) audited.inc();
      if (decision.dryRun !== undefined) dryRuns.inc({ enforced, dry_run: decision.dryRun.kind });
    },
    handshakeSucceeded(direction, durationMs, { version, cipher, group }: Negotiated) {
      handshakes.inc({ direction, result: 'success', reason: '' });
      handshakeDuration.observe({ direction }, seconds(durationMs));
      negotiated.inc({
        direction,
        version: amongst(negotiable.version, version),
        cipher: amongst(negotiable.cipher, cipher),
        group: amongst(negotiable.group, group),
      });
    },
    handshakeFailed: (direction, reason: HandshakeReason) => handshakes.inc({ direction, result: 'failure', reason }),
    logLineSuppressed: (reason) => suppressed.inc({ reason }),
    tunnelOpened: (direction) => tunnelsOpen.inc({ direction }),
    tunnelClosed: (direction) => tunnelsOpen.dec({ direction }),
    proofRenewed: (direction, result) => proofs.inc({ direction, result }),
    renewalSucceeded: (source) => renewals.inc({ source, result: 'success', reason: '' }),
    renewalFailed: (source, reason) => renewals.inc({ source, result: 'failure', reason }),
    applicationScraped: (result) => applicationScrapes.inc({ result }),
  };
}

const seconds = (ms: number) => ms / 1000;
const amongst = (list: readonly string[], value: string) => (list.includes(value) ? value : 'other');

function readTraffic(metrics: Metrics, traffic: () => Traffic): void {
  metrics.readAtScrape('remora_bytes_total', (set) => {
    for (const direction of directions) {
      set({ direction, flow: 'sent' }, traffic()[direction].bytesSent);
      set({ direction, flow: 'received' }, traffic()[direction].bytesReceived);
    }
  });
  metrics.readAtScrape('remora_connections_open', (set) => {
    for (const direction of directions) set({ direction }, traffic()[direction].connections);
  });
  metrics.readAtScrape('remora_tunnel_streams_open', (set) => {
    for (const direction of directions) set({ direction }, traffic()[direction].streams);
  });
  metrics.readAtScrape('remora_proof_ends_timestamp_seconds', (set) => {
    for (const direction of directions) {
      const { proofEndsMs } = traffic()[direction];
      if (Number.isFinite(proofEndsMs)) set({ direction }, seconds(proofEndsMs));
    }
  });
}

function readTcpSeries(metrics: Metrics, series: () => readonly Readonly<TcpSeries>[]): void {
  metrics.readAtScrape('istio_tcp_connections_opened_total', (set) => {
    for (const { labels, opened } of series()) set(labels, opened);
  });
  metrics.readAtScrape('istio_tcp_connections_closed_total', (set) => {
    for (const { labels, closed } of series()) set(labels, closed);
  });
  metrics.readAtScrape('istio_tcp_sent_bytes_total', (set) => {
    for (const { labels, sentBytes } of series()) set(labels, sentBytes);
  });
  metrics.readAtScrape('istio_tcp_received_bytes_total', (set) => {
    for (const { labels, receivedBytes } of series()) set(labels, receivedBytes);
  });
}

function readIdentity(metrics: Metrics, identity: () => IdentityFacts | undefined): void {
  metrics.readAtScrape('remora_certificate_not_after_timestamp_seconds', (set) => {
    const { notAfterMs, issuerNotAfterMs, rootNotAfterMs } = identity() ?? {};
    if (notAfterMs !== undefined) set({ kind: 'workload' }, seconds(notAfterMs));
    if (issuerNotAfterMs !== undefined) set({ kind: 'issuer' }, seconds(issuerNotAfterMs));
    if (rootNotAfterMs !== undefined) set({ kind: 'root' }, seconds(rootNotAfterMs));
  });
  metrics.readAtScrape('remora_certificate_not_before_timestamp_seconds', (set) => {
    const { notBeforeMs } = identity() ?? {};
    if (notBeforeMs !== undefined) set({}, seconds(notBeforeMs));
  });
  metrics.readAtScrape('remora_certificate_generation', (set) => set({}, identity()?.generation ?? 0));
  metrics.readAtScrape('remora_certificate_next_renewal_timestamp_seconds', (set) => {
    const { nextRenewalMs } = identity() ?? {};
    if (nextRenewalMs !== undefined) set({}, seconds(nextRenewalMs));
  });
  metrics.readAtScrape('remora_identity_time_to_outage_seconds', (set) =>
    set({}, seconds(identity()?.remainingMs ?? 0)),
  );
  metrics.readAtScrape('remora_trust_bundle_roots', (set) => {
    for (const [domain, roots] of identity()?.rootsByTrustDomain ?? []) set({ trust_domain: domain }, roots.length);
  });
  metrics.readAtScrape('remora_clock_skew_seconds', (set) => {
    const { clockSkewMs } = identity() ?? {};
    if (clockSkewMs !== undefined) set({}, seconds(clockSkewMs));
  });
}

function readPeers(
  metrics: Metrics,
  identity: () => IdentityFacts | undefined,
  peersByRoot: MetricSources['peersByRoot'],
): void {
  metrics.readAtScrape('remora_peers_by_root', (set) => {
    const roots = [...(identity()?.rootsByTrustDomain.values() ?? [])].flat().slice(0, maxRootLabels);
    const labels = new Map(roots.map((root) => [root, root.slice(0, 16)]));
    const peers = new Map([...labels.values(), 'other'].map((label) => [label, 0]));
    for (const [root, { recent, unnamed }] of peersByRoot()) {
      const label = labels.get(root) ?? 'other';
      peers.set(label, (peers.get(label) ?? 0) + recent.size + unnamed);
    }
    for (const [root, count] of peers) set({ root }, count);
  });
}

function readState(metrics: Metrics, sources: () => MetricSources): void {
  metrics.readAtScrape('remora_endpoints_set_aside', (set) => set({}, sources().endpointsSetAside()));
  metrics.readAtScrape('remora_ready', (set) => {
    const shut = sources().closedGates();
    for (const gate of readinessGates) set({ gate }, shut.has(gate) ? 0 : 1);
  });
  metrics.readAtScrape('remora_control_plane_up', (set) => set({}, sources().isControlPlaneUp() ? 1 : 0));
  metrics.readAtScrape('remora_mode_info', (set) => {
    const modes = sources().policy()?.modes ?? [];
    for (const { port = '*', mode } of modes.slice(0, maxPortLabels)) set({ port: `${port}`, mode }, 1);
    for (const mode of new Set(modes.slice(maxPortLabels).map((one) => one.mode))) set({ port: 'other', mode }, 1);
  });
  metrics.readAtScrape('remora_strict_preview_plaintext_connections_total', (set) => {
    for (const [port, count] of sources().plaintextConnections()) set({ port }, count);
  });
  metrics.readAtScrape('remora_policy_objects', (set) => {
    for (const [state, count] of Object.entries(sources().policy()?.policies ?? {})) set({ state }, count);
  });
  metrics.readAtScrape('remora_policy_last_update_timestamp_seconds', (set) => {
    const policy = sources().policy();
    if (policy !== undefined) set({}, seconds(policy.sinceMs));
  });
  metrics.readAtScrape('remora_memory_used_bytes', (set) => {
    for (const { name, used } of sources().memory) set({ pool: name }, used());
  });
  metrics.readAtScrape('remora_memory_limit_bytes', (set) => {
    for (const { name, limit } of sources().memory) set({ pool: name }, limit());
  });
  metrics.readAtScrape('remora_interception_ok', (set) => {
    for (const { family, direction, isOk } of sources().interception().proofs) set({ family, direction }, isOk ? 1 : 0);
  });
  metrics.readAtScrape('remora_interception_bypassed_connections', (set) => {
    const { bypassed } = sources().interception();
    for (const direction of directions) set({ direction }, bypassed[direction]);
  });
}
