import { describe, expect, it } from 'vitest';
import type { Drain } from '../../src/lifecycle.ts';
import { createDrain, createReadiness } from '../../src/lifecycle.ts';
import { createLog } from '../../src/log.ts';
import { createStopping, lastBytesTimeoutMs } from '../../src/stopping.ts';
import { createFakeClock } from '../support/fake-clock.ts';

/** The end of a sidecar whose data plane writes down what it is told. */
function ending({ drainDelayMs = 5000, drainDeadlineMs = 30_000 } = {}) {
  const clock = createFakeClock();
  const told: string[] = [];
  const readiness = createReadiness([]);
  const drain: Drain = createDrain(clock);
  const plane = {
    retireInbound: () => void told.push(`inbound at ${clock.monotonic()}`),
    retireOutbound: () => void told.push(`outbound at ${clock.monotonic()}`),
    close: async (timeoutMs: number) => void told.push(`close within ${timeoutMs}`),
  };
  const parts = { clock, log: createLog('silent'), readiness, drain, plane };
  return { clock, told, readiness, drain, stopping: createStopping(parts, { drainDelayMs, drainDeadlineMs }) };
}

describe('the end of a sidecar', () => {
  it('makes it unready, closes inbound after the delay, outbound when nothing is open, then the tunnels', async () => {
    const { clock, told, readiness, drain, stopping } = ending();
    expect(stopping.progress()).toEqual({ stage: 'serving', isStopping: false });
    const done = drain.track(() => undefined);
    const stopped = stopping.stop();
    expect([...readiness.closed()]).toEqual([['not_draining', 'The sidecar is shutting down']]);
    expect(stopping.progress()).toEqual({ stage: 'leaving', isStopping: true });
    await clock.advance(4999);
    expect(told).toEqual([]);
    await clock.advance(1);
    expect(told).toEqual(['inbound at 5000']);
    expect(stopping.progress()).toEqual({ stage: 'draining', isStopping: true });
    await clock.advance(10_000);
    done();
    expect(await stopped).toBe(0);
    expect(told).toEqual(['inbound at 5000', 'outbound at 15000', 'close within 20000']);
  });

  it('resets what is open at the deadline, and leaves the peers a moment for the last bytes', async () => {
    const { clock, told, drain, stopping } = ending({ drainDelayMs: 0 });
    let forced = 0;
    drain.track(() => {
      forced += 1;
    });
    const stopped = stopping.stop();
    await clock.advance(30_000);
    expect(await stopped).toBe(1);
    expect(forced).toBe(1);
    expect(told.at(-1)).toBe(`close within ${lastBytesTimeoutMs}`);
  });

  it('K16: that only drains resets nothing, however long it takes, and keeps outbound open', async () => {
    const { clock, told, drain, stopping } = ending();
    drain.track(() => {
      throw new Error('Must not be forced');
    });
    const drained = stopping.drain();
    await clock.advance(5000);
    await drained;
    await clock.advance(86_400_000);
    expect(told).toEqual(['inbound at 5000']);
    expect(stopping.progress()).toEqual({ stage: 'draining', isStopping: false });
  });

  it('K16: drains once, whoever asks for it again', async () => {
    const { clock, told, stopping } = ending();
    const first = stopping.drain();
    await clock.advance(3000);
    const second = stopping.drain();
    await clock.advance(2000);
    await Promise.all([first, second, stopping.drain()]);
    expect(told).toEqual(['inbound at 5000']);
  });

  it('K16: goes on with a drain at a stop, and gives what is open the whole deadline from then on', async () => {
    const { clock, told, drain, stopping } = ending();
    const done = drain.track(() => undefined);
    void stopping.drain();
    await clock.advance(100_000);
    const stopped = stopping.stop();
    await clock.advance(29_000);
    done();
    expect(await stopped).toBe(0);
    expect(told).toEqual(['inbound at 5000', 'outbound at 129000', 'close within 1000']);
  });
});
