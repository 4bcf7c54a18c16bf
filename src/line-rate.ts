import type { Clock } from './clock.ts';

export interface LineRateLimits {
  readonly linesPerSecond: number;
  /** So many lines may come at once after a silence. */
  readonly burst: number;
}

/** A token bucket for each kind of log line: true takes a token, false means that the line is one too many. */
export type LineRate<Kind> = (kind: Kind) => boolean;

/** Kinds are of a closed list: each is remembered for good. */
export function createLineRate<Kind extends string>(
  clock: Clock,
  { linesPerSecond, burst }: LineRateLimits,
): LineRate<Kind> {
  const buckets = new Map<Kind, { tokens: number; atMs: number }>();
  return (kind) => {
    const nowMs = clock.monotonic();
    const { tokens, atMs } = buckets.get(kind) ?? { tokens: burst, atMs: nowMs };
    const filled = Math.min(burst, tokens + ((nowMs - atMs) * linesPerSecond) / 1000);
    const passes = filled >= 1;
    buckets.set(kind, { tokens: passes ? filled - 1 : filled, atMs: nowMs });
    return passes;
  };
}
