import { describe, expect, it } from 'vitest';
import type { Place } from '../../src/connection-places.ts';
import { whoLeaves } from '../../src/connection-places.ts';

const limits = { all: 6, perAddress: 3 };

/** In the order of waiting, the longest first: `a` is idle, `a!` is being answered, `a~` does not take its answer. */
function held(...places: readonly string[]): ReadonlyMap<string, Place> {
  return new Map(
    places.map((text, index) => {
      const [peer = '', mark] = text.split(/(?=[!~])/);
      return [
        `${text}${index}`,
        { peer, answers: new Set(mark === undefined ? [] : [{ writableEnded: mark === '~' }]) },
      ];
    }),
  );
}
const leaving = (newcomer: string, ...places: readonly string[]) => whoLeaves(newcomer, held(...places), limits);

describe('while there are places', () => {
  it('nobody leaves', () => {
    expect(leaving('a')).toBeUndefined();
    expect(leaving('a', 'a', 'a', 'b', 'b', 'b')).toBeUndefined();
  });
});

describe('an address that has all it may have', () => {
  it('gives its own that has waited longest, although others wait longer', () => {
    expect(leaving('a', 'b', 'a!', 'a', 'a')).toBe('a2');
    expect(leaving('a', 'b', 'b', 'b', 'a', 'a', 'a')).toBe('a3');
  });

  it('gives an idle one before one whose answer is not taken', () => {
    expect(leaving('a', 'a~', 'a~', 'a')).toBe('a2');
    expect(leaving('a', 'a!', 'a~', 'a~')).toBe('a~1');
  });

  it('gets no other while each of its own is being answered', () => {
    expect(leaving('a', 'b', 'a!', 'a!', 'a!')).toBe('newcomer');
  });
});

describe('when all places are taken', () => {
  it('the address with the most gives one, although others wait longer', () => {
    expect(leaving('new', 'a', 'b', 'b', 'c', 'c', 'c')).toBe('c3');
    expect(leaving('new', 'a', 'b', 'b', 'c~', 'c!', 'c~')).toBe('c~3');
  });

  it('the one that waits longest leaves where all addresses have as many', () => {
    expect(leaving('new', 'a!', 'b', 'c', 'd', 'e', 'f')).toBe('b1');
  });

  it('an address gives nothing while all of its own are being answered', () => {
    expect(leaving('new', 'a!', 'a!', 'a!', 'b!', 'b', 'c')).toBe('b4');
  });

  it('the newcomer leaves when everybody is being answered', () => {
    expect(leaving('new', 'a!', 'a!', 'a!', 'b!', 'b!', 'c!')).toBe('newcomer');
  });

  it('an address of IPv6 is one, not all that share its prefix', () => {
    expect(leaving('fd00::1', 'fd00::2', 'fd00::2', 'fd00::2')).toBeUndefined();
  });
});

it('does not end a connection of which one answer is taken and another one still being made', () => {
  const places = new Map([['a', { peer: 'a', answers: new Set([{ writableEnded: true }, { writableEnded: false }]) }]]);
  expect(whoLeaves('b', places, { all: 1, perAddress: 1 })).toBe('newcomer');
});
