import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Target } from '../../../soak/apps/work.ts';
import { errandOf, workKinds } from '../../../soak/apps/work.ts';

const targets: [Target, Target] = [
  { name: 'service', addresses: ['10.96.0.10', 'fd96::10'] },
  { name: 'db', addresses: ['10.77.0.13'] },
];
const seeds = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const numbers = fc.integer({ min: 0, max: 1_000_000 });

describe('the work of a soak', () => {
  it('is the same for the same seed, client and number', () => {
    fc.assert(
      fc.property(seeds, numbers, (seed, number) => {
        expect(errandOf(seed, 'web', number, targets)).toEqual(errandOf(seed, 'web', number, targets));
      }),
    );
  });

  it('names each connection once, whatever the seed', () => {
    const ids = ['web', 'api'].flatMap((client) =>
      Array.from({ length: 500 }, (_, number) => errandOf(number, client, number, targets).work.id),
    );
    expect(new Set(ids).size).toBe(1000);
  });

  it('is of every kind, and goes to every address', () => {
    const errands = Array.from({ length: 1000 }, (_, number) => errandOf(1, 'web', number, targets));
    expect(new Set(errands.map(({ work }) => work.kind))).toEqual(new Set(workKinds));
    expect(new Set(errands.map(({ address }) => address)).size).toBe(3);
  });

  it('cuts a connection only where bytes are still to come in both directions', () => {
    fc.assert(
      fc.property(seeds, numbers, (seed, number) => {
        const { work } = errandOf(seed, 'web', number, targets);
        if (work.abort === undefined) return;
        expect(work.abort.afterBytes).toBeGreaterThan(0);
        expect(work.abort.afterBytes).toBeLessThan(Math.min(work.up, work.down));
      }),
    );
  });
});
