import { describe, expect, it } from 'vitest';
import { median, percentile, ratioSpread, spreadOf } from '../../../bench/statistics.ts';

describe('the statistics of the benchmark', () => {
  it('take the middle by size and not by digits, and the mean of two in the middle', () => {
    expect(median([9, 100, 10])).toBe(10);
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([7])).toBe(7);
  });

  it('give the nearest rank as a percentile', () => {
    const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
    expect(percentile(hundred, 99)).toBe(99);
    expect(percentile(hundred, 50)).toBe(50);
    expect(percentile(hundred, 100)).toBe(100);
    expect(percentile(hundred, 0)).toBe(1);
    expect(percentile([5, 1], 99)).toBe(5);
  });

  it('leave what they are given as it was', () => {
    const values = Object.freeze([3, 1, 2]);
    expect(spreadOf(values)).toEqual({ median: 2, min: 1, max: 3 });
    expect(percentile(values, 50)).toBe(2);
  });

  it('compare round by round, so that noise of a whole round cancels out', () => {
    expect(ratioSpread([2, 20, 200], [1, 10, 100])).toEqual({ median: 2, min: 2, max: 2 });
    expect(ratioSpread([1, 30, 4], [1, 10, 2])).toEqual({ median: 2, min: 1, max: 3 });
  });

  it('refuse to say anything about nothing, or about rounds that do not match', () => {
    expect(() => median([])).toThrow(RangeError);
    expect(() => percentile([], 99)).toThrow(RangeError);
    expect(() => ratioSpread([1, 2], [1])).toThrow('2 rounds cannot be compared with 1');
  });
});
