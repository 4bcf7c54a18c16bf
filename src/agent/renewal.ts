import type { Clock } from '../clock.ts';
import { RenewalError } from '../errors.ts';
import type { Identity } from '../identity/identity.ts';
import { remainingMs } from '../identity/identity.ts';
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
const longestSleepMs = 5_000;

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
    nextAttemptMs = clock.now() + waitMs;
    const atMonotonicMs = clock.monotonic() + waitMs;
    const due = { atMonotonicMs, lapsedAtMonotonicMs: atMonotonicMs, atWallMs: nextAttemptMs };
    observer.renewed(identity, waitMs);
    first.resolve(identity);
    return due;
  };

  const fail = (error: RenewalError, failures: number): Due => {
    const { reason, message, retryAfterMs } = error;
    const identity = current();
    const leftMs = identity && remainingMs(identity, clock.now());
    lastFailure = { reason, message, atMs: clock.now() };
    const moment = { failures, retryAfterMs, random: clock.random() };
    const waitMs = retryDelayMs({ ...moment, remainingMs: leftMs });
    const lapsedWaitMs = Math.min(waitMs, retryDelayMs({ ...moment, remainingMs: undefined }));
    nextAttemptMs = clock.now() + waitMs;
    const nowMs = clock.monotonic();
    observer.renewalFailed(reason, error, waitMs);
    return { atMonotonicMs: nowMs + waitMs, lapsedAtMonotonicMs: nowMs + lapsedWaitMs, atWallMs: Infinity };
  };

  const untilDue = async (due: Due) => {
    const soonestMs = clock.monotonic() + shortestRenewalMs;
    for (;;) {
      const nowMs = clock.monotonic();
      const dueMs = hasLapsed() ? due.lapsedAtMonotonicMs : due.atMonotonicMs;
      const isDue = nowMs >= dueMs || clock.now() >= due.atWallMs;
      if (isDue || (isHurried && nowMs >= soonestMs)) return;
      await sleep(Math.min((isHurried ? soonestMs : dueMs) - nowMs, longestSleepMs));
    }
  };

  const hasLapsed = () => {
    const identity = current();
    return identity === undefined || remainingMs(identity, clock.now()) <= 0;
  };

  const sleep = async (delayMs: number) => {
    stopping.signal.throwIfAborted();
    const awakened = new AbortController();
    wake = () => awakened.abort();
    await clock.sleep(delayMs, awakened.signal).catch(() => stopping.signal.throwIfAborted());
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
      wake();
      await running;
    },
  };
}

/** When the next attempt is made: at the first of these. */
interface Due {
  readonly atMonotonicMs: number;
  /** In the place of the first while there is no usable identity: it may end while the machine is suspended. */
  readonly lapsedAtMonotonicMs: number;
  /** A renewal is also due when the wall clock says so; a retry is not, so that a clock that jumps makes no storm. */
  readonly atWallMs: number;
}
