import type { Clock, Timer } from '../clock.ts';
import type { LineRateLimits } from '../line-rate.ts';
import { createLineRate } from '../line-rate.ts';
import type { Log } from '../log.ts';
import type { ClosedReason, DeniedReason, Direction, HandshakeReason, SuppressedReason } from '../outcomes.ts';

/** What a line tells of a connection: the closed list and the word of it, and whether it was carried. */
export type ConnectionLineKind = { readonly isCarried?: boolean } & Refused;

type Refused =
  | { readonly direction: Direction; readonly outcome: 'closed'; readonly reason: ClosedReason }
  | { readonly direction: Direction; readonly outcome: 'denied'; readonly reason: DeniedReason }
  | { readonly direction: Direction; readonly outcome: 'handshake'; readonly reason: HandshakeReason };

/** Counts each line that was left out; implemented by the metrics. */
export interface SuppressionCounter {
  logLineSuppressed(reason: SuppressedReason): void;
}

/**
 * Keeps a flood of refusals, which any stranger can make, and one of connections, which an application can make, from filling
 * the disk and the event loop with their lines.
 */
export interface RefusalLines {
  /** Calls `write`, unless there were too many lines of this kind of late. */
  tell(kind: ConnectionLineKind, write: () => void): void;
  /** Says what was left out since it was last said. */
  close(): void;
}

/** For each direction and reason: what refuses a local application hides nothing that a stranger does, nor the reverse. */
export const refusalLineLimits: LineRateLimits & { readonly summaryMs: number } = {
  linesPerSecond: 20,
  burst: 50,
  summaryMs: 5000,
};

/** For connections that were carried: each of them cost more than its line. */
export function carriedLineLimits(linesPerSecond: number): LineRateLimits {
  return { linesPerSecond, burst: 2 * linesPerSecond };
}

export function createRefusalLines({
  counter,
  log,
  clock,
  accessLogRate = 1000,
}: {
  counter: SuppressionCounter;
  log: Log;
  clock: Clock;
  /** Lines a second about carried connections of one direction and reason. */
  accessLogRate?: number;
}): RefusalLines {
  const refused = createLineRate<string>(clock, refusalLineLimits);
  const carried = createLineRate<string>(clock, carriedLineLimits(accessLogRate));
  const leftOut = new Map<string, { readonly kind: ConnectionLineKind; lines: number }>();
  let timer: Timer | undefined;

  const summarize = () => {
    timer?.cancel();
    for (const { kind, lines } of leftOut.values()) {
      const { isCarried, ...shown } = kind;
      const what = isCarried ? 'carried' : 'refused';
      log.warn({ ...shown, suppressed: lines }, `Log lines of ${what} connections suppressed`);
    }
    leftOut.clear();
  };

  const suppress = (name: string, kind: ConnectionLineKind) => {
    counter.logLineSuppressed(kind.reason);
    if (leftOut.size === 0) timer = clock.after(refusalLineLimits.summaryMs, summarize);
    const entry = leftOut.get(name) ?? { kind, lines: 0 };
    entry.lines += 1;
    leftOut.set(name, entry);
  };

  return {
    tell(kind, write) {
      const name = `${kind.direction} ${kind.outcome} ${kind.reason} ${kind.isCarried ?? false}`;
      const passes = kind.isCarried ? carried : refused;
      if (passes(name)) write();
      else suppress(name, kind);
    },
    close: summarize,
  };
}
