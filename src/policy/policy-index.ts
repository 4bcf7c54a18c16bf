import { parsePort } from '../addresses.ts';
import type { AuthorizationPolicy, PolicyRule } from '../control-api.ts';
import type { Facts } from './facts.ts';
import { isLong, prepareList } from './long-list.ts';
import { readPattern } from './pattern.ts';
import type { Absence, Condition } from './rule.ts';
import { conditionOf, conditionsOf } from './rule.ts';
import { makeRuleIndex } from './rule-index.ts';
import { isTurn } from './steps.ts';

/** Policies with one action. A policy is told by its place in the order given. */
export interface PolicyGroup {
  readonly isEmpty: boolean;
  /** The first policy that matches, not before `from`; undefined when there is none. */
  first(facts: Facts, from?: number): number | undefined;
  /** Of memory, without the policies themselves. */
  bytes(): number;
}

export interface PolicySet {
  /** The first policy that decides and cannot be enforced as it is written; undefined when all can. */
  readonly broken: number | undefined;
  readonly deny: PolicyGroup;
  readonly allow: PolicyGroup;
  readonly audit: PolicyGroup;
}

export interface PolicyIndex {
  readonly policies: readonly AuthorizationPolicy[];
  readonly enforced: PolicySet;
  /** Policies that are on trial; undefined when none is. */
  readonly trial: PolicySet | undefined;
}

/** Makes what `judge` asks. Yields after each piece of some microseconds. */
export function* makePolicyIndex(policies: readonly AuthorizationPolicy[]): Generator<void, PolicyIndex> {
  const unreadable = new Set<number>();
  for (const [at, { rules }] of policies.entries()) {
    for (const rule of rules) {
      if (!(yield* prepareRule(rule))) unreadable.add(at);
      yield;
    }
  }
  const isOnTrial = policies.some(({ isDryRun }) => isDryRun === true);
  return {
    policies,
    enforced: yield* makeSet(policies, unreadable, false),
    trial: isOnTrial ? yield* makeSet(policies, unreadable, true) : undefined,
  };
}

function* makeSet(
  policies: readonly AuthorizationPolicy[],
  unreadable: ReadonlySet<number>,
  isTrial: boolean,
): Generator<void, PolicySet> {
  const isHere = (at: number) => (policies[at]?.isDryRun === true) === isTrial;
  const group = (wanted: AuthorizationPolicy['action'], absence: Absence) =>
    makeGroup(policies, (at) => isHere(at) && policies[at]?.action === wanted && !unreadable.has(at), absence);
  const broken = policies.findIndex(
    ({ action, problem }, at) => isHere(at) && action !== 'AUDIT' && (problem !== undefined || unreadable.has(at)),
  );
  return {
    broken: broken === -1 ? undefined : broken,
    deny: yield* group('DENY', 'matches'),
    allow: yield* group('ALLOW', 'fails'),
    audit: yield* group('AUDIT', 'matches'),
  };
}

function* makeGroup(
  policies: readonly AuthorizationPolicy[],
  isMember: (at: number) => boolean,
  absence: Absence,
): Generator<void, PolicyGroup> {
  const rules: PolicyRule[] = [];
  // Of each policy, whether it is a member or not: the number of rules before its own.
  const before = new Uint32Array(policies.length + 1);
  let isEmpty = true;
  for (const [at, policy] of policies.entries()) {
    if (isMember(at)) {
      isEmpty = false;
      for (const rule of policy.rules) rules.push(rule);
    }
    before[at + 1] = rules.length;
    yield;
  }
  const index = yield* makeRuleIndex(rules, absence);
  return {
    isEmpty,
    first(facts, from = 0) {
      const rule = index.first(facts, before[from]);
      return rule === undefined ? undefined : ownerOf(before, rule);
    },
    bytes: () => index.bytes() + before.byteLength + rules.length * 8,
  };
}

/** The policy of a rule: the last one with no more rules before it. */
function ownerOf(before: Uint32Array, rule: number): number {
  let [low, high] = [0, before.length - 2];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((before[middle] ?? 0) <= rule) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Prepares the long lists of a rule. False when a text of it is not the address, CIDR or port that it should be. */
function* prepareRule({ from = [], when = [] }: PolicyRule): Generator<void, boolean> {
  for (const { key, values = [], notValues = [] } of when)
    if (key === 'destination.port' && [...values, ...notValues].some((text) => parsePort(text) === undefined))
      return false;
  const conditions = [...from.flatMap(conditionsOf), ...when.map(conditionOf)];
  for (const condition of conditions)
    if (condition !== undefined && !(yield* prepareCondition(condition))) return false;
  return true;
}

function* prepareCondition({ syntax, some = [], none = [] }: Condition): Generator<void, boolean> {
  for (const list of [some, none]) {
    for (const [place, text] of syntax === 'block' ? list.entries() : []) {
      if (readPattern(text, syntax) === undefined) return false;
      if (isTurn(place)) yield;
    }
    if (isLong(list, syntax)) yield* prepareList(list, syntax);
  }
  return true;
}
