import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PermittedEndpoint } from '../../../src/policy/permit.ts';
import type { Standing } from '../../../src/proxy/outbound/choose.ts';
import { choose } from '../../../src/proxy/outbound/choose.ts';

const meshed = (name: string, transport: 'hbone' | 'direct' = 'hbone'): PermittedEndpoint => ({
  transport,
  address: { ip: '10.0.0.7', port: 80 },
  spiffeId: 'spiffe://cluster.local/ns/shop/sa/api',
  key: name,
});
const direct = (name: string) => meshed(name, 'direct');
const plain = (name: string): PermittedEndpoint => ({
  transport: 'plaintext',
  address: { ip: '10.0.0.7', port: 80 },
  key: name,
});
const untouched = { tried: [], kept: undefined };

/** Connections by key; a negative number is an endpoint that is set aside. */
function standing(loads: Readonly<Record<string, number>> = {}): Standing & { readonly asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    connections: ({ key }) => loads[key] ?? 0,
    isSetAside: ({ key }) => {
      asked.push(key);
      return (loads[key] ?? 0) < 0;
    },
  };
}

/** Gives these numbers, and then zeros, with which the first that is left is drawn. */
function dice(...numbers: number[]): () => number {
  return () => numbers.shift() ?? 0;
}

const many = (count: number) => Array.from({ length: count }, (_, i) => meshed(`${i}`));

