import type { PolicyCondition, PolicyRule, PolicySource } from '../control-api.ts';
import type { Subject } from './facts.ts';
import type { Syntax } from './pattern.ts';
import type { Absence, Condition } from './rule.ts';
import { conditionOf, conditionsOf } from './rule.ts';

/** Something that holds wherever a rule matches whoever has an address. */
export type Need =
  /** One of these matches. */
  | { readonly kind: 'like'; readonly subject: Subject; readonly syntax: Syntax; readonly some: readonly string[] }
  /** It is there at all, or it is not. */
  | { readonly kind: 'present'; readonly subject: Subject }
  | { readonly kind: 'absent'; readonly subject: Exclude<Subject, 'destination'> }
  | { readonly kind: 'port'; readonly some: readonly number[] };

/** One need for each step, in the order in which an index takes them. */
export type Place = readonly [
  identity: Need | undefined,
  port: Need | undefined,
  source: Need | undefined,
  destination: Need | undefined,
];

/**
 * Where an index puts a rule: whatever it matches, with an address, has all that is needed of one of its places. There are never many more
 * combinations of what they need than there are texts in the rule.
 */
export function placesOf({ from, to, when = [] }: PolicyRule, absence: Absence): readonly Place[] {
  const shared = when.flatMap((condition) => needsOfWhen(condition, absence));
  if (to?.every(({ ports }) => ports !== undefined))
    shared.push({ kind: 'port', some: to.flatMap(({ ports = [] }) => ports) });
  const sources = (from ?? []).map((source) => needsOf(source, absence));
  const [only = []] = sources;
  if (sources.length <= 1) return [placeOf([...only, ...shared], [])];
  // A source without a need has its rule lie where the others need nothing either.
  if (sources.some((needs) => needs.length === 0)) return [placeOf(shared, [])];
  return sources.map((needs) => placeOf(needs, shared));
}

function needsOf(source: PolicySource, absence: Absence): readonly Need[] {
  return conditionsOf(source).flatMap((condition) => needOf(condition, absence));
}

function needsOfWhen(condition: PolicyCondition, absence: Absence): readonly Need[] {
  const about = conditionOf(condition);
  if (about !== undefined) return needOf(about, absence);
  return condition.values === undefined ? [] : [{ kind: 'port', some: condition.values.map(Number) }];
}

function needOf({ subject, syntax, some, none }: Condition, absence: Absence): readonly Need[] {
  if (some !== undefined) return [{ kind: 'like', subject, syntax, some }];
  if (none === undefined) return [];
  if (absence === 'fails') return [{ kind: 'present', subject }];
  // Everything that is there is excepted: so it is written that peers without an identity are denied.
  const isAbsent = syntax === 'pattern' && subject !== 'destination' && none.includes('*');
  return isAbsent ? [{ kind: 'absent', subject }] : [];
}

/** The best need for each step, while they do not multiply. `shared` ones are those of other sources as well. */
function placeOf(own: readonly Need[], shared: readonly Need[]): Place {
  const most = 4 + 2 * own.reduce((sum, need) => sum + sizeOf(need), 0);
  const needs = [...own, ...shared].sort((one, other) => selectivityOf(other) - selectivityOf(one));
  let combinations = 1;
  const take = (isOf: (need: Need) => boolean): Need | undefined => {
    const need = needs.find(isOf);
    if (need === undefined || combinations * sizeOf(need) > most) return undefined;
    combinations *= sizeOf(need);
    return need;
  };
  const about = (...subjects: readonly Subject[]) =>
    take((need) => need.kind !== 'port' && subjects.includes(need.subject));
  const identity = about('principal', 'serviceAccount', 'namespace');
  return [identity, take(({ kind }) => kind === 'port'), about('source'), about('destination')];
}

function sizeOf(need: Need): number {
  return need.kind === 'like' || need.kind === 'port' ? need.some.length : 1;
}

/** A guess, made from the first few texts: a wrong one costs time, and nothing else. */
function selectivityOf(need: Need): number {
  if (need.kind === 'port') return -need.some.length;
  if (need.kind !== 'like') return 0;
  const ofSubject = { principal: 3, serviceAccount: 2, namespace: 1, source: 0, destination: 0 }[need.subject];
  const isOpen = (text: string) => need.syntax === 'pattern' && (text.startsWith('*') || text.endsWith('*'));
  const lengths = need.some.slice(0, 8).map((text) => (isOpen(text) ? text.length - 1 : 1000));
  return Math.min(...lengths) + ofSubject;
}
