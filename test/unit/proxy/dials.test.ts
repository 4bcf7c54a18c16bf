import { describe, expect, it } from 'vitest';
import { createDials, dialLimits } from '../../../src/proxy/inbound/dials.ts';

const never = new AbortController().signal;
const port = (number: number) => ({ ip: '192.0.2.1', port: number });

/** Whether it gets its turn at once. */
async function isAtOnce(turn: Promise<unknown>): Promise<boolean> {
  return (await Promise.race([turn, new Promise((resolve) => setImmediate(() => resolve('waits')))])) !== 'waits';
}

describe('dials', () => {
  it('to one destination begin at once up to the limit, which is not that of another', async () => {
    const dials = createDials(10_000);
    for (let dialled = 0; dialled < dialLimits.perDestination; dialled += 1)
      expect(await isAtOnce(dials.take(port(1), never))).toBe(true);
    expect(await isAtOnce(dials.take(port(1), never))).toBe(false);
    expect(await isAtOnce(dials.take(port(2), never))).toBe(true);
  });

  it.each([
    [20, 10],
    [2, 1],
    [1, 1],
  ])('of %d places leave those that they do not need: %d at once', async (places, atOnce) => {
    const dials = createDials(places);
    for (let dialled = 0; dialled < atOnce; dialled += 1) expect(await isAtOnce(dials.take(port(1), never))).toBe(true);
    expect(await isAtOnce(dials.take(port(1), never))).toBe(false);
  });

  it('beyond those that may wait for one destination are refused at once as connection_limit, and those for another wait', async () => {
    const dials = createDials(2);
    const endTurn = await dials.take(port(1), never);
    const wait = (number: number) =>
      Array.from({ length: dialLimits.waitingPerDestination }, () => dials.take(port(number), never));
    const [next] = wait(1);
    await expect(dials.take(port(1), never)).rejects.toMatchObject({ reason: 'connection_limit' });
    // Whoever finds a turn does not wait.
    expect(await isAtOnce(dials.take(port(2), never))).toBe(true);
    endTurn();
    await next;
    expect(await isAtOnce(dials.take(port(1), never))).toBe(false);
    wait(2);
    await dials.take(port(3), never);
    await expect(dials.take(port(3), never)).rejects.toMatchObject({ reason: 'connection_limit' });
  });

  it('that end their turn twice make no more turns', async () => {
    const dials = createDials(2);
    const endTurn = await dials.take(port(1), never);
    endTurn();
    const second = await dials.take(port(1), never);
    endTurn();
    expect(await isAtOnce(dials.take(port(1), never))).toBe(false);
    second();
  });
});
