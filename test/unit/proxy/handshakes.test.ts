import { describe, expect, it } from 'vitest';
import { createHandshakes } from '../../../src/proxy/inbound/handshakes.ts';

const limited = { reason: 'handshake_limit' };

describe('handshakes in flight', () => {
  it('beyond the limit the one whose peer lets us wait longest gives way', () => {
    const handshakes = createHandshakes(3);
    const [first, second, third] = [handshakes.begin(), handshakes.begin(), handshakes.begin()];
    // It was our turn, and is the peer's again: the second has waited longer now.
    first.waitFor('us');
    first.waitFor('peer');
    const newcomer = handshakes.begin();
    expect([first, second, third, newcomer].map(({ signal }) => signal.aborted)).toEqual([false, true, false, false]);
    expect(second.signal.reason).toMatchObject(limited);
  });

  it('that wait for us are never given up, and a newcomer is refused when all do', () => {
    const handshakes = createHandshakes(2);
    const [first, second] = [handshakes.begin(), handshakes.begin()];
    for (const each of [first, second]) each.waitFor('us');
    expect(() => handshakes.begin()).toThrow(expect.objectContaining(limited));
    second.waitFor('peer');
    handshakes.begin();
    expect([first, second].map(({ signal }) => signal.aborted)).toEqual([false, true]);
  });

  it('that have ended, or given way, leave their place', () => {
    const handshakes = createHandshakes(1);
    const given = handshakes.begin();
    const next = handshakes.begin();
    given.waitFor('us');
    given.end();
    next.end();
    const last = handshakes.begin();
    expect(next.signal.aborted).toBe(false);
    last.waitFor('us');
    expect(() => handshakes.begin()).toThrow(expect.objectContaining(limited));
  });
});
