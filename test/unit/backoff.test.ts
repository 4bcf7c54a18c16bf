import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { backoffMs } from '../../src/backoff.ts';

const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const backoffs = fc
  .record({ baseMs: fc.integer({ min: 1, max: 60_000 }), factor: fc.integer({ min: 1, max: 1000 }) })
  .map(({ baseMs, factor }) => ({ baseMs, capMs: baseMs * factor }));
const failures = fc.integer({ min: 1, max: 100 });

describe('backoffMs', () => {
  it('doubles from the base to the cap', () => {
    const at = (count: number) => backoffMs({ baseMs: 1000, capMs: 10_000 }, count, 0);
    expect([1, 2, 3, 4, 5, 6, 1e9].map(at)).toEqual([500, 1000, 2000, 4000, 5000, 5000, 5000]);
  });

  it('takes fewer than one failure for one', () => {
    for (const count of [0, -1, -1e9]) expect(backoffMs({ baseMs: 1000, capMs: 10_000 }, count, 0)).toBe(500);
  });

  it('goes on doubling up to 2³⁰ times the base, and stays there', () => {
    const at = (count: number) => backoffMs({ baseMs: 2, capMs: Number.POSITIVE_INFINITY }, count, 0);
    expect([30, 31, 32, 5000].map(at)).toEqual([2 ** 29, 2 ** 30, 2 ** 30, 2 ** 30]);
  });

  it('is between half of the wait and the whole of it, never above the cap, and never shorter for more failures', () => {
    fc.assert(
      fc.property(backoffs, failures, random, (backoff, count, chance) => {
        const waitMs = backoffMs(backoff, count, chance);
        const wholeMs = Math.min(backoff.capMs, backoff.baseMs * 2 ** Math.min(count - 1, 30));
        expect(waitMs).toBeGreaterThanOrEqual(wholeMs / 2);
        expect(waitMs).toBeLessThanOrEqual(wholeMs);
        expect(backoffMs(backoff, count + 1, chance)).toBeGreaterThanOrEqual(waitMs);
      }),
    );
  });

  it('spreads evenly over that half', () => {
    const at = (chance: number) => backoffMs({ baseMs: 1000, capMs: 1000 }, 1, chance);
    expect([0, 0.25, 0.5, 0.75].map(at)).toEqual([500, 625, 750, 875]);
  });
});
