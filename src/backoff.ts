/** Waits that double with each failure, from `baseMs` to `capMs`; milliseconds. */
export interface Backoff {
  readonly baseMs: number;
  readonly capMs: number;
}

/**
 * How long to wait after this many failures in a row (at least 1). Between half of the wait and the whole of it, by
 * `random` in [0, 1), so that all who lost the same thing do not come back to it in one second.
 */
export function backoffMs({ baseMs, capMs }: Backoff, failures: number, random: number): number {
  const wholeMs = Math.min(capMs, baseMs * 2 ** Math.min(Math.max(failures - 1, 0), 30));
  return wholeMs * (0.5 + random / 2);
}
