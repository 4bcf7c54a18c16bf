/** The middle of some figures and how far they lie apart. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** The middle value, or the mean of the two in the middle; throws a RangeError when there is none. */
export function median(values: readonly number[]): number {
  const sorted = ascending(values);
  const middle = Math.floor(sorted.length / 2);
  const upper = at(sorted, middle);
  return sorted.length % 2 === 1 ? upper : (at(sorted, middle - 1) + upper) / 2;
}

/** The smallest value that `percent` of all values do not exceed (nearest rank); throws a RangeError when there is none. */
export function percentile(values: readonly number[], percent: number): number {
  const rank = Math.ceil((percent / 100) * values.length);
  return at(ascending(values), Math.max(0, rank - 1));
}

export function spreadOf(values: readonly number[]): Spread {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/**
 * How `values` compare with `baseline`, round by round: only the two of one round were measured beside the same noise, so
 * this is the spread of their ratios and not the ratio of their medians. Throws a RangeError unless the rounds are the same.
 */
export function ratioSpread(values: readonly number[], baseline: readonly number[]): Spread {
  if (values.length !== baseline.length) {
    throw new RangeError(`${values.length} rounds cannot be compared with ${baseline.length}`);
  }
  return spreadOf(values.map((value, round) => value / at(baseline, round)));
}

const ascending = (values: readonly number[]) => values.toSorted((one, other) => one - other);

function at(values: readonly number[], index: number): number {
  const value = values[index];
  if (value === undefined) throw new RangeError(`There is no value ${index} among ${values.length}`);
  return value;
}
