import type { Backoff } from '../backoff.ts';
import { backoffMs } from '../backoff.ts';
import type { Clock } from '../clock.ts';
import type { Report, ReportedCallers, SidecarState } from '../control-api.ts';
import { maxReportBytes } from '../control-api.ts';
import { messageOf, RenewalError } from '../errors.ts';
import type { Identity } from '../identity/identity.ts';
import { remainingMs } from '../identity/identity.ts';
import type { Log } from '../log.ts';
import { renewalReasons } from '../outcomes.ts';
import { version } from '../version.ts';

/** Who takes the reports. */
export interface Reporting {
  /** Throws `RenewalError`, or the reason of the signal. */
  send(report: Report, signal: AbortSignal): Promise<void>;
  /** SHA-256 of each root that the control plane is trusted by now. Throws `RenewalError`. */
  controlPlaneRoots(): Promise<readonly string[]>;
  /** Another number each time that the control plane was away: it may know nothing of us then. */
  session(): number;
}

/** Peers by SHA-256 of the root that vouches for them. */
export type PeersByRoot = ReadonlyMap<string, { readonly recent: { readonly size: number }; readonly unnamed: number }>;

export interface ReportParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly reporting: Reporting;
  /** Undefined before the first. */
  identity(): Identity | undefined;
  readonly peers: { byRoot(): PeersByRoot };
  /** How this sidecar fares. */
  state(): SidecarState;
  /** Who has called it, in at most so many bytes of JSON; undefined when that is too little. */
  callers(maxBytes: number): ReportedCallers | undefined;
}

/** Milliseconds. Half of each wait is by chance, so that sidecars that see the same change do not all tell of it at once. */
export const reportTimes = {
  lookMs: 5000,
  countsMs: 60_000,
  repeatMs: 300_000,
  backoff: { baseMs: 5000, capMs: 150_000 } satisfies Backoff,
};

/** The most roots of one kind, and roots with peers, in a report: all of them together fit into it. */
export const reportLimits = { roots: 40, rootsOfPeers: 20 };

/**
 * Tells the control plane how this sidecar fares, and by which roots it lives and trusts, so that it can say which root may
 * be removed. Soon after a change, a minute after one in numbers alone, and from time to time; when that fails it tries again
 * later, and nothing else waits for it.
 */
export function startReports({ clock, log, reporting, identity, peers, state, callers }: ReportParts): {
  close(): Promise<void>;
} {
  const stopping = new AbortController();
  let sent: Sent | undefined;
  let failures = 0;

  const jittered = (ms: number) => ms * (0.5 + clock.random());

  const look = async () => {
    const held = identity();
    if (held === undefined) return;
    const session = reporting.session();
    const about = reportOf(held, clock.now(), peers.byRoot(), await reporting.controlPlaneRoots());
    const withState = { ...about, state: state() };
    const restBytes = Buffer.byteLength(JSON.stringify(withState));
    const called = callers(maxReportBytes - restBytes - callersKeyBytes);
    const report = { ...withState, ...(called !== undefined && { callers: called }) };
    const gist = gistOf(report);
    const counts = JSON.stringify([report.state, called]);
    const nowMs = clock.monotonic();
    const isKnown = sent?.gist === gist && sent.session === session && nowMs < sent.repeatAtMs;
    if (isKnown && (sent?.counts === counts || nowMs < (sent?.countsAtMs ?? 0))) return;
    await reporting.send(report, stopping.signal);
    const soonMs = (ms: number) => clock.monotonic() + ms * (0.9 + 0.2 * clock.random());
    sent = {
      gist,
      counts,
      session,
      countsAtMs: soonMs(reportTimes.countsMs),
      repeatAtMs: soonMs(reportTimes.repeatMs),
    };
  };

  const failed = (error: unknown) => {
    failures += 1;
    const { reason, retryAfterMs = 0 } = error instanceof RenewalError ? error : {};
    const nextAttemptMs = Math.max(backoffMs(reportTimes.backoff, failures, clock.random()), retryAfterMs);
    const why = { reason, detail: messageOf(error), remedy: reason && renewalReasons[reason].remedy };
    log[levelOf(failures)]({ ...why, failures, nextAttemptMs: Math.round(nextAttemptMs) }, 'Report not taken');
    return nextAttemptMs;
  };

  const run = async () => {
    let waitMs = jittered(reportTimes.lookMs);
    for (;;) {
      await clock.sleep(waitMs, stopping.signal);
      try {
        await look();
        if (failures >= failuresUntilWarning) log.info({ failures }, 'Reports are taken again');
        failures = 0;
        waitMs = jittered(reportTimes.lookMs);
      } catch (error) {
        stopping.signal.throwIfAborted();
        waitMs = failed(error);
      }
    }
  };
  const running = run().catch((error: unknown) => {
    if (!stopping.signal.aborted) throw error;
  });

  return {
    async close() {
      stopping.abort(new Error('Reports have ended'));
      await running;
    },
  };
}

/** `,"callers":` */
const callersKeyBytes = 11;

/** So many in a row are no passing trouble. */
const failuresUntilWarning = 3;

/** One line at the first failure, one when it goes on, and the rest for whoever looks closely. */
function levelOf(failures: number): 'info' | 'warn' | 'debug' {
  if (failures === failuresUntilWarning) return 'warn';
  return failures === 1 ? 'info' : 'debug';
}

/** The last one that was taken, and when another is due; monotonic. */
interface Sent {
  readonly gist: string;
  readonly counts: string;
  readonly session: number;
  readonly countsAtMs: number;
  readonly repeatAtMs: number;
}

/** A certificate that has ended, or was revoked, needs no root any more: its owner may never get another one. */
function reportOf(identity: Identity, nowMs: number, peers: PeersByRoot, controlPlaneRoots: readonly string[]): Report {
  const { bundles, rootFingerprint, spiffeId } = identity;
  const trusted = (bundles.domains.get(spiffeId.trustDomain) ?? []).map(({ fingerprint }) => fingerprint);
  const peersByRoot = peersOf(peers, new Set(trusted));
  return {
    version,
    ...(remainingMs(identity, nowMs) > 0 && { issuedBy: rootFingerprint }),
    // The newest stand last.
    trustedRoots: trusted.slice(-reportLimits.roots),
    controlPlaneRoots: controlPlaneRoots.slice(-reportLimits.roots),
    ...(peersByRoot !== undefined && { peersByRoot }),
  };
}

/** Those of our own trust domain first. Undefined when there are too many of them: to leave one out would be to say that nobody needs it. */
function peersOf(peers: PeersByRoot, own: ReadonlySet<string>): Report['peersByRoot'] | undefined {
  const counts = [...peers]
    .map(([root, { recent, unnamed }]) => ({ root, peers: recent.size + unnamed }))
    .filter((one) => one.peers > 0);
  const ofOwn = counts.filter(({ root }) => own.has(root));
  if (ofOwn.length > reportLimits.rootsOfPeers) return undefined;
  return [...ofOwn, ...counts.filter(({ root }) => !own.has(root))].slice(0, reportLimits.rootsOfPeers);
}

/** What is worth telling at once: numbers go up and down all the time, but for the first and the last one of a kind. */
function gistOf({ peersByRoot, state, callers, ...rest }: Report): string {
  const { failures = [], edges = [], open: _, bypassed = 0, ...steady } = state ?? {};
  return JSON.stringify({
    ...rest,
    ...steady,
    isBypassed: bypassed > 0,
    peers: peersByRoot?.map(({ root }) => root).sort(),
    kinds: [failures.length, edges.length, callers?.callers.length, callers?.further.length],
    floor: callers?.minimumMode,
  });
}
