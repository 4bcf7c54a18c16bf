import { describe, expect, it } from 'vitest';
import { createLineRate } from '../../src/line-rate.ts';
import { createFakeClock } from '../support/fake-clock.ts';

describe('a line rate', () => {
  const scene = () => {
    const clock = createFakeClock();
    return { clock, passes: createLineRate<'a' | 'b'>(clock, { linesPerSecond: 2, burst: 5 }) };
  };
  const passing = (passes: (kind: 'a' | 'b') => boolean, kind: 'a' | 'b', tries = 100) =>
    Array.from({ length: tries }, () => passes(kind)).filter(Boolean).length;

  it('lets a burst pass at once, and then so many a second', async () => {
    const { clock, passes } = scene();
    expect(passing(passes, 'a')).toBe(5);
    await clock.advance(499);
    expect(passing(passes, 'a')).toBe(0);
    await clock.advance(1);
    expect(passing(passes, 'a')).toBe(1);
    await clock.advance(2000);
    expect(passing(passes, 'a')).toBe(4);
  });

  it('saves up no more than a burst', async () => {
    const { clock, passes } = scene();
    passes('a');
    await clock.advance(3_600_000);
    expect(passing(passes, 'a')).toBe(5);
  });

  it('is not drained by tries that fail, however often they come', async () => {
    const { clock, passes } = scene();
    passing(passes, 'a');
    let passed = 0;
    for (let round = 0; round < 100; round += 1) {
      await clock.advance(10);
      passed += passing(passes, 'a', 10);
    }
    expect(passed).toBe(2);
  });

  it('keeps kinds apart, and does not hear the wall clock', () => {
    const { clock, passes } = scene();
    expect(passing(passes, 'a')).toBe(5);
    clock.stepWall(3_600_000);
    expect(passing(passes, 'a')).toBe(0);
    expect(passing(passes, 'b')).toBe(5);
  });
});
