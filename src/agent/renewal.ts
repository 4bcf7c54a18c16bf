import type { Clock } from '../clock.ts';
import { RenewalError } from '../errors.ts';
import type { Identity } from '../identity/identity.ts';
import type { RenewalObserver, RenewalState } from './identity-sources/source.ts';
import { renewalDelayMs, retryDelayMs, shortestRenewalMs } from './renewal-timetable.ts';

export interface RenewalParts {
  readonly clock: Clock;
  readonly observer: RenewalObserver;
  /** Fetches, verifies and publishes one identity; throws `RenewalError`, or the reason of the signal. */
  attempt(signal: AbortSignal): Promise<Identity>;
  /** The identity in use. */
  current(): Identity | undefined;
}

/** The dull loop that keeps an identity fresh: attempt, then sleep until the next one. */
export interface Renewals {
  /** Resolves with the first success; rejects when the loop is closed before. */
  readonly first: Promise<Identity>;
  state(): Omit<RenewalState, 'clockSkewMs'>;
  /** Makes the next attempt soon: what the last one said may no longer hold. */
  hurry(): void;
  close(reason?: unknown): Promise<void>;
}

/**
 * No sleep is longer than this without a look at the wall clock: a machine that was suspended has a wall clock that went
 * on and a monotonic one that did not.
 */
const longestSleepMs = 60_000;

export function startRenewals({ clock, observer, attempt, current }: RenewalParts, fraction: number): Renewals {
  const stopping = new AbortController();
  const first = Promise.withResolvers<Identity>();
  // It may be rejected before anybody waits for it.
  first.promise.catch(() => undefined);
  let nextAttemptMs: number | undefined;
  let lastFailure: RenewalState['lastFailure'];
  let isHurried = false;
  let wake: () => void = () => undefined;

  const succeed = (identity: Identity): Due => {
    lastFailure = undefined;
    const random = clock.random();
    const waitMs = renewalDelayMs({ remainingMs: identity.notAfterMs - clock.now(), fraction, random });
    const due = dueAfter(waitMs, 'wall');
    observer.renewed(identity, waitMs);
    first.resolve(identity);
    return due;
  };

  const fail = (error: RenewalError, failures: number): Due => {
    const { reason, message, retryAfterMs } = error;
    const identity = current();
    const remainingMs = identity && identity.notAfterMs - clock.now();
    lastFailure = { reason, message, atMs: clock.now() };
    const waitMs = retryDelayMs({ failures, remainingMs, retryAfterMs, random: clock.random() });
    const due = dueAfter(waitMs, 'monotonic');
    observer.renewalFailed(reason, error, waitMs);
    return due;
  };

  /** A renewal is also due when the wall clock says so; a retry is not, so that a clock that jumps makes no storm. */
  const dueAfter = (waitMs: number, by: 'wall' | 'monotonic'): Due => {
    nextAttemptMs = clock.now() + waitMs;
    return { atMonotonicMs: clock.monotonic() + waitMs, atWallMs: by === 'wall' ? nextAttemptMs : Infinity };
  };

  const untilDue = async (due: Due) => {
    const soonestMs = clock.monotonic() + shortestRenewalMs;
    for (;;) {
      const nowMs = clock.monotonic();
      const isDue = nowMs >= due.atMonotonicMs || clock.now() >= due.atWallMs;
      if (isDue || (isHurried && nowMs >= soonestMs)) return;
      const untilMs = isHurried ? soonestMs : due.atMonotonicMs;
      await sleep(Math.min(untilMs - nowMs, longestSleepMs));
    }
  };

  const sleep = (delayMs: number) => {
    const awakened = new AbortController();
    wake = () => awakened.abort();
    const signal = AbortSignal.any([awakened.signal, stopping.signal]);
    return clock.sleep(delayMs, signal).catch(() => stopping.signal.throwIfAborted());
  };

  const run = async () => {
    for (let failures = 0; ; ) {
      isHurried = false;
      const outcome = await attempt(stopping.signal).catch((error: unknown) => {
        stopping.signal.throwIfAborted();
        if (error instanceof RenewalError) return error;
        throw error;
      });
      failures = outcome instanceof RenewalError ? failures + 1 : 0;
      await untilDue(outcome instanceof RenewalError ? fail(outcome, failures) : succeed(outcome));
    }
  };

  const running = run().catch((error: unknown) => {
    first.reject(error);
    if (!stopping.signal.aborted) throw error;
  });

  return {
    first: first.promise,
    state: () => ({ nextAttemptMs, lastFailure }),
    hurry() {
      isHurried = true;
      wake();
    },
    async close(reason = new Error('The identity source is closed')) {
      stopping.abort(reason);
      await running;
    },
  };
}

interface Due {
  readonly atMonotonicMs: number;
  readonly atWallMs: number;
}
