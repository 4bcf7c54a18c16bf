import { backoffMs } from '../backoff.ts';

/** The longest wait between two attempts; milliseconds. */
export const longestRetryMs = 150_000;
/** The longest wait while there is no usable identity: every connection is refused meanwhile. */
const longestRetryWithoutIdentityMs = 15_000;
const shortestRetryMs = 1000;
/**
 * However near the end of the identity is, waits grow up to this. Sidecars that were started together have certificates
 * that end together: with waits of a second in its last seconds they would all come at once.
 */
const shortestCapMs = 4000;
/** However short a certificate lives, it is not renewed more often than this. */
export const shortestRenewalMs = 1000;
/** A certificate that ends sooner than this cannot be renewed in time. */
export const shortestLifetimeMs = 8000;

export interface RenewalMoment {
  /** From now to the end of the certificate; milliseconds. */
  readonly remainingMs: number;
  /** The part of the remaining time after which to renew, such as 0.5. */
  readonly fraction: number;
  /** In [0, 1). */
  readonly random: number;
}

/**
 * How long to wait before a certificate that was just obtained is renewed: its fraction of the remaining time, a tenth
 * of it more or less, so that pods that were started together do not renew together. Reckoned from now and not from
 * notBefore, which authorities set back.
 */
export function renewalDelayMs({ remainingMs, fraction, random }: RenewalMoment): number {
  return Math.max(shortestRenewalMs, remainingMs * fraction * (0.9 + 0.2 * random));
}

export interface RetryMoment {
  /** Attempts that failed in a row, at least 1. */
  readonly failures: number;
  /** From now to the end of the identity in use; undefined when there is none. */
  readonly remainingMs: number | undefined;
  /** What the server asked for. */
  readonly retryAfterMs: number | undefined;
  readonly random: number;
}

/**
 * How long to wait after a failed attempt: doubling with each failure up to 150 s, or up to a quarter of what is left of
 * the identity if that is less, but 4 s at least, and 15 s without one. Half of the wait is at random. A server may ask
 * for more, but not beyond the end of the identity.
 */
export function retryDelayMs({ failures, remainingMs, retryAfterMs = 0, random }: RetryMoment): number {
  const isUsable = remainingMs !== undefined && remainingMs > 0;
  const capMs = isUsable
    ? Math.max(shortestCapMs, Math.min(longestRetryMs, remainingMs / 4))
    : longestRetryWithoutIdentityMs;
  const ownMs = backoffMs({ baseMs: shortestRetryMs, capMs }, failures, random);
  // All who were refused at once were told the same.
  const askedMs = Math.min(retryAfterMs, longestRetryMs) * (1 + random / 4);
  const waitMs = Math.max(ownMs, askedMs);
  return isUsable ? Math.min(waitMs, Math.max(remainingMs, shortestCapMs) * (0.5 + random / 2)) : waitMs;
}