describe('the choice of an endpoint', () => {
  it('takes of two the one with fewer of our connections', () => {
    const [a, b] = [meshed('a'), meshed('b')];
    expect(choose([a, b], untouched, standing({ a: 3, b: 2 }), dice())).toBe(b);
    expect(choose([a, b], untouched, standing({ a: 2, b: 3 }), dice())).toBe(a);
  });

  it('takes of two that are equal the one that was drawn first', () => {
    const [a, b] = [meshed('a'), meshed('b')];
    expect(choose([a, b], untouched, standing(), dice(0.4))).toBe(a);
    expect(choose([a, b], untouched, standing(), dice(0.6))).toBe(b);
  });

  it('looks at two of a thousand, and at no other', () => {
    const book = standing({ 999: 2, 500: 1 });
    const chosen = choose(many(1000), untouched, book, dice(0.9999, 499.5 / 999));
    expect(chosen?.key).toBe('500');
    expect(book.asked).toEqual(['999', '500']);
  });

  it('draws every pair alike', () => {
    // Endpoint i has i connections: the pair shows in which one wins, so the counts are those of all ordered pairs.
    const endpoints = many(4);
    const wins = [0, 0, 0, 0];
    for (let first = 0; first < 4; first += 1)
      for (let second = 0; second < 3; second += 1) {
        const chosen = choose(endpoints, untouched, standing({ 1: 1, 2: 2, 3: 3 }), dice(first / 4, second / 3));
        wins[Number(chosen?.key)] = (wins[Number(chosen?.key)] ?? 0) + 1;
      }
    expect(wins).toEqual([6, 4, 2, 0]);
  });

  it('passes over those that are set aside, while there is another', () => {
    const endpoints = [meshed('a'), meshed('b'), meshed('c')];
    expect(choose(endpoints, untouched, standing({ a: -1, b: -1, c: 9 }), dice())?.key).toBe('c');
  });

  it('tries those that are set aside when there is nothing else', () => {
    const endpoints = [meshed('a'), meshed('b')];
    expect(choose(endpoints, untouched, standing({ a: -1, b: -1 }), dice(0.9))?.key).toBe('b');
    expect(choose([meshed('a')], untouched, standing({ a: -1 }), dice())?.key).toBe('a');
  });

  it('never takes one twice for the same connection, and ends when all were tried', () => {
    const [a, b] = [meshed('a'), meshed('b')];
    expect(choose([a, b], { tried: [a], kept: undefined }, standing({ b: -1 }), dice())).toBe(b);
    expect(choose([a, b], { tried: [a, b], kept: undefined }, standing(), dice())).toBe(undefined);
  });

  it('keeps to the endpoint that all connections go to, however many it has', () => {
    const endpoints = [meshed('a'), meshed('b')];
    expect(choose(endpoints, { tried: [], kept: 'b' }, standing({ b: 100 }), dice())?.key).toBe('b');
  });

  it.each<[string, string[], Record<string, number>]>([
    ['is not among the permitted', ['a', 'c'], {}],
    ['is set aside', ['a', 'b', 'c'], { b: -1 }],
  ])('takes another when that endpoint %s', (_, names, loads) => {
    expect(
      choose(
        names.map((name) => meshed(name)),
        { tried: [], kept: 'b' },
        standing(loads),
        dice(),
      )?.key,
    ).toBe('a');
  });

  it('takes another when this connection has tried that endpoint in vain', () => {
    const [a, b] = [meshed('a'), meshed('b')];
    expect(choose([b, a], { tried: [b], kept: 'b' }, standing(), dice())).toBe(a);
  });

  it('keeps to that endpoint when all are set aside', () => {
    const endpoints = [meshed('a'), meshed('b')];
    expect(choose(endpoints, { tried: [], kept: 'b' }, standing({ a: -1, b: -1 }), dice())?.key).toBe('b');
  });

  describe('where some endpoints have a sidecar and some have none', () => {
    const endpoints = [meshed('m'), plain('p')];

    it('takes no plaintext after a sidecar was tried, also when nothing else is left', () => {
      expect(choose(endpoints, { tried: [meshed('m')], kept: undefined }, standing(), dice())?.key).toBe('m');
      expect(choose(endpoints, { tried: endpoints.slice(0, 1), kept: undefined }, standing(), dice())).toBe(undefined);
    });

    it('takes a sidecar that is set aside rather than plaintext, once it was drawn', () => {
      expect(choose(endpoints, untouched, standing({ m: -1 }), dice(0))?.key).toBe('m');
    });

    it('takes another sidecar rather than plaintext when the one that all connections go to is set aside', () => {
      const loads = { m: -1, n: -1 };
      const book = standing(loads);
      expect(choose([...endpoints, meshed('n')], { tried: [], kept: 'm' }, book, dice(0.5))?.key).toBe('m');
      expect(choose([...endpoints, meshed('n')], { tried: [], kept: 'm' }, standing({ m: -1 }), dice(0.5))?.key).toBe(
        'n',
      );
    });

    it('takes a sidecar rather than plaintext that is set aside', () => {
      expect(choose(endpoints, untouched, standing({ p: -1 }), dice(0.9))?.key).toBe('m');
    });

    it('compares the connections of one kind only', () => {
      expect(choose(endpoints, untouched, standing({ m: 9 }), dice(0))?.key).toBe('m');
      expect(choose(endpoints, untouched, standing({ p: 9 }), dice(0.9))?.key).toBe('p');
    });
  });

  describe('where some take tunnels and some take mutual TLS on their own port', () => {
    it('takes either when the other one was tried, and never plaintext', () => {
      const endpoints = [plain('p'), meshed('m'), direct('d')];
      for (const tried of [meshed('m'), direct('d')]) {
        const left = choose([tried, plain('p')], { tried: [tried], kept: undefined }, standing(), dice());
        expect(left).toBe(undefined);
      }
      const [, m, d] = endpoints as [PermittedEndpoint, PermittedEndpoint, PermittedEndpoint];
      expect(choose(endpoints, { tried: [m], kept: undefined }, standing(), dice())).toBe(d);
      expect(choose(endpoints, { tried: [d], kept: undefined }, standing(), dice())).toBe(m);
    });

    it('takes the one with fewer of our connections, whichever it is', () => {
      const endpoints = [meshed('m'), direct('d')];
      expect(choose(endpoints, untouched, standing({ m: 9 }), dice())?.key).toBe('d');
      expect(choose(endpoints, untouched, standing({ d: 9 }), dice())?.key).toBe('m');
    });

    it('takes one on its own port rather than plaintext that is set aside', () => {
      expect(choose([plain('p'), direct('d')], untouched, standing({ p: -1 }), dice())?.key).toBe('d');
    });
  });

  const make = { hbone: meshed, direct, plaintext: plain };
  const kinds = fc.constantFrom<keyof typeof make>('hbone', 'direct', 'plaintext');
  const states = fc.array(fc.record({ kind: kinds, load: fc.integer({ min: -1, max: 3 }) }), {
    minLength: 1,
    maxLength: 12,
  });
  const isMutualTls = ({ transport }: PermittedEndpoint) => transport !== 'plaintext';
  const numbers = fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { maxLength: 12 });

  it('finds one that is not set aside whenever it may, and one at all whenever one is left', () => {
    fc.assert(
      fc.property(states, numbers, fc.nat(3), (state, random, triedCount) => {
        const endpoints = state.map(({ kind }, i) => make[kind](`${i}`));
        const book = standing(Object.fromEntries(state.map(({ load }, i) => [`${i}`, load])));
        const tried = endpoints.slice(0, triedCount);
        const hasTriedOne = tried.some(isMutualTls);
        const left = endpoints.slice(triedCount).filter((one) => !hasTriedOne || isMutualTls(one));
        const chosen = choose(endpoints, { tried, kept: undefined }, book, dice(...random));
        if (left.length === 0) expect(chosen).toBe(undefined);
        else expect(left).toContain(chosen);
        const hasGoodOne = left.some((one) => isMutualTls(one) && !book.isSetAside(one));
        if (chosen && book.isSetAside(chosen)) expect(hasGoodOne).toBe(false);
      }),
    );
  });

  it('chooses plaintext by the same numbers, whatever has failed and whoever is busy', () => {
    fc.assert(
      fc.property(states, numbers, (state, random) => {
        const endpoints = state.map(({ kind }, i) => make[kind](`${i}`));
        const book = standing(Object.fromEntries(state.map(({ load }, i) => [`${i}`, load])));
        const calm = choose(endpoints, untouched, standing(), dice(...random));
        const faulty = choose(endpoints, untouched, book, dice(...random));
        if (calm && isMutualTls(calm)) expect(faulty?.transport).not.toBe('plaintext');
      }),
    );
  });
});
