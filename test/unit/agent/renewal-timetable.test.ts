import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { renewalDelayMs, retryDelayMs, shortestLifetimeMs } from '../../../src/agent/renewal-timetable.ts';

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

describe('the timetable, whatever the numbers', () => {
  const fraction = fc.double({ min: 0.1, max: 0.9, noNaN: true });
  const remaining = fc.oneof(fc.integer({ min: 1, max: 60_000 }), fc.integer({ min: 1, max: 1e13 }));
  const failures = fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 1e9 }));
  const asked = fc.option(fc.integer({ min: 0, max: 1e12 }), { nil: undefined });

  it('R1: renews within a tenth of the fraction, not before a second and never after the end', () => {
    const lifetime = fc.integer({ min: shortestLifetimeMs, max: 1e13 });
    fc.assert(
      fc.property(lifetime, fraction, random, (remainingMs, part, chance) => {
        const waitMs = renewalDelayMs({ remainingMs, fraction: part, random: chance });
        expect(waitMs).toBeLessThan(remainingMs);
        expect(waitMs).toBeGreaterThanOrEqual(1000);
        expect(waitMs).toBeGreaterThanOrEqual(remainingMs * part * 0.9 * (1 - 1e-9));
        expect(waitMs).toBeLessThanOrEqual(Math.max(1000, remainingMs * part * 1.1));
      }),
    );
  });

  it('R1: renews later with more time, a larger fraction or a larger number, and never earlier', () => {
    fc.assert(
      fc.property(
        remaining,
        fraction,
        random,
        remaining,
        fraction,
        random,
        (ms1, part1, chance1, ms2, part2, chance2) => {
          const at = (one: typeof Math.min) =>
            renewalDelayMs({ remainingMs: one(ms1, ms2), fraction: one(part1, part2), random: one(chance1, chance2) });
          expect(at(Math.min)).toBeLessThanOrEqual(at(Math.max));
        },
      ),
    );
  });

  it('R2: repeats later after more failures, with more time or when asked for more, and never earlier', () => {
    fc.assert(
      fc.property(
        failures,
        remaining,
        asked,
        random,
        fc.record({ failures: fc.nat(20), remainingMs: fc.nat(1e6), retryAfterMs: fc.nat(1e6) }),
        (count, remainingMs, retryAfterMs, chance, more) => {
          const sooner = { failures: count, remainingMs, retryAfterMs, random: chance };
          const delayMs = retryDelayMs(sooner);
          for (const later of [
            { ...sooner, failures: count + more.failures },
            { ...sooner, remainingMs: remainingMs + more.remainingMs },
            { ...sooner, retryAfterMs: (retryAfterMs ?? 0) + more.retryAfterMs },
          ])
            expect(retryDelayMs(later)).toBeGreaterThanOrEqual(delayMs);
        },
      ),
    );
  });

  it('R3: repeats within bounds that are finite, with an identity or without one', () => {
    const maybe = fc.option(fc.integer({ min: -1e13, max: 1e13 }), { nil: undefined });
    fc.assert(
      fc.property(failures, maybe, asked, random, (count, remainingMs, retryAfterMs, chance) => {
        const waitMs = retryDelayMs({ failures: count, remainingMs, retryAfterMs, random: chance });
        expect(waitMs).toBeGreaterThanOrEqual(500);
        expect(waitMs).toBeLessThanOrEqual(150_000 * 1.25);
        if (remainingMs !== undefined && remainingMs > 0)
          expect(waitMs).toBeLessThanOrEqual(Math.max(remainingMs, 4000));
        else if (retryAfterMs === undefined) expect(waitMs).toBeLessThanOrEqual(15_000);
      }),
    );
  });
});
