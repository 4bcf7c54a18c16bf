import { conditionKeys } from '../../control-api.ts';
import type { Path } from './finding.ts';
import { shown } from './finding.ts';
import { suggested } from './schema.ts';
import { blockRange, namespacePattern, portPattern } from './values.ts';

export type ConditionKey = (typeof conditionKeys)[number];

/** Keys of conditions that are about a request of HTTP. */
const httpKeys: readonly RegExp[] = [
  /^request\.headers\[.+\]$/,
  /^request\.auth\.claims\[.+\]$/,
  /^request\.auth\.(?:principal|audiences|presenter)$/,
];

/** Keys that Istio knows, and that no sidecar of this mesh can look at. */
const unsupportedKeys: readonly string[] = ['remote.ip', 'connection.sni', 'source.serviceAccount'];

export const isHttpKey = (key: string): boolean => httpKeys.some((pattern) => pattern.test(key));
export const isConditionKey = (key: string): key is ConditionKey => (conditionKeys as readonly string[]).includes(key);

interface Condition {
  readonly key: string;
  readonly values?: readonly string[] | null | undefined;
  readonly notValues?: readonly string[] | null | undefined;
}

interface ConditionProblem {
  /** Within the condition. */
  readonly path: Path;
  readonly predicate: string;
}

/** What of a condition cannot be enforced. */
export function conditionProblems({ key, values, notValues }: Condition): readonly ConditionProblem[] {
  if (isHttpKey(key)) return [];
  if (!isConditionKey(key)) return [{ path: ['key'], predicate: `is ${shown(key)}, which ${whyNot(key)}` }];
  const inList = (name: string, list: readonly string[] | null | undefined) =>
    (list ?? []).flatMap((value, index) => {
      const expected = expectedOf(key, value);
      if (expected === undefined) return [];
      return [{ path: [name, index], predicate: `is ${shown(value)}, expected ${expected} for ${key}` }];
    });
  return [...inList('values', values), ...inList('notValues', notValues)];
}

function whyNot(key: string): string {
  if (unsupportedKeys.includes(key) || key.startsWith('experimental.'))
    return `is not supported, expected one of ${conditionKeys.join(', ')}`;
  return `is no attribute, ${suggested(key, conditionKeys)}`;
}

/** What a value should have been; undefined when it is as it should be. */
function expectedOf(key: ConditionKey, value: string): string | undefined {
  switch (key) {
    case 'source.ip':
    case 'destination.ip':
      return blockRange(value) ? undefined : 'an IP address or a CIDR';
    case 'destination.port':
      return portPattern.test(value) ? undefined : 'a port from 1 to 65535';
    case 'source.namespace':
      return namespacePattern.test(value) ? undefined : 'a namespace, with * first or last at most';
    case 'source.principal':
      return undefined;
    default:
      return key satisfies never;
  }
}
