import { describe, expect, it } from 'vitest';
import { createSlots } from '../../../src/proxy/slots.ts';

const never = new AbortController().signal;

describe('slots', () => {
  it('are taken until none is left, and come back once each', () => {
    const slots = createSlots(2);
    const first = slots.tryTake();
    expect(slots.tryTake()).toBeTypeOf('function');
    expect(slots.tryTake()).toBeUndefined();
    first?.();
    first?.();
    expect(slots.inUse).toBe(1);
    expect(slots.tryTake()).toBeTypeOf('function');
    expect(slots.tryTake()).toBeUndefined();
  });

  it('are given to those who wait in the order of their asking', async () => {
    const slots = createSlots(1);
    const release = await slots.take(never);
    const order: string[] = [];
    const second = slots.take(never).then((give) => {
      order.push('second');
      return give;
    });
    const third = slots.take(never).then((give) => {
      order.push('third');
      return give;
    });
    release();
    (await second)();
    (await third)();
    expect(order).toEqual(['second', 'third']);
    expect(slots.inUse).toBe(0);
  });

  it('pass over those who gave up waiting, with the reason of their signal', async () => {
    const slots = createSlots(1);
    const release = await slots.take(never);
    const giveUp = new AbortController();
    const waiting = slots.take(giveUp.signal);
    giveUp.abort(new Error('too late'));
    await expect(waiting).rejects.toThrow('too late');
    release();
    expect(slots.inUse).toBe(0);
    await expect(slots.take(giveUp.signal)).rejects.toThrow('too late');
  });
});
