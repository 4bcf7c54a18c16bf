import type { PolicyRule } from '../control-api.ts';
import type { Chains } from './chains.ts';
import { createChains } from './chains.ts';
import type { Facts } from './facts.ts';
import { mixed } from './fingerprints.ts';

import type { Absence } from './rule.ts';
import { matches } from './rule.ts';
import type { Crowds } from './rule-crowds.ts';
import { makeCrowds } from './rule-crowds.ts';
import type { Key, Keys } from './rule-keys.ts';
import { createKeys } from './rule-keys.ts';
import type { Place } from './rule-places.ts';
import { placesOf } from './rule-places.ts';
import { isTurn } from './steps.ts';

/** Finds the first of very many rules that matches without looking at the others. */
export interface RuleIndex {
  /** The first rule that matches, not before `from`; undefined when there is none. */
  first(facts: Facts, from?: number): number | undefined;
  /** Of memory, without the rules themselves. */
  bytes(): number;
}

const start: Key = 0x1b873593;

/**
 * Each rule lies at the end of paths of keys, one key for each step of its place; a request walks those that exist. What lies
 * there is held against it as it is written, so that the index decides nothing. Yields after each piece of some microseconds.
 */
export function* makeRuleIndex(rules: readonly PolicyRule[], absence: Absence): Generator<void, RuleIndex> {
  const chains = createChains();
  const keys = createKeys();
  // From the last to the first: what is added last comes first in a chain.
  for (let at = rules.length - 1; at >= 0; at -= 1) {
    yield;
    for (const needs of placesOf(rules[at] as PolicyRule, absence)) {
      for (const [count, path] of (yield* pathsTo(needs, chains, keys)).entries()) {
        if (chains.isFull()) yield* chains.grow();
        chains.add(path, at);
        if (isTurn(count)) yield;
      }
    }
  }
  const crowds = yield* makeCrowds(chains, rules);
  return {
    first(facts, from = 0) {
      const isMatch = (at: number) => matches(rules[at] as PolicyRule, facts, absence);
      // It matches rules that lie nowhere near it. No connection is ever judged so: it is over before.
      if (facts.source === undefined && absence === 'matches') return inTurn(rules.length, from, isMatch);
      return firstOf({ chains, keys, crowds }, facts, from, isMatch);
    },
    bytes: () => chains.bytes() + crowds.bytes(),
  };
}

/** The ends of all combinations of what a place needs; behind its last need nothing is asked for. */
function* pathsTo(place: Place, chains: Chains, keys: Keys): Generator<void, readonly Key[]> {
  let paths: Key[] = [start];
  for (const need of place.slice(0, place.findLastIndex((one) => one !== undefined) + 1)) {
    const next: Key[] = [];
    for (const key of yield* keys.toward(need)) {
      for (const path of paths) {
        if (chains.isFull()) yield* chains.grow();
        chains.touch(mixed(path, key));
        next.push(mixed(path, key));
        if (isTurn(next.length)) yield;
      }
    }
    paths = next;
  }
  return paths;
}

function inTurn(length: number, from: number, isMatch: (at: number) => boolean): number | undefined {
  for (let at = from; at < length; at += 1) if (isMatch(at)) return at;
  return undefined;
}

/** Rules at a place are in their order, so that it is left as soon as they come after one that matches. */
function firstOf(
  { chains, keys, crowds }: { chains: Chains; keys: Keys; crowds: Crowds },
  facts: Facts,
  from: number,
  isMatch: (at: number) => boolean,
): number | undefined {
  let first: number | undefined;
  const steps = keys.of(facts);
  /** Whether those behind it need not be looked at. */
  const isEnough = (at: number) => {
    if (first !== undefined && at >= first) return true;
    if (at < from || !isMatch(at)) return false;
    first = at;
    return true;
  };
  const walk = (path: Key, depth: number) => {
    const lists = crowds.at(path, facts);
    for (const list of lists ?? []) list.some(isEnough);
    let entry = lists === undefined ? chains.first(path) : 0;
    while (entry !== 0 && !isEnough(chains.valueAt(entry))) entry = chains.next(entry);
    for (const key of steps[depth] ?? []) {
      const next = mixed(path, key);
      if (chains.has(next)) walk(next, depth + 1);
    }
  };
  walk(start, 0);
  return first;
}
