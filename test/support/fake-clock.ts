import { setImmediate } from 'node:timers/promises';
import type { Clock, Timer } from '../../src/clock.ts';

export interface FakeClock extends Clock {
  /** Moves both clocks forward, runs every timer that falls due on the way in its order, and lets what they started settle. */
  advance(ms: number): Promise<void>;
  /** Moves the wall clock alone, as an administrator or NTP does; negative moves it back. No timer runs. */
  stepWall(ms: number): void;
  /** How many timers are set. */
  readonly pending: number;
}

interface Entry {
  readonly dueAt: number;
  readonly callback: () => void;
}

/** A clock that stands still until a test moves it. `startMs` is the wall time; the monotonic time starts at zero. */
export function createFakeClock(startMs = Date.now(), random: () => number = () => 0.5): FakeClock {
  const entries = new Set<Entry>();
  let elapsedMs = 0;
  let wallOffsetMs = startMs;

  const after = (delayMs: number, callback: () => void): Timer => {
    const entry = { dueAt: elapsedMs + Math.max(delayMs, 0), callback };
    entries.add(entry);
    return { cancel: () => void entries.delete(entry) };
  };

  /** The earliest entry due by `atMs`; a Set keeps the order of insertion, so that equal times stay in order. */
  const nextDue = (atMs: number): Entry | undefined => {
    let next: Entry | undefined;
    for (const entry of entries)
      if (entry.dueAt <= atMs && (next === undefined || entry.dueAt < next.dueAt)) next = entry;
    return next;
  };

  return {
    now: () => wallOffsetMs + elapsedMs,
    monotonic: () => elapsedMs,
    after,
    sleep: (delayMs, signal) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason);
        const onAbort = () => {
          timer.cancel();
          reject(signal?.reason);
        };
        const timer = after(delayMs, () => {
          signal?.removeEventListener('abort', onAbort);
          resolve();
        });
        signal?.addEventListener('abort', onAbort, { once: true });
      }),
    random,
    async advance(ms) {
      const targetMs = elapsedMs + ms;
      await setImmediate();
      for (let entry = nextDue(targetMs); entry !== undefined; entry = nextDue(targetMs)) {
        elapsedMs = Math.max(elapsedMs, entry.dueAt);
        entries.delete(entry);
        entry.callback();
        await setImmediate();
      }
      elapsedMs = targetMs;
      await setImmediate();
    },
    stepWall: (ms) => {
      wallOffsetMs += ms;
    },
    get pending() {
      return entries.size;
    },
  };
}
