import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../src/clock.ts';

const day = 24 * 3_600_000;

describe('the clock of the system', () => {
  it('waits for longer than the 24.8 days that a timer of Node.js can, which fires such a timer at once', async () => {
    const fired: string[] = [];
    const warning = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const timers = [25 * day, 60 * day, 100 * 365 * day].map((delayMs) =>
      systemClock.after(delayMs, () => fired.push(`after ${delayMs / day} days`)),
    );
    const stop = new AbortController();
    const sleeping = systemClock.sleep(60 * day, stop.signal).then(
      () => fired.push('sleep'),
      () => undefined,
    );
    await new Promise((resolve) => setTimeout(resolve, 60 * day));
    expect(warning.mock.calls).toEqual([
      [expect.stringContaining(`${60 * day} does not fit`), 'TimeoutOverflowWarning'],
    ]);
    warning.mockRestore();
    expect(fired).toEqual([]);
    for (const timer of timers) timer.cancel();
    stop.abort(new Error('the test is over'));
    await sleeping;
  });

  describe('in days that pass at once', () => {
    beforeEach(() => void vi.useFakeTimers());
    afterEach(() => void vi.useRealTimers());

    it.each([1, 24.8, 24.9, 49.7, 60, 3650])('wakes after %d days, and not before', async (days) => {
      let fired = 0;
      const timer = systemClock.after(days * day, () => {
        fired += 1;
      });
      let slept = false;
      const sleeping = systemClock.sleep(days * day).then(() => {
        slept = true;
      });
      await vi.advanceTimersByTimeAsync(days * day - 1);
      expect({ fired, slept }).toEqual({ fired: 0, slept: false });
      await vi.advanceTimersByTimeAsync(1);
      await sleeping;
      await vi.advanceTimersByTimeAsync(60 * day);
      expect(fired).toBe(1);
      timer.cancel();
    });

    it('is cancelled after the first of the timers that it is made of', async () => {
      const timer = systemClock.after(60 * day, () => expect.unreachable());
      await vi.advanceTimersByTimeAsync(30 * day);
      timer.cancel();
      await vi.advanceTimersByTimeAsync(60 * day);
      expect(vi.getTimerCount()).toBe(0);
    });
  });
});
