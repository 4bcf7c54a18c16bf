import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Lookup, Registry } from '../../../../src/agent/registry/registry.ts';
import { createRegistry } from '../../../../src/agent/registry/registry.ts';
import type { StreamListener } from '../../../../src/agent/stream-state.ts';
import type { Destination } from '../../../../src/control-api.ts';
import { RenewalError } from '../../../../src/errors.ts';
import type { FakeClock } from '../../../support/fake-clock.ts';
import { createFakeClock } from '../../../support/fake-clock.ts';

const minute = 60_000;

let clock: FakeClock;
let calls: string[][];
let watched: string[];
let listeners: Set<StreamListener>;
let isUp: boolean;
let answer: (addresses: readonly string[], signal: AbortSignal | undefined) => Promise<readonly Destination[]>;
let registry: Registry;

const known = (address: string, more: Partial<Destination> = {}): Destination => ({
  address,
  endpoints: [],
  ttlSeconds: 30,
  known: true,
  ...more,
});

function create(maxDestinations = 1000) {
  registry = createRegistry(
    {
      clock,
      client: {
        destinations: (addresses, signal) => {
          calls.push([...addresses]);
          return answer(addresses, signal);
        },
      },
      stream: {
        isUp: () => isUp,
        watch: (destinations) => {
          watched = [...destinations];
        },
        subscribe: (listener) => {
          listeners.add(listener);
          return () => void listeners.delete(listener);
        },
      },
    },
    { maxDestinations, idleMs: 10 * minute },
  );
}

beforeEach(() => {
  clock = createFakeClock();
  calls = [];
  watched = [];
  listeners = new Set();
  isUp = true;
  answer = async (addresses) => addresses.map((address) => known(address));
  create();
});

afterEach(() => registry.close());

const at = (port: number) => ({ ip: '10.0.0.7', port });
const patient = () => new AbortController().signal;
const lookup = (port: number, signal = patient()) => registry.lookup(at(port), signal);
const push = (destination: Destination) => {
  for (const listener of listeners) listener.destinationReceived?.(destination);
};
const failing = (why: string) => async () => {
  throw new RenewalError('unreachable', why);
};
/** An answer in the hands of the test. */
function held() {
  const { promise, resolve, reject } = Promise.withResolvers<readonly Destination[]>();
  answer = () => promise;
  return { resolve, reject };
}

describe('the first lookup of an address', () => {
  it('asks the control plane, and the next ones do not', async () => {
    expect(await lookup(80)).toEqual({ kind: 'known', destination: known('10.0.0.7:80') });
    for (let i = 0; i < 100; i++) await lookup(80);
    expect(calls).toEqual([['10.0.0.7:80']]);
  });

  it('is held for as long as ago it was asked, and then pushed', async () => {
    expect(registry.heldForMs(at(80))).toBe(undefined);
    await lookup(80);
    await clock.advance(minute);
    expect(registry.heldForMs(at(80))).toBe(minute);
    expect(registry.heldForMs(at(81))).toBe(undefined);
    push(known('10.0.0.7:80'));
    await clock.advance(1000);
    expect(registry.heldForMs(at(80))).toBe(1000);
    expect(calls).toHaveLength(1);
  });

  it('asks once for everybody who waits', async () => {
    const question = held();
    const lookups = Array.from({ length: 100 }, () => lookup(80));
    await clock.advance(1000);
    question.resolve([known('10.0.0.7:80')]);
    expect(new Set((await Promise.all(lookups)).map(({ kind }) => kind))).toEqual(new Set(['known']));
    expect(calls).toHaveLength(1);
  });

  it('asks for many addresses in few calls', async () => {
    const lookups = Array.from({ length: 250 }, (_, port) => lookup(port + 1));
    await Promise.all(lookups);
    expect(calls.map(({ length }) => length)).toEqual([100, 100, 50]);
  });

  it('has at most 4 calls at once', async () => {
    const question = held();
    const lookups = Array.from({ length: 900 }, (_, port) => lookup(port + 1));
    await clock.advance(1000);
    expect(calls).toHaveLength(4);
    question.resolve(Array.from({ length: 900 }, (_, port) => known(`10.0.0.7:${port + 1}`)));
    await Promise.all(lookups);
    expect(calls).toHaveLength(9);
  });

  it('writes IPv6 with brackets', async () => {
    await registry.lookup({ ip: 'fd00::7', port: 80 }, patient());
    expect(calls).toEqual([['[fd00::7]:80']]);
  });
});

describe('an address that is not known', () => {
  it.each([
    ['says so', async (addresses: readonly string[]) => addresses.map((address) => known(address, { known: false }))],
    ['is left out of the answer', async () => []],
  ])('%s, and is asked for again after a second only', async (_, unknown) => {
    answer = unknown;
    for (let i = 0; i < 1000; i++) expect(await lookup(80)).toEqual({ kind: 'unknown' });
    expect(calls).toHaveLength(1);
    expect(watched).toEqual([]);
    await clock.advance(1001);
    answer = async (addresses) => addresses.map((address) => known(address));
    expect((await lookup(80)).kind).toBe('known');
  });
});

