import type { Clock, Timer } from './clock.ts';
import { createLineRate } from './line-rate.ts';
import type { Log } from './log.ts';

/**
 * Every `intervalMs` one sample is due. Those that fell due while the event loop was blocked are recorded as well, up to
 * `longestMs` of them: work that came in meanwhile has waited too. From `toldMs` on the log has a line, at most one in ten
 * seconds and three at once.
 */
export const lagLimits = { intervalMs: 100, longestMs: 60_000, toldMs: 500, linesPerSecond: 0.1, burst: 3 } as const;

const { intervalMs, longestMs, toldMs } = lagLimits;

/** Records how much later than it was due a timer runs, in seconds, until it is closed. */
export function watchEventLoop({
  clock,
  log,
  record,
}: {
  clock: Clock;
  log: Log;
  record: (lagSeconds: number) => void;
}): { close(): void } {
  const passes = createLineRate<'blocked'>(clock, lagLimits);
  let dueMs: number;
  let timer: Timer;

  const sample = () => {
    const nowMs = clock.monotonic();
    const lagMs = nowMs - dueMs;
    for (let missedMs = Math.max(dueMs, nowMs - longestMs); missedMs <= nowMs; missedMs += intervalMs)
      record((nowMs - missedMs) / 1000);
    if (lagMs >= toldMs && passes('blocked'))
      log.warn({ lagMs: Math.round(lagMs), remedy }, 'The event loop was blocked, and every connection waited');
    arm(nowMs);
  };
  const arm = (nowMs: number) => {
    dueMs = nowMs + intervalMs;
    timer = clock.after(intervalMs, sample);
  };
  arm(clock.monotonic());
  return { close: () => timer.cancel() };
}

const remedy = 'Give the container more CPU, or look at what it did then';
