import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { FaultRow } from '../../../soak/faults.ts';
import { faultKinds, rowOf } from '../../../soak/faults.ts';
import { quietMs, scheduleOf } from '../../../soak/schedule.ts';

const seeds = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const durations = fc.integer({ min: 15_000, max: 30 * 60_000 });
const lanes: readonly FaultRow['lane'][] = ['disruptive', 'harmless'];

describe('the faults of a soak', () => {
  it('are the same for the same seed and duration, so that a failed run can be replayed', () => {
    fc.assert(
      fc.property(seeds, durations, (seed, durationMs) => {
        expect(scheduleOf(seed, durationMs)).toEqual(scheduleOf(seed, durationMs));
      }),
    );
  });

  it('are others for another seed', () => {
    const several = new Set(Array.from({ length: 50 }, (_, seed) => JSON.stringify(scheduleOf(seed, 60_000))));
    expect(several.size).toBe(50);
  });

  it('of a longer run begin with those of a shorter one', () => {
    fc.assert(
      fc.property(seeds, durations, (seed, durationMs) => {
        const longer = scheduleOf(seed, durationMs * 2);
        for (const lane of lanes) {
          const inLane = (planned: typeof longer) => planned.filter((fault) => fault.lane === lane);
          const shorter = inLane(scheduleOf(seed, durationMs));
          expect(inLane(longer).slice(0, shorter.length)).toEqual(shorter);
        }
      }),
    );
  });

  it('follow each other within a lane with at least the shortest gap, and are all undone before the end', () => {
    fc.assert(
      fc.property(seeds, durations, (seed, durationMs) => {
        for (const lane of lanes) {
          let freeMs: number = quietMs.first;
          for (const fault of scheduleOf(seed, durationMs).filter((one) => one.lane === lane)) {
            expect(fault.atMs).toBeGreaterThanOrEqual(freeMs);
            expect(fault.atMs + fault.forMs).toBeLessThanOrEqual(durationMs - quietMs.last);
            freeMs = fault.atMs + fault.forMs + quietMs.least;
          }
        }
      }),
    );
  });

  it('are each on a pod of their row, and as long as it says', () => {
    fc.assert(
      fc.property(seeds, durations, (seed, durationMs) => {
        for (const { kind, pod, forMs } of scheduleOf(seed, durationMs)) {
          const { pods, shortestMs, longestMs } = rowOf(kind);
          expect(pods === undefined ? [undefined] : [...pods]).toContain(pod);
          expect(forMs).toBeGreaterThanOrEqual(shortestMs);
          expect(forMs).toBeLessThanOrEqual(longestMs);
        }
      }),
    );
  });

  it('are of every kind in a run of three minutes, whatever its seed', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        expect(new Set(scheduleOf(seed, 180_000).map(({ kind }) => kind))).toEqual(new Set(faultKinds));
      }),
    );
  });
});