describe('while the control plane does not answer', () => {
  const during = async (signal: AbortController, pending: Promise<Lookup>) => {
    await clock.advance(5000);
    signal.abort(new Error('late'));
    return pending;
  };

  it('asks again until the signal, and then says why', async () => {
    answer = failing('no route');
    const signal = new AbortController();
    expect(await during(signal, lookup(80, signal.signal))).toEqual({ kind: 'unavailable', why: 'no route' });
    expect(calls.length).toBeGreaterThan(3);
    expect(calls.length).toBeLessThan(12);
    const asked = calls.length;
    await clock.advance(minute);
    expect(calls.length).toBeLessThanOrEqual(asked + 1);
  });

  it('says so when the call hangs', async () => {
    held();
    const signal = new AbortController();
    expect(await during(signal, lookup(80, signal.signal))).toEqual({
      kind: 'unavailable',
      why: 'it has not answered yet',
    });
    const aborted = new AbortController();
    aborted.abort(new Error('late'));
    expect((await lookup(81, aborted.signal)).kind).toBe('unavailable');
  });

  it('answers who still waits when it comes back', async () => {
    answer = failing('no route');
    const pending = lookup(80);
    await clock.advance(10_000);
    answer = async (addresses) => addresses.map((address) => known(address));
    await clock.advance(2000);
    expect((await pending).kind).toBe('known');
  });

  it('uses what is cached, also beyond its ttl, and refreshes it in the background', async () => {
    await lookup(80);
    isUp = false;
    answer = failing('no route');
    for (let i = 0; i < 60; i++) {
      expect(await lookup(80)).toEqual({ kind: 'known', destination: known('10.0.0.7:80') });
      await clock.advance(minute / 60);
    }
    expect(calls.length).toBeGreaterThan(3);
    expect(calls.length).toBeLessThan(15);
    answer = async (addresses) => addresses.map((address) => known(address, { service: 'web.shop' }));
    await clock.advance(6000);
    await lookup(80);
    await clock.advance(0);
    expect(await lookup(80)).toMatchObject({ destination: { service: 'web.shop' } });
  });

  it('does not refresh what is within its ttl, nor anything while the stream is up', async () => {
    await lookup(80);
    isUp = false;
    await clock.advance(29_000);
    await lookup(80);
    isUp = true;
    await clock.advance(minute);
    await lookup(80);
    await clock.advance(0);
    expect(calls).toHaveLength(1);
  });

  it('refuses more than 1,000 questions at once', async () => {
    held();
    const lookups = Array.from({ length: 1001 }, (_, port) => lookup(port + 1));
    expect(await lookups[1000]).toEqual({ kind: 'unavailable', why: '1000 other addresses are being asked for' });
  });
});

describe('what is cached', () => {
  it('is watched through the stream, and changes with it', async () => {
    await lookup(80);
    await lookup(81);
    expect(watched).toEqual(['10.0.0.7:80', '10.0.0.7:81']);
    push(known('10.0.0.7:80', { service: 'web.shop' }));
    expect(await lookup(80)).toMatchObject({ destination: { service: 'web.shop' } });
    expect(calls).toHaveLength(2);
  });

  it('is forgotten when the stream says that it is not known any more', async () => {
    await lookup(80);
    push(known('10.0.0.7:80', { known: false }));
    expect(await lookup(80)).toEqual({ kind: 'unknown' });
    expect(watched).toEqual([]);
  });

  it('is not filled with what nobody asked for', async () => {
    push(known('10.0.0.9:80'));
    expect(watched).toEqual([]);
    await registry.lookup({ ip: '10.0.0.9', port: 80 }, patient());
    expect(calls).toHaveLength(1);
  });

  it('is not replaced by an answer that a push has overtaken', async () => {
    await lookup(80);
    isUp = false;
    await clock.advance(31_000);
    const question = held();
    await lookup(80);
    await clock.advance(1000);
    push(known('10.0.0.7:80', { service: 'new' }));
    question.resolve([known('10.0.0.7:80', { service: 'old' })]);
    await clock.advance(0);
    expect(await lookup(80)).toMatchObject({ destination: { service: 'new' } });
  });

  it('leaves after 10 minutes without use', async () => {
    await lookup(80);
    await lookup(81);
    for (let i = 0; i < 13; i++) {
      await clock.advance(minute);
      await lookup(80);
    }
    expect(watched).toEqual(['10.0.0.7:80']);
    await lookup(81);
    expect(calls).toEqual([['10.0.0.7:80'], ['10.0.0.7:81'], ['10.0.0.7:81']]);
  });

  it('is bounded: what was not used for longest makes room', async () => {
    await registry.close();
    create(3);
    for (const port of [1, 2, 3]) await lookup(port);
    await lookup(1);
    await lookup(4);
    expect(watched.sort()).toEqual(['10.0.0.7:1', '10.0.0.7:3', '10.0.0.7:4']);
  });
});

it('closes for good, and answers who waits', async () => {
  held();
  const pending = lookup(80);
  await clock.advance(0);
  await registry.close();
  expect(await pending).toEqual({ kind: 'unavailable', why: 'the sidecar is stopping' });
  expect(await lookup(81)).toEqual({ kind: 'unavailable', why: 'the sidecar is stopping' });
  await clock.advance(0);
  expect(clock.pending).toBe(0);
  expect(listeners.size).toBe(0);
});
