import type { Chains } from './chains.ts';
import { createChains } from './chains.ts';
import { createFingerprints } from './fingerprints.ts';
import type { Syntax } from './pattern.ts';
import { isLike, readPattern } from './pattern.ts';
import { finish, isTurn } from './steps.ts';

/** Lists of up to so many texts are looked through. */
const shortLength = { pattern: 32, literal: 32, block: 4 } as const satisfies Record<Syntax, number>;

interface LongList {
  has(value: string): boolean;
}

const prepared: Readonly<Record<Syntax, WeakMap<readonly string[], LongList>>> = {
  pattern: new WeakMap(),
  literal: new WeakMap(),
  block: new WeakMap(),
};

/** Whether one of the texts matches. Those of a long list cost as little as those of a short one, once `prepareList` was there. */
export function isListed(value: string, list: readonly string[], syntax: Syntax): boolean {
  if (!isLong(list, syntax)) return list.some((text) => isOneLike(value, text, syntax));
  return (prepared[syntax].get(list) ?? finish(prepareList(list, syntax))).has(value);
}

function isOneLike(value: string, text: string, syntax: Syntax): boolean {
  const pattern = readPattern(text, syntax);
  return pattern !== undefined && isLike(value, pattern);
}

/** Whether `prepareList` makes a difference. */
export function isLong(list: readonly string[], syntax: Syntax): boolean {
  return list.length > shortLength[syntax];
}

/** Prepares a long list for `isListed`, yielding now and then. */
export function* prepareList(list: readonly string[], syntax: Syntax): Generator<void, LongList> {
  const known = prepared[syntax].get(list);
  if (known !== undefined) return known;
  const fingerprints = createFingerprints(0);
  const places = createChains();
  for (const [place, text] of list.entries()) {
    const pattern = readPattern(text, syntax);
    if (places.isFull()) yield* places.grow();
    if (pattern !== undefined) places.add(fingerprints.add(pattern), place);
    if (isTurn(place)) yield;
  }
  const isAt = (value: string, key: number) =>
    some(places, key, (place) => isOneLike(value, list[place] ?? '', syntax));
  const long: LongList = { has: (value) => fingerprints.matching(value).some((key) => isAt(value, key)) };
  prepared[syntax].set(list, long);
  return long;
}

function some(chains: Chains, key: number, isMatch: (value: number) => boolean): boolean {
  for (let entry = chains.first(key); entry !== 0; entry = chains.next(entry))
    if (isMatch(chains.valueAt(entry))) return true;
  return false;
}
