import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { InterceptionFacts } from '../agent/interception-book.ts';
import type { MemoryPool } from '../memory-limit.ts';
import type { ClosedReason, DeniedReason, HandshakeReason, ReadinessGate, RenewalReason } from '../outcomes.ts';
import { readinessGates } from '../outcomes.ts';
import type { LiveConnection, Negotiated, Observer } from '../proxy/account.ts';
import type { ByteCount } from '../proxy/relay.ts';
import { eventLoopLag } from './event-loop.ts';

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
  readonly memory: readonly Pick<MemoryPool, 'name' | 'limit' | 'used'>[];
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

export interface SidecarMetrics extends Observer {
  /** The event loop ran something so much later than it was due. */
  eventLoopLagged(lagSeconds: number): void;
  renewalSucceeded(source: string): void;
  renewalFailed(source: string, reason: RenewalReason): void;
  /** The whole page, in Prometheus text format 0.0.4. */
  text(): Promise<string>;
  readonly contentType: string;
}

/** Declares every family of the sidecar once. Labels come from closed lists only. */
export function createSidecarMetrics(
  build: { version: string; node: string; openssl: string },
  sources: () => MetricSources,
): SidecarMetrics {
  const registry = new Registry();
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Counter<L>({ name, help, labelNames: [...labelNames], registers });
  const gauge = <L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[],
    collect: (gauge: Gauge<L>) => void,
  ) =>
    new Gauge<L>({
      name,
      help,
      labelNames: [...labelNames],
      registers,
      collect() {
        // Without labels, a value that is reset is zero; one that is not known must be absent.
        if (labelNames.length === 0) this.remove();
        else this.reset();
        collect(this);
      },
    });
  const seconds = (ms: number) => ms / 1000;

  const handshakes = counter('remora_tls_handshakes_total', 'Mutual TLS handshakes, by outcome', [
    'direction',
    'result',
    'reason',
  ]);
  const handshakeDuration = new Histogram({
    name: 'remora_tls_handshake_duration_seconds',
    help: 'Time from the first byte of a handshake to a verified peer',
    labelNames: ['direction'],
    buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  });
  const negotiated = counter('remora_tls_negotiated_total', 'What handshakes settled on', [
    'direction',
    'version',
    'cipher',
    'group',
  ]);
  const connections = counter('remora_connections_total', 'Connections carried', [
    'direction',
    'transport',
    'security',
  ]);
  const closed = counter('remora_connections_closed_total', 'Connections that ended or could not be made', [
    'direction',
    'reason',
  ]);
  const denied = counter('remora_connections_denied_total', 'Connections that this sidecar refused', [
    'direction',
    'reason',
  ]);
  const suppressed = counter('remora_log_lines_suppressed_total', 'Log lines left out because there were too many', [
    'reason',
  ]);
  const renewals = counter('remora_certificate_renewals_total', 'Attempts to renew the identity', [
    'source',
    'result',
    'reason',
  ]);
  const proofs = counter('remora_proof_renewals_total', 'Attempts to prove a tunnel anew on a newer one', [
    'direction',
    'result',
  ]);
  const tunnelsOpen = new Gauge({
    name: 'remora_tunnels_open',
    help: 'HBONE tunnels open now',
    labelNames: ['direction'],
    registers,
  });

  const settledBytes = { inbound: { bytesSent: 0, bytesReceived: 0 }, outbound: { bytesSent: 0, bytesReceived: 0 } };
  new Counter({
    name: 'remora_bytes_total',
    help: 'Application bytes carried; sent is from the client to the server',
    labelNames: ['direction', 'flow'],
    registers,
    collect() {
      this.reset();
      const sums = structuredClone(settledBytes);
      for (const { direction, bytes } of sources().liveConnections()) addBytes(sums[direction], bytes);
      for (const direction of ['inbound', 'outbound'] as const) {
        this.inc({ direction, flow: 'sent' }, sums[direction].bytesSent);
        this.inc({ direction, flow: 'received' }, sums[direction].bytesReceived);
      }
    },
  });
  gauge('remora_connections_open', 'Connections carried now', ['direction'], (self) => {
    const open = { inbound: 0, outbound: 0 };
    for (const { direction } of sources().liveConnections()) open[direction] += 1;
    self.set({ direction: 'inbound' }, open.inbound);
    self.set({ direction: 'outbound' }, open.outbound);
  });
  gauge('remora_tunnel_streams_open', 'Connections carried in tunnels now', ['direction'], (self) => {
    const open = { inbound: 0, outbound: 0 };
    for (const { direction, facts } of sources().liveConnections())
      if (facts.transport === 'hbone') open[direction] += 1;
    self.set({ direction: 'inbound' }, open.inbound);
    self.set({ direction: 'outbound' }, open.outbound);
  });
  gauge(
    'remora_proof_ends_timestamp_seconds',
    'When the first of the connections carried now is cut unless its peer is proved anew',
    ['direction'],
    (self) => {
      const ends = { inbound: Infinity, outbound: Infinity };
      for (const { direction, proof } of sources().liveConnections())
        ends[direction] = Math.min(ends[direction], proof?.endsAtMs ?? Infinity);
      for (const direction of ['inbound', 'outbound'] as const)
        if (Number.isFinite(ends[direction])) self.set({ direction }, seconds(ends[direction]));
    },
  );
  gauge('remora_endpoints_set_aside', 'Endpoints that could not be reached and are passed over for now', [], (self) =>
    self.set(sources().endpointsSetAside()),
  );
  gauge('remora_ready', '1 for each readiness gate that is open', ['gate'], (self) => {
    const shut = sources().closedGates();
    for (const gate of readinessGates) self.set({ gate }, shut.has(gate) ? 0 : 1);
  });
  gauge('remora_control_plane_up', '1 while the control plane answers', [], (self) =>
    self.set(sources().isControlPlaneUp() ? 1 : 0),
  );
  gauge(
    'remora_certificate_not_after_timestamp_seconds',
    'End of the earliest certificate of each kind',
    ['kind'],
    (self) => {
      const identity = sources().identity();
      if (identity === undefined) return;
      self.set({ kind: 'workload' }, seconds(identity.notAfterMs));
      if (identity.issuerNotAfterMs !== undefined) self.set({ kind: 'issuer' }, seconds(identity.issuerNotAfterMs));
      if (identity.rootNotAfterMs !== undefined) self.set({ kind: 'root' }, seconds(identity.rootNotAfterMs));
    },
  );
  gauge('remora_certificate_not_before_timestamp_seconds', 'Start of our certificate', [], (self) => {
    const identity = sources().identity();
    if (identity !== undefined) self.set(seconds(identity.notBeforeMs));
  });
  gauge('remora_certificate_generation', 'Grows by one with each identity', [], (self) =>
    self.set(sources().identity()?.generation ?? 0),
  );
  gauge('remora_certificate_next_renewal_timestamp_seconds', 'When the identity will be renewed', [], (self) => {
    const next = sources().identity()?.nextRenewalMs;
    if (next !== undefined) self.set(seconds(next));
  });
  gauge('remora_identity_time_to_outage_seconds', 'Until the identity lapses if nothing renews it', [], (self) => {
    const identity = sources().identity();
    self.set(seconds(identity?.remainingMs ?? 0));
  });
  gauge('remora_trust_bundle_roots', 'Roots trusted for each trust domain', ['trust_domain'], (self) => {
    for (const [trust_domain, roots] of sources().identity()?.rootsByTrustDomain ?? [])
      self.set({ trust_domain }, roots.length);
  });
  gauge(
    'remora_peers_by_root',
    'Peers connected now or within the last hour, by the first digits of the SHA-256 of the root that they chain to',
    ['root'],
    (self) => {
      const roots = [...(sources().identity()?.rootsByTrustDomain.values() ?? [])].flat().slice(0, maxRootLabels);
      for (const root of [...roots.map(labelOf), 'other']) self.set({ root }, 0);
      for (const [root, { recent, unnamed }] of sources().peersByRoot())
        self.inc({ root: roots.includes(root) ? labelOf(root) : 'other' }, recent.size + unnamed);
    },
  );
  gauge('remora_clock_skew_seconds', 'The clock of the control plane minus the one of this sidecar', [], (self) => {
    const skewMs = sources().identity()?.clockSkewMs;
    if (skewMs !== undefined) self.set(seconds(skewMs));
  });
  gauge('remora_memory_used_bytes', 'Memory in use, without page cache', ['pool'], (self) => {
    for (const { name, used } of sources().memory) self.set({ pool: name }, used());
  });
  gauge('remora_memory_limit_bytes', 'Where that memory ends', ['pool'], (self) => {
    for (const { name, limit } of sources().memory) self.set({ pool: name }, limit());
  });
  gauge(
    'remora_interception_ok',
    '1 while connections of the pod are proved to be captured, 0 when some are not',
    ['family', 'direction'],
    (self) => {
      for (const { family, direction, isOk } of sources().interception().proofs)
        self.set({ family, direction }, isOk ? 1 : 0);
    },
  );
  gauge(
    'remora_interception_bypassed_connections',
    'Connections of the application that go around the sidecar now',
    ['direction'],
    (self) => {
      const { inbound, outbound } = sources().interception().bypassed;
      self.set({ direction: 'inbound' }, inbound);
      self.set({ direction: 'outbound' }, outbound);
    },
  );
  gauge('remora_build_info', 'Always 1; the build is in the labels', ['version', 'node', 'openssl'], (self) =>
    self.set(build, 1),
  );

  return {
    contentType: registry.contentType,
    text: () => registry.metrics(),
    eventLoopLagged: eventLoopLag(registry),
    connectionOpened({ direction, facts }: LiveConnection) {
      connections.inc({ direction, transport: facts.transport, security: facts.security });
    },
    connectionClosed({ direction, bytes }: LiveConnection, reason: ClosedReason) {
      addBytes(settledBytes[direction], bytes);
      closed.inc({ direction, reason });
    },
    connectionFailed: (direction, reason: ClosedReason) => closed.inc({ direction, reason }),
    connectionDenied: (direction, reason: DeniedReason) => denied.inc({ direction, reason }),
    handshakeSucceeded(direction, durationMs, facts: Negotiated) {
      handshakes.inc({ direction, result: 'success', reason: '' });
      handshakeDuration.observe({ direction }, seconds(durationMs));
      negotiated.inc({ direction, ...facts });
    },
    handshakeFailed: (direction, reason: HandshakeReason) => handshakes.inc({ direction, result: 'failure', reason }),
    logLineSuppressed: (reason) => suppressed.inc({ reason }),
    tunnelOpened: (direction) => tunnelsOpen.inc({ direction }),
    tunnelClosed: (direction) => tunnelsOpen.dec({ direction }),
    proofRenewed: (direction, result) => proofs.inc({ direction, result }),
    renewalSucceeded: (source) => renewals.inc({ source, result: 'success', reason: '' }),
    renewalFailed: (source, reason) => renewals.inc({ source, result: 'failure', reason }),
  };
}

/** Beyond them, peers count as those of `other`. */
export const maxRootLabels = 50;
const labelOf = (fingerprint: string) => fingerprint.slice(0, 16);

function addBytes(sum: ByteCount, bytes: Readonly<ByteCount>): void {
  sum.bytesSent += bytes.bytesSent;
  sum.bytesReceived += bytes.bytesReceived;
}
