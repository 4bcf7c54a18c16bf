import type { PolicyRule } from '../control-api.ts';
import type { Chains } from './chains.ts';
import type { Facts, Subject } from './facts.ts';
import type { Syntax } from './pattern.ts';
import { isLike, readPattern } from './pattern.ts';
import { conditionOf, conditionsOf } from './rule.ts';
import type { Key } from './rule-keys.ts';
import { isTurn } from './steps.ts';

/** Very many rules at one place, apart by what they except. */
export interface Crowds {
  /** Those at a place that do not for certain except the request, in lists; undefined where there are not very many. */
  at(path: Key, facts: Facts): readonly Uint32Array[] | undefined;
  /** Of memory. */
  bytes(): number;
}

/** What a rule never matches. */
type Exception =
  | { readonly subject: Subject; readonly syntax: Syntax; readonly text: string }
  | { readonly subject: 'port'; readonly port: number };

interface Crowd {
  /** In their order. */
  readonly rest: Uint32Array;
  readonly groups: readonly { readonly exception: Exception; readonly crowd: Crowd }[];
}

/** So many rules are looked through one by one, and so many texts of one. */
const shortLength = 32;
const sampleSize = 64;
/** What so many of a sample except is worth a group. */
const groupSample = 4;
const mostDepth = 4;

/**
 * Rules that only except somebody match nearly everybody, but of those whom all of them except each would have to be looked at:
 * DENY for whoever is not of the own namespace, a thousand times. So whoever is excepted passes by a group as a whole. Each rule is
 * in one group, or in none. Yields now and then.
 */
export function* makeCrowds(chains: Chains, rules: readonly PolicyRule[]): Generator<void, Crowds> {
  const byPath = new Map<Key, Crowd>();
  let members = 0;
  let count = 0;
  for (const path of chains.keys()) {
    if (isTurn(count++)) yield;
    if (!chains.isLongerThan(path, shortLength)) continue;
    const all: number[] = [];
    for (let entry = chains.first(path); entry !== 0; entry = chains.next(entry)) {
      all.push(chains.valueAt(entry));
      if (isTurn(all.length)) yield;
    }
    const crowd = yield* makeCrowd(all, rules, new Set());
    if (crowd.groups.length === 0) continue;
    members += all.length;
    byPath.set(path, crowd);
  }
  return {
    at(path, facts) {
      const crowd = byPath.get(path);
      return crowd && listsOf(crowd, facts, []);
    },
    bytes: () => members * 4,
  };
}

/** `taken` are the exceptions of the groups that it is in. */
function* makeCrowd(
  all: readonly number[],
  rules: readonly PolicyRule[],
  taken: ReadonlySet<string>,
): Generator<void, Crowd> {
  const frequent = all.length <= shortLength || taken.size === mostDepth ? [] : frequentIn(all, rules, taken);
  const rest: number[] = [];
  const groups = frequent.map(({ exception, name }) => ({ exception, name, members: [] as number[] }));
  for (const [place, at] of all.entries()) {
    const names = new Set(groups.length === 0 ? [] : exceptionsOf(rules[at]).map(nameOf));
    const group = groups.find(({ name }) => names.has(name));
    (group?.members ?? rest).push(at);
    if (isTurn(place)) yield;
  }
  const made: { exception: Exception; crowd: Crowd }[] = [];
  for (const { exception, name, members } of groups)
    made.push({ exception, crowd: yield* makeCrowd(members, rules, new Set([...taken, name])) });
  return { rest: Uint32Array.from(rest), groups: made };
}

function listsOf({ rest, groups }: Crowd, facts: Facts, lists: Uint32Array[]): readonly Uint32Array[] {
  lists.push(rest);
  for (const { exception, crowd } of groups) if (!isExcepted(exception, facts)) listsOf(crowd, facts, lists);
  return lists;
}

/** What many of some rules except, the most frequent first, as far as a sample shows. */
function frequentIn(all: readonly number[], rules: readonly PolicyRule[], taken: ReadonlySet<string>) {
  const counts = new Map<string, { readonly exception: Exception; readonly name: string; count: number }>();
  for (let sample = 0; sample < sampleSize; sample += 1) {
    for (const exception of exceptionsOf(rules[all[Math.floor((sample * all.length) / sampleSize)] ?? 0])) {
      const name = nameOf(exception);
      const counted = counts.get(name) ?? { exception, name, count: 0 };
      counts.set(name, counted);
      counted.count += 1;
    }
  }
  return [...counts.values()]
    .filter(({ name, count }) => count >= groupSample && !taken.has(name))
    .sort((one, other) => other.count - one.count);
}

/** None for a rule with several sources, or several operations: what one of them excepts another may not. */
function exceptionsOf(rule: PolicyRule | undefined): readonly Exception[] {
  const { from = [], to = [], when = [] } = rule ?? {};
  const sources = from.length === 1 ? from.flatMap(conditionsOf) : [];
  const found: Exception[] = [];
  for (const condition of [...sources, ...when.map(conditionOf)]) {
    if (condition === undefined) continue;
    const { subject, syntax, none = [] } = condition;
    for (const text of none.slice(0, shortLength)) found.push({ subject, syntax, text });
  }
  const [operation] = to.length === 1 ? to : [];
  for (const port of operation?.notPorts?.slice(0, shortLength) ?? []) found.push({ subject: 'port', port });
  return found;
}

function nameOf(exception: Exception): string {
  return exception.subject === 'port' ? `port ${exception.port}` : `${exception.subject} ${exception.text}`;
}

function isExcepted(exception: Exception, facts: Facts): boolean {
  if (exception.subject === 'port') return facts.port === exception.port;
  const value = facts[exception.subject];
  const pattern = readPattern(exception.text, exception.syntax);
  return value !== undefined && pattern !== undefined && isLike(value, pattern);
}
