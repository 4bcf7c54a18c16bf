import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { reopenDelayMs } from '../../../src/agent/control-stream.ts';
import { longestRetryMs, renewalDelayMs, retryDelayMs } from '../../../src/agent/renewal-timetable.ts';

/*
 * Goal: a thousand sidecars never come to the control plane in one second, whatever they lost together. Method: the
 * timetable is played for each of them with seeded dice; what is asserted holds for every seed.
 */

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const sidecars = 1000;
const lifetimeMs = hour;

interface Outage {
  readonly fromMs: number;
  readonly toMs: number;
}

interface Attempts {
  /** When attempts were made after the outage was over, in order; milliseconds since the common start. */
  readonly afterReturn: readonly number[];
  /** How long after the return each sidecar whose attempts had failed was served. */
  readonly healed: readonly number[];
}

/** All start in one moment; attempts in the outage fail and all others succeed. */
function play(seed: number, outage: Outage, untilMs: number): Attempts {
  const random = dice(seed);
  const afterReturn: number[] = [];
  const healed: number[] = [];
  for (let sidecar = 0; sidecar < sidecars; sidecar += 1) {
    let failures = 0;
    let notAfterMs: number | undefined;
    for (let atMs = 0; atMs < untilMs; ) {
      if (atMs >= outage.toMs) afterReturn.push(atMs);
      if (atMs >= outage.fromMs && atMs < outage.toMs) {
        failures += 1;
        const remainingMs = notAfterMs && notAfterMs - atMs;
        atMs += retryDelayMs({ failures, remainingMs, retryAfterMs: undefined, random: random() });
      } else {
        if (failures > 0) healed.push(atMs - outage.toMs);
        failures = 0;
        notAfterMs = atMs + lifetimeMs;
        atMs += renewalDelayMs({ remainingMs: lifetimeMs, fraction: 0.5, random: random() });
      }
    }
  }
  return { afterReturn: afterReturn.sort((a, b) => a - b), healed };
}

/** Mulberry32: the same numbers in [0, 1) for the same seed. */
function dice(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The most attempts within any second, wherever it begins; `attempts` are in order. */
function busiestSecond(attempts: readonly number[]): number {
  let most = 0;
  let first = 0;
  attempts.forEach((atMs, index) => {
    while ((attempts[first] ?? atMs) <= atMs - second) first += 1;
    most = Math.max(most, index - first + 1);
  });
  return most;
}

interface Case {
  readonly when: string;
  readonly fromMs: readonly [min: number, max: number];
  readonly forMs: readonly [min: number, max: number];
  /** Of a thousand, at most so many come within one second after the return. */
  readonly most: number;
  /** All whose attempts had failed are served so soon after the return; milliseconds. */
  readonly healedMs: number;
}

const cases: readonly Case[] = [
  { when: 'of seconds', fromMs: [second, hour], forMs: [0, minute], most: 50, healedMs: 64_000 },
  {
    when: 'of minutes',
    fromMs: [second, 30 * minute],
    forMs: [minute, 25 * minute],
    most: 60,
    healedMs: longestRetryMs,
  },
  {
    when: 'that ends with the last seconds of all identities',
    fromMs: [26 * minute, 26 * minute],
    forMs: [33.7 * minute, 33.98 * minute],
    most: 450,
    healedMs: 5000,
  },
  {
    when: 'that outlasts all identities',
    fromMs: [20 * minute, 26 * minute],
    forMs: [45 * minute, 3 * hour],
    most: 160,
    healedMs: 15_000,
  },
  {
    when: 'of seconds before the first',
    fromMs: [0, 0],
    forMs: [3 * second, 20 * second],
    most: 600,
    healedMs: 15_000,
  },
  {
    when: 'of half a minute or more before the first',
    fromMs: [0, 0],
    forMs: [30 * second, hour],
    most: 170,
    healedMs: 15_000,
  },
];

describe('R4: a thousand sidecars that were started in one moment', () => {
  const between = ([min, max]: readonly [number, number]) => fc.integer({ min: Math.round(min), max: Math.round(max) });

  it('R4: never renew in one second afterwards', () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const { afterReturn } = play(seed, { fromMs: 0, toMs: 0 }, 2 * hour);
        expect(busiestSecond(afterReturn.slice(sidecars))).toBeLessThanOrEqual(15);
      }),
      { numRuns: 10 },
    );
  });

  it.each(cases)(
    'R4: do not all come back in one second after an outage $when',
    ({ fromMs, forMs, most, healedMs }) => {
      fc.assert(
        fc.property(fc.integer(), between(fromMs), between(forMs), (seed, outageMs, lengthMs) => {
          const toMs = outageMs + lengthMs;
          const { afterReturn, healed } = play(seed, { fromMs: outageMs, toMs }, toMs + 40 * minute);
          expect(busiestSecond(afterReturn)).toBeLessThanOrEqual(most);
          expect(Math.max(0, ...healed)).toBeLessThanOrEqual(healedMs);
        }),
        { numRuns: 25 },
      );
    },
  );
});

it('R4: a thousand streams that were lost in one moment are opened again over five seconds', () => {
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 1, max: 8 }), (seed, failures) => {
      const random = dice(seed);
      const waits = Array.from({ length: sidecars }, () => reopenDelayMs(failures, { random }));
      expect(busiestSecond(waits.sort((a, b) => a - b))).toBeLessThan(280);
    }),
  );
});
