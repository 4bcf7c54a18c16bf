/**
 * The only place that reads time, sets timers or throws dice, so that tests can own all three. Wall time is compared
 * with the dates of certificates and nothing else; every wait is monotonic.
 */
export interface Timer {
  /** Idempotent; after it the callback never runs. */
  cancel(): void;
}

export interface Clock {
  /** Wall time, milliseconds since the epoch. */
  now(): number;
  /** Milliseconds that never go backwards. */
  monotonic(): number;
  /** Runs `callback` once after `delayMs`; any length, also beyond the 24.8 days of a bare timer. Does not keep the process alive. */
  after(delayMs: number, callback: () => void): Timer;
  /** Resolves after `delayMs`, or rejects with the signal's reason. Keeps the process alive. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>;
  /** In [0, 1). For jitter and choice, never for secrets. */
  random(): number;
}

/** The longest delay that `setTimeout` takes; anything longer fires at once. */
const longestTimerMs = 2 ** 31 - 1;

function after(delayMs: number, callback: () => void, keepsAlive: boolean): Timer {
  const dueAt = performance.now() + delayMs;
  let handle: NodeJS.Timeout;
  const arm = () => {
    const remainingMs = dueAt - performance.now();
    handle = setTimeout(
      remainingMs > longestTimerMs ? arm : callback,
      Math.min(Math.max(remainingMs, 0), longestTimerMs),
    );
    if (!keepsAlive) handle.unref();
  };
  arm();
  return { cancel: () => clearTimeout(handle) };
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after: (delayMs, callback) => after(delayMs, callback, false),
  sleep: (delayMs, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const onAbort = () => {
        timer.cancel();
        reject(signal?.reason);
      };
      const timer = after(
        delayMs,
        () => {
          signal?.removeEventListener('abort', onAbort);
          resolve();
        },
        true,
      );
      signal?.addEventListener('abort', onAbort, { once: true });
    }),
  random: () => Math.random(),
};

/** RFC 3339 text of a wall time, for logs. */
export function timestamp(wallMs: number): string {
  return new Date(wallMs).toISOString();
}

/** Milliseconds since the epoch of a date as OpenSSL or JSON writes it; NaN when it is not one. */
export function parseDate(text: string): number {
  return Date.parse(text);
}

/** A wall time as a `Date`, for libraries that take no number. */
export function dateOf(wallMs: number): Date {
  return new Date(wallMs);
}
