import { describe, expect, it } from 'vitest';
import { createFakeClock } from '../../support/fake-clock.ts';

describe('createFakeClock', () => {
  it('runs timers in the order of their time, each at its time', async () => {
    const clock = createFakeClock(1000);
    const seen: [string, number][] = [];
    clock.after(20, () => seen.push(['b', clock.now()]));
    clock.after(10, () => {
      seen.push(['a', clock.now()]);
      clock.after(5, () => seen.push(['a2', clock.now()]));
    });
    clock.after(20, () => seen.push(['c', clock.now()]));
    clock.after(31, () => seen.push(['never', clock.now()]));
    await clock.advance(30);
    expect(seen).toEqual([
      ['a', 1010],
      ['a2', 1015],
      ['b', 1020],
      ['c', 1020],
    ]);
    expect(clock.monotonic()).toBe(30);
    expect(clock.pending).toBe(1);
  });

  it('cancels', async () => {
    const clock = createFakeClock();
    clock.after(1, () => expect.unreachable()).cancel();
    await clock.advance(10);
    expect(clock.pending).toBe(0);
  });

  it('wakes sleepers, and rejects those whose signal aborts', async () => {
    const clock = createFakeClock();
    const controller = new AbortController();
    const woken = clock.sleep(10);
    const aborted = clock.sleep(10, controller.signal);
    controller.abort(new Error('enough'));
    await expect(aborted).rejects.toThrow('enough');
    await clock.advance(10);
    await woken;
    await expect(clock.sleep(1, AbortSignal.abort(new Error('before')))).rejects.toThrow('before');
    expect(clock.pending).toBe(0);
  });

  it('steps the wall clock alone', () => {
    const clock = createFakeClock(1000);
    clock.stepWall(-500);
    expect(clock.now()).toBe(500);
    expect(clock.monotonic()).toBe(0);
  });
});
