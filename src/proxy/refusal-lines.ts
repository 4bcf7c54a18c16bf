import type { Clock, Timer } from '../clock.ts';
import type { LineRateLimits } from '../line-rate.ts';
import { createLineRate } from '../line-rate.ts';
import type { Log } from '../log.ts';
import type { ClosedReason, DeniedReason, Direction, HandshakeReason, SuppressedReason } from '../outcomes.ts';

/** What a line tells of a connection that was not carried: the closed list and the word of it. */
export type Refused =
  | { readonly direction: Direction; readonly outcome: 'closed'; readonly reason: ClosedReason }
  | { readonly direction: Direction; readonly outcome: 'denied'; readonly reason: DeniedReason }
  | { readonly direction: Direction; readonly outcome: 'handshake'; readonly reason: HandshakeReason };

/** Counts each line that was left out; implemented by the metrics. */
export interface SuppressionCounter {
  logLineSuppressed(reason: SuppressedReason): void;
}

/** Keeps a flood of refusals, which any stranger can make, from filling the disk and the event loop with its lines. */
export interface RefusalLines {
  /** Calls `write`, unless there were too many lines of this direction and reason of late. */
  tell(refused: Refused, write: () => void): void;
  /** Says what was left out since it was last said. */
  close(): void;
}

/** For each direction and reason: what refuses a local application hides nothing that a stranger does, nor the reverse. */
export const refusalLineLimits: LineRateLimits & { readonly summaryMs: number } = {
  linesPerSecond: 20,
  burst: 50,
  summaryMs: 5000,
};

export function createRefusalLines({
  counter,
  log,
  clock,
}: {
  counter: SuppressionCounter;
  log: Log;
  clock: Clock;
}): RefusalLines {
  const passes = createLineRate<string>(clock, refusalLineLimits);
  const leftOut = new Map<string, { readonly refused: Refused; lines: number }>();
  let timer: Timer | undefined;

  const summarize = () => {
    timer?.cancel();
    for (const { refused, lines } of leftOut.values())
      log.warn({ ...refused, suppressed: lines }, 'Log lines of refused connections suppressed');
    leftOut.clear();
  };

  const suppress = (kind: string, { direction, outcome, reason }: Refused) => {
    counter.logLineSuppressed(reason);
    if (leftOut.size === 0) timer = clock.after(refusalLineLimits.summaryMs, summarize);
    const entry = leftOut.get(kind) ?? { refused: { direction, outcome, reason } as Refused, lines: 0 };
    entry.lines += 1;
    leftOut.set(kind, entry);
  };

  return {
    tell(refused, write) {
      const kind = `${refused.direction} ${refused.outcome} ${refused.reason}`;
      if (passes(kind)) write();
      else suppress(kind, refused);
    },
    close: summarize,
  };
}
