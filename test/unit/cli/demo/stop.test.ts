import { describe, expect, it } from 'vitest';
import { watchForStop } from '../../../../src/cli/demo/stop.ts';
import type { Host } from '../../../../src/host.ts';
import { createFakeClock } from '../../../support/fake-clock.ts';

function watching() {
  const exits: number[] = [];
  const handlers = new Set<(signal: 'SIGTERM' | 'SIGINT') => void>();
  const host = {
    onStopSignal(handler: (signal: 'SIGTERM' | 'SIGINT') => void) {
      handlers.add(handler);
      return () => handlers.delete(handler);
    },
    exit: (code: number) => exits.push(code),
  } as unknown as Host;
  const clock = createFakeClock(0);
  const stop = watchForStop(host, clock);
  const press = (signal: 'SIGTERM' | 'SIGINT' = 'SIGINT') => {
    for (const handler of handlers) handler(signal);
  };
  return { stop, press, exits, clock, handlers };
}

describe('stopping the demo', () => {
  it('begins with the first signal', () => {
    const { stop, press, exits } = watching();
    expect(stop.reason()).toBeUndefined();
    press('SIGTERM');
    expect([stop.reason(), stop.signal.aborted, exits]).toEqual(['SIGTERM', true, []]);
  });

  it('takes a Ctrl-C that npm passes on as well for one', async () => {
    const { press, exits, clock } = watching();
    press();
    press();
    await clock.advance(999);
    press();
    expect(exits).toEqual([]);
  });

  it('is forced by a second signal a second later', async () => {
    const { press, exits, clock } = watching();
    press('SIGTERM');
    await clock.advance(1000);
    press('SIGINT');
    expect(exits).toEqual([130]);
  });

  it('is no longer watched for after close', () => {
    const { stop, handlers } = watching();
    stop.close();
    expect(handlers.size).toBe(0);
  });
});
