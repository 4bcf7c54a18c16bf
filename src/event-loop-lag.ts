import { performance } from 'node:perf_hooks';
import type { Clock, Timer } from './clock.ts';
import { createLineRate } from './line-rate.ts';
import type { Log } from './log.ts';

/**
 * Every `intervalMs` one sample is due, and every `calmIntervalMs` while the event loop is active for less than `calmShare`
 * of the time: each wakes the process. Those that fell due while it was blocked are recorded as well, up to `longestMs` of
 * them: work that came in meanwhile has waited too. From `toldMs` on the log has a line, at most one in ten seconds and
 * three at once.
 */
export const lagLimits = {
  intervalMs: 100,
  calmIntervalMs: 1000,
  calmShare: 0.05,
  longestMs: 60_000,
  toldMs: 500,
  linesPerSecond: 0.1,
  burst: 3,
} as const;

const { intervalMs, calmIntervalMs, calmShare, longestMs, toldMs } = lagLimits;

/** Records how much later than it was due a timer runs, in seconds, until it is closed. */
export function watchEventLoop({
  clock,
  log,
  record,
  active = () => performance.eventLoopUtilization().active,
}: {
  clock: Clock;
  log: Log;
  record: (lagSeconds: number) => void;
  /** How long the event loop has run callbacks so far; milliseconds. */
  active?: () => number;
}): { close(): void } {
  const passes = createLineRate<'blocked'>(clock, lagLimits);
  let isCalm = false;
  let lastMs = clock.monotonic();
  let lastActiveMs = active();
  let timer: Timer;

  const sample = () => {
    const nowMs = clock.monotonic();
    const activeMs = active() - lastActiveMs;
    const lateMs = Math.max(0, nowMs - lastMs - (isCalm ? calmIntervalMs : intervalMs));
    // Long before the next look something may have come and gone: what an idle loop did it did at once.
    const lagMs = isCalm && activeMs >= intervalMs ? Math.max(lateMs, activeMs) : lateMs;
    for (let missedMs = Math.min(lagMs, longestMs); missedMs >= 0; missedMs -= intervalMs) record(missedMs / 1000);
    if (lagMs >= toldMs && passes('blocked'))
      log.warn({ lagMs: Math.round(lagMs), remedy }, 'The event loop was blocked, and every connection waited');
    isCalm = activeMs < calmShare * (nowMs - lastMs);
    lastMs = nowMs;
    lastActiveMs += activeMs;
    arm();
  };
  const arm = () => {
    timer = clock.after(isCalm ? calmIntervalMs : intervalMs, sample);
  };
  arm();
  return { close: () => timer.cancel() };
}

const remedy = 'Give the container more CPU, or look at what it did then';
