import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { renewalDelayMs, retryDelayMs } from '../../../src/agent/renewal-timetable.ts';

const hour = 3_600_000;
const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

describe('when a certificate is renewed', () => {
  it('R1: at half of its lifetime, ten per cent more or less', () => {
    const at = (chance: number) => renewalDelayMs({ remainingMs: hour, fraction: 0.5, random: chance });
    expect([at(0), at(0.5), at(0.999999)].map(Math.round)).toEqual([1_620_000, 1_800_000, 1_980_000 - 0]);
  });

  it('R1: at another fraction of it', () => {
    expect(renewalDelayMs({ remainingMs: hour, fraction: 0.8, random: 0.5 })).toBe(2_880_000);
  });

  it.each([5000, 1000, 0, -1, -hour])('R11: not before a second, with %i ms left', (remainingMs) => {
    expect(renewalDelayMs({ remainingMs, fraction: 0.5, random: 0 })).toBeGreaterThanOrEqual(1000);
  });

  it('R11: long before its end when it lives 100 years', () => {
    expect(renewalDelayMs({ remainingMs: 100 * 365 * 24 * hour, fraction: 0.5, random: 0.5 })).toBe(
      50 * 365 * 24 * hour,
    );
  });
});

describe('when a failed attempt is repeated', () => {
  const retry = (failures: number, remainingMs: number | undefined, chance = 0.5, retryAfterMs?: number) =>
    retryDelayMs({ failures, remainingMs, random: chance, retryAfterMs });

  it('R2: with waits that double, up to 150 s', () => {
    expect([1, 2, 3, 4, 5, 6, 7, 8, 9, 50, 1e6].map((failures) => retry(failures, 24 * hour))).toEqual([
      750, 1500, 3000, 6000, 12_000, 24_000, 48_000, 96_000, 112_500, 112_500, 112_500,
    ]);
  });

  it('R2: more often as the end of the identity comes nearer, down to every 4 s', () => {
    expect([600_000, 60_000, 16_001, 16_000, 8000, 4000, 1000, 1].map((remainingMs) => retry(99, remainingMs))).toEqual(
      [112_500, 11_250, 3000.1875, 3000, 3000, 3000, 3000, 3000],
    );
  });

  it('R2: never after the end of the identity but for its last 4 s, never in a hot loop, never beyond 150 s, whatever the numbers', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1e9 }),
        fc.integer({ min: 1, max: 1e12 }),
        random,
        (failures, remainingMs, chance) => {
          const waitMs = retry(failures, remainingMs, chance);
          expect(waitMs).toBeLessThanOrEqual(Math.max(4000, Math.min(remainingMs / 4, 150_000)));
          expect(waitMs).toBeGreaterThanOrEqual(500);
        },
      ),
    );
  });

  it('R3: at least every 15 s while there is no usable identity', () => {
    expect(
      [retry(99, undefined, 0.999999), retry(99, 0, 0.999999), retry(99, -hour, 0.999999)].map(Math.round),
    ).toEqual([15_000, 15_000, 15_000]);
  });

  it('R8: not before the server wants it, and not at the same moment as all whom it told the same', () => {
    expect([0, 0.5, 0.999999].map((chance) => Math.round(retry(1, 24 * hour, chance, 60_000)))).toEqual([
      60_000, 67_500, 75_000,
    ]);
    expect(retry(1, undefined, 0, 60_000)).toBe(60_000);
    expect(retry(9, 24 * hour, 0.5, 1)).toBe(112_500);
  });

  it('R8: never later than the server may ask for, and before the end of the identity', () => {
    expect(retry(1, 24 * hour, 0, 1e12)).toBe(150_000);
    expect([0, 0.5].map((chance) => retry(1, 20_000, chance, 60_000))).toEqual([10_000, 15_000]);
    expect(retry(1, 1000, 0.5, 60_000)).toBe(3000);
  });
});
