import type { PolicyCondition, PolicyOperation, PolicyRule, PolicySource } from '../control-api.ts';
import type { Facts, Subject } from './facts.ts';
import { isListed } from './long-list.ts';
import type { Syntax } from './pattern.ts';

/** What a condition that may match without what it is about does then: a negated one, and one about an address. */
export type Absence = 'matches' | 'fails';

/** Something of a request must be among `some` and not among `none`, where they are given. */
export interface Condition {
  readonly subject: Subject;
  readonly syntax: Syntax;
  readonly some: readonly string[] | undefined;
  readonly none: readonly string[] | undefined;
}

/** Whether a rule matches, looked through as it is written. */
export function matches({ from, to, when }: PolicyRule, facts: Facts, absence: Absence): boolean {
  return (
    (from === undefined || from.some((source) => isFrom(source, facts, absence))) &&
    (to === undefined || to.some((operation) => isTo(operation, facts))) &&
    (when === undefined || when.every((condition) => holds(condition, facts, absence)))
  );
}

/** The conditions of a source; all of them must hold. */
export function conditionsOf(source: PolicySource): readonly Condition[] {
  const { principals, notPrincipals, namespaces, notNamespaces } = source;
  const { serviceAccounts, notServiceAccounts, ipBlocks, notIpBlocks } = source;
  const all: readonly Condition[] = [
    { subject: 'principal', syntax: 'pattern', some: principals, none: notPrincipals },
    { subject: 'namespace', syntax: 'pattern', some: namespaces, none: notNamespaces },
    { subject: 'serviceAccount', syntax: 'literal', some: serviceAccounts, none: notServiceAccounts },
    { subject: 'source', syntax: 'block', some: ipBlocks, none: notIpBlocks },
  ];
  return all.filter(({ some, none }) => some !== undefined || none !== undefined);
}

/** What a condition of `when` is about; undefined for the port, which is a number. */
export function conditionOf({ key, values: some, notValues: none }: PolicyCondition): Condition | undefined {
  switch (key) {
    case 'source.principal':
      return { subject: 'principal', syntax: 'pattern', some, none };
    case 'source.namespace':
      return { subject: 'namespace', syntax: 'pattern', some, none };
    case 'source.ip':
      return { subject: 'source', syntax: 'block', some, none };
    case 'destination.ip':
      return { subject: 'destination', syntax: 'block', some, none };
    case 'destination.port':
      return undefined;
    default:
      return key satisfies never;
  }
}

function isFrom(source: PolicySource, facts: Facts, absence: Absence): boolean {
  return conditionsOf(source).every((condition) => passes(condition, facts, absence));
}

function isTo({ ports, notPorts }: PolicyOperation, { port }: Facts): boolean {
  return (ports === undefined || ports.includes(port)) && !notPorts?.includes(port);
}

function holds(condition: PolicyCondition, facts: Facts, absence: Absence): boolean {
  const { values, notValues } = condition;
  const about = conditionOf(condition);
  if (about !== undefined) return passes(about, facts, absence);
  const port = `${facts.port}`;
  return (values === undefined || values.includes(port)) && !notValues?.includes(port);
}

function passes({ subject, syntax, some, none }: Condition, facts: Facts, absence: Absence): boolean {
  const value = facts[subject];
  // A peer without an identity is known to be none of those that are named; one without an address may be any of them.
  if (value === undefined && absence === 'matches') return some === undefined || subject === 'source';
  if (value === undefined) return some === undefined && none === undefined;
  return (
    (some === undefined || isListed(value, some, syntax)) && (none === undefined || !isListed(value, none, syntax))
  );
}
