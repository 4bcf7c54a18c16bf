import type { Clock } from '../clock.ts';
import type { Report } from '../control-api.ts';
import type { Workload } from './token-review.ts';

/** A sidecar that may be at work: a certificate of it has not ended, or it has a stream. */
export interface LivingSidecar {
  /** `namespace/name`. */
  readonly pod: string;
  /** Until when the last of its certificates under each root lasts; wall time. */
  readonly certificates: ReadonlyMap<string, number>;
  readonly streams: number;
  /** The roots that it was last told of; undefined when it was told nothing on a stream. */
  readonly toldRoots: readonly string[] | undefined;
  readonly namespace: string;
  /** Without the namespace. */
  readonly podName: string;
  readonly podUid: string;
  readonly serviceAccount: string;
  /** Its last one without the callers, and when it came; wall time. */
  readonly report: Omit<Report, 'callers'> | undefined;
  /** Who has called it, as JSON: there may be a hundred of them, and hardly anybody asks. Undefined when it did not say. */
  readonly callers: string | undefined;
  readonly reportedAtMs: number | undefined;
}

export interface Living {
  readonly sidecars: readonly LivingSidecar[];
  /** Sidecars whose names had no place: until when the last of their certificates under each root lasts. */
  readonly unnamedUntilMs: ReadonlyMap<string, number>;
  /** Certificates from before this control plane started may be in use until then; wall time. */
  readonly unknownUntilMs: number;
}

/** One open stream. */
export interface StreamEntry {
  /** The trust bundles of now were written to it. */
  told(): void;
  closed(): void;
}

/**
 * Who is alive: certificates that were issued, streams that are open, what sidecars report of roots. Bounded, and never
 * wrong beyond the bound: a sidecar without a place still counts, without its name, until its certificates have ended.
 */
export interface SidecarBook {
  issued(workload: Workload, rootFingerprint: string, notAfterMs: number): void;
  streamOpened(workload: Workload): StreamEntry;
  reported(workload: Workload, report: Report): void;
  living(): Living;
}

export interface SidecarBookSettings {
  /** SHA-256 of the roots in the trust bundle of now. */
  trustedRoots(): readonly string[];
  /** How long certificates from before may be in use; 0 when there are none. */
  readonly unknownForMs: number;
  readonly maxSidecars?: number;
}

/** As many sidecars keep their names. */
export const maxNamedSidecars = 10_000;

interface Entry {
  readonly pod: string;
  readonly certificates: Map<string, number>;
  streams: number;
  toldRoots: readonly string[] | undefined;
  readonly namespace: string;
  readonly podName: string;
  readonly podUid: string;
  readonly serviceAccount: string;
  report: Omit<Report, 'callers'> | undefined;
  callers: string | undefined;
  reportedAtMs: number | undefined;
}

export function createSidecarBook(clock: Clock, settings: SidecarBookSettings): SidecarBook {
  const { maxSidecars = maxNamedSidecars, trustedRoots, unknownForMs } = settings;
  const knownFromMs = clock.monotonic() + unknownForMs;
  const entries = new Map<string, Entry>();
  const unnamedUntilMs = new Map<string, number>();

  const dropEnded = (nowMs: number) => {
    for (const [key, entry] of entries) {
      dropPast(entry.certificates, nowMs);
      if (entry.certificates.size === 0 && entry.streams === 0) entries.delete(key);
    }
    dropPast(unnamedUntilMs, nowMs);
  };
  const makeRoom = () => {
    if (entries.size < maxSidecars) return;
    dropEnded(clock.now());
    if (entries.size < maxSidecars) return;
    // The one that was written of longest ago, and has no stream: streams are fewer than names.
    const oldest = [...entries].find(([, { streams }]) => streams === 0);
    if (oldest === undefined) return;
    entries.delete(oldest[0]);
    for (const [root, untilMs] of oldest[1].certificates) extend(unnamedUntilMs, root, untilMs);
  };
  /** Moves it to the end: the order is that of the last word. */
  const entryOf = ({ namespace, pod, podUid, serviceAccount }: Workload): Entry => {
    const key = `${namespace}/${pod} ${podUid}`;
    const known = entries.get(key);
    if (known === undefined) makeRoom();
    const entry = known ?? {
      pod: `${namespace}/${pod}`,
      certificates: new Map(),
      streams: 0,
      toldRoots: undefined,
      namespace,
      podName: pod,
      podUid,
      serviceAccount,
      report: undefined,
      callers: undefined,
      reportedAtMs: undefined,
    };
    entries.delete(key);
    entries.set(key, entry);
    return entry;
  };

  return {
    issued: (workload, root, notAfterMs) => extend(entryOf(workload).certificates, root, notAfterMs),
    streamOpened(workload) {
      const entry = entryOf(workload);
      entry.streams += 1;
      return {
        told: () => {
          entry.toldRoots = trustedRoots();
        },
        closed: () => {
          entry.streams -= 1;
        },
      };
    },
    reported(workload, { callers, ...report }) {
      const entry = entryOf(workload);
      entry.report = report;
      entry.callers = callers && JSON.stringify(callers);
      entry.reportedAtMs = clock.now();
    },
    living() {
      dropEnded(clock.now());
      // A wall clock that is set forward does not end certificates that nobody knows.
      const unknownMs = knownFromMs - clock.monotonic();
      const unknownUntilMs = unknownMs > 0 ? clock.now() + unknownMs : 0;
      return { sidecars: [...entries.values()], unnamedUntilMs, unknownUntilMs };
    },
  };
}

function extend(untilMs: Map<string, number>, root: string, atMs: number): void {
  untilMs.set(root, Math.max(untilMs.get(root) ?? 0, atMs));
}

function dropPast(untilMs: Map<string, number>, nowMs: number): void {
  for (const [root, atMs] of untilMs) if (atMs <= nowMs) untilMs.delete(root);
}
