import { median } from '../bench/statistics.ts';

/** A value that was seen at a time. */
export interface Sample {
  readonly atMs: number;
  readonly value: number;
}

const minuteMs = 60_000;

/**
 * How fast a value grows, per minute: the median of the slopes between all pairs of samples (Theil–Sen), which a collection
 * of garbage, a burst or a few samples that are far off do not move. Throws a RangeError for fewer than two samples.
 */
export function slopePerMinute(samples: readonly Sample[]): number {
  const slopes: number[] = [];
  for (const [index, later] of samples.entries()) {
    for (const earlier of samples.slice(0, index)) {
      if (later.atMs > earlier.atMs) slopes.push((later.value - earlier.value) / (later.atMs - earlier.atMs));
    }
  }
  return median(slopes) * minuteMs;
}

/** The samples of the last half of a history. */
export function lastHalf(samples: readonly Sample[]): Sample[] {
  const [first, last] = [samples[0]?.atMs ?? 0, samples.at(-1)?.atMs ?? 0];
  return samples.filter(({ atMs }) => atMs >= (first + last) / 2);
}
