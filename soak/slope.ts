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

/**
 * How fast the lows grow, per minute: from the lowest value of the third quarter of a history to that of the last. A heap
 * grows for minutes until it is collected, and a slope sees mostly its rises; what it comes back to is what is really held.
 */
export function floorPerMinute(samples: readonly Sample[]): number {
  const half = lastHalf(samples);
  const [first, last] = [half[0]?.atMs ?? 0, half.at(-1)?.atMs ?? 0];
  const middle = (first + last) / 2;
  const lowest = (some: readonly Sample[]) => Math.min(...some.map(({ value }) => value));
  const growth = lowest(half.filter(({ atMs }) => atMs > middle)) - lowest(half.filter(({ atMs }) => atMs <= middle));
  return (growth / (middle - first)) * minuteMs;
}
