import { expect, it } from 'vitest';
import { createGreetings, silenceLimits } from '../../../src/proxy/inbound/silence.ts';

/*
 * Goal: what is remembered of ports shortens a wait, within bounds. Method: the book alone; test/integration/proxy/silence.test.ts
 * shows what it is for.
 */

it('halves the wait each time, and leaves some of it always', () => {
  const greetings = createGreetings();
  const waits = Array.from({ length: 12 }, () => {
    greetings.spoken(3306);
    return greetings.heldMs(3306);
  });
  expect(waits[0]).toBe(silenceLimits.greetingMs / 2);
  expect(new Set(waits.slice(-6))).toEqual(new Set([silenceLimits.leastGreetingMs]));
  expect(greetings.heldMs(80)).toBe(silenceLimits.greetingMs);
});

it('forgets the port whose application spoke longest ago, beyond the bound', () => {
  const greetings = createGreetings();
  for (let port = 1; port <= silenceLimits.ports; port += 1) greetings.spoken(port);
  greetings.spoken(1);
  greetings.spoken(silenceLimits.ports + 1);
  const isKnown = (port: number) => greetings.heldMs(port) < silenceLimits.greetingMs;
  expect([1, 2, 3, silenceLimits.ports + 1].map(isKnown)).toEqual([true, false, true, true]);
});
