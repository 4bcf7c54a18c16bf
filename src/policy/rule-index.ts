import type { PolicyRule } from '../control-api.ts';
import type { Chains } from './chains.ts';
import { createChains } from './chains.ts';
import type { Facts } from './facts.ts';
import { mixed } from './fingerprints.ts';
import type { Absence } from './rule.ts';
import { matches } from './rule.ts';
import type { Key, Keys } from './rule-keys.ts';
import { createKeys } from './rule-keys.ts';
import type { Place } from './rule-places.ts';
import { placesOf } from './rule-places.ts';

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
    for (const place of placesOf(rules[at] as PolicyRule, absence)) {
      for (const path of yield* pathsTo(place, chains, keys)) {
        if (chains.isFull()) yield* chains.grow();
        chains.add(path, at);
        yield;
      }
    }
  }
  return {
    first: (facts, from = 0) =>
      firstOf(chains, keys.of(facts), from, (at) => matches(rules[at] as PolicyRule, facts, absence)),
    bytes: chains.bytes,
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
        yield;
      }
    }
    paths = next;
  }
  return paths;
}

/** A chain is in the order of the rules, so that it is left as soon as its rules come after one that matches. */
function firstOf(
  chains: Chains,
  keys: readonly (readonly Key[])[],
  from: number,
  isMatch: (at: number) => boolean,
): number | undefined {
  let first: number | undefined;
  const walk = (path: Key, depth: number) => {
    for (let entry = chains.first(path); entry !== 0; entry = chains.next(entry)) {
      const at = chains.valueAt(entry);
      if (first !== undefined && at >= first) break;
      if (at < from || !isMatch(at)) continue;
      first = at;
      break;
    }
    for (const key of keys[depth] ?? []) {
      const next = mixed(path, key);
      if (chains.has(next)) walk(next, depth + 1);
    }
  };
  walk(start, 0);
  return first;
}
