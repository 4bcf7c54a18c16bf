import { describe, expect, it } from 'vitest';
import { createDrain } from '../../src/lifecycle.ts';
import { createFakeClock } from '../support/fake-clock.ts';

const mustNotForce = () => {
  throw new Error('Must not be forced');
};

describe('a drain', () => {
  it('is over at once when nothing runs', async () => {
    const clock = createFakeClock();
    expect(await createDrain(clock).finish(1000)).toBe(0);
    expect(clock.pending).toBe(0);
  });

  it('waits for what runs and for what begins meanwhile', async () => {
    const clock = createFakeClock();
    const drain = createDrain(clock);
    const endFirst = drain.track(mustNotForce);
    const finished = drain.finish(1000);
    const endSecond = drain.track(mustNotForce);
    endFirst();
    endFirst();
    await clock.advance(999);
    expect(drain.size).toBe(1);
    endSecond();
    expect(await finished).toBe(0);
    expect(clock.pending).toBe(0);
  });

  it('forces the rest at the deadline, once each, and says how many', async () => {
    const clock = createFakeClock();
    const drain = createDrain(clock);
    const forced: string[] = [];
    drain.track(() => forced.push('one'));
    drain.track(mustNotForce)();
    drain.track(() => forced.push('two'));
    const finished = drain.finish(1000);
    await clock.advance(999);
    expect(forced).toEqual([]);
    await clock.advance(1);
    expect(await finished).toBe(2);
    expect(forced).toEqual(['one', 'two']);
  });
});
