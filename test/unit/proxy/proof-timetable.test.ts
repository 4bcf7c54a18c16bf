import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  afterRotationMs,
  untilAskedAgainMs,
  untilNextProofMs,
  untilPeerHasNewerMs,
} from '../../../src/proxy/transport/hbone/proof-timetable.ts';

const hourMs = 3_600_000;
const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const remainingMs = fc.integer({ min: -hourMs, max: 1000 * hourMs });

describe('the timetable of proofs', () => {
  it('spreads the proofs after a rotation over ten seconds', () => {
    expect(afterRotationMs({ remainingMs: hourMs, random: 0 })).toBe(0);
    expect(afterRotationMs({ remainingMs: hourMs, random: 0.5 })).toBe(5_000);
    fc.assert(
      fc.property(remainingMs, random, (left, dice) => {
        const waitMs = afterRotationMs({ remainingMs: left, random: dice });
        expect(waitMs).toBeGreaterThanOrEqual(0);
        expect(waitMs).toBeLessThanOrEqual(Math.min(10_000, Math.max(0, left / 4)));
      }),
    );
  });

  it('asks a peer once it must have renewed, and well before its certificate ends', () => {
    expect(untilPeerHasNewerMs({ remainingMs: hourMs, random: 0 })).toBe(0.7 * hourMs);
    expect(untilPeerHasNewerMs({ remainingMs: hourMs, random: 0.5 })).toBe(0.75 * hourMs);
    // Never at once, however little is left.
    expect(untilPeerHasNewerMs({ remainingMs: 100, random: 0 })).toBe(1_000);
    expect(untilPeerHasNewerMs({ remainingMs: -hourMs, random: 0 })).toBe(1_000);
    fc.assert(
      fc.property(fc.integer({ min: 1_500, max: 1000 * hourMs }), random, (left, dice) => {
        const waitMs = untilPeerHasNewerMs({ remainingMs: left, random: dice });
        expect(waitMs).toBeGreaterThanOrEqual(0.7 * left - 1);
        expect(waitMs).toBeLessThan(0.8 * left + 1);
      }),
    );
  });

  it('asks a peer that has nothing newer a few times, however long its certificate lasts, and again before its end', () => {
    fc.assert(
      fc.property(fc.integer({ min: 60_000, max: 10_000 * hourMs }), random, (lifetimeMs, dice) => {
        let left = lifetimeMs;
        let times = 0;
        for (; left > lifetimeMs / 100; times += 1) left -= untilAskedAgainMs({ remainingMs: left, random: dice });
        expect(left).toBeGreaterThan(0);
        expect(times).toBeLessThan(25);
      }),
    );
    expect(untilAskedAgainMs({ remainingMs: 100, random: 0 })).toBe(500);
  });

  it('waits longer with each failure, never as long as what is left, and never less than half a second', () => {
    const waits = [1, 2, 3, 4, 20].map((failures) =>
      untilNextProofMs({ remainingMs: hourMs, random: 0.999_999 }, failures),
    );
    expect(waits.map(Math.round)).toEqual([1_000, 2_000, 4_000, 8_000, 60_000]);
    expect(untilNextProofMs({ remainingMs: 8_000, random: 0.999_999 }, 20)).toBe(2_000);
    expect(untilNextProofMs({ remainingMs: 100, random: 0 }, 1)).toBe(500);
    // During the grace nothing is left that would hurry it.
    expect(untilNextProofMs({ remainingMs: 0, random: 0 }, 20)).toBe(30_000);
    expect(untilNextProofMs({ remainingMs: -hourMs, random: 0 }, 20)).toBe(30_000);
  });
});
