import { parseDate } from '../../clock.ts';
import type { Scope } from './scope.ts';

export type Labels = Readonly<Record<string, string>>;

/** The objects of one kind in one namespace, the oldest first, as Istio orders them; equally old ones by name. */
export interface ScopedObjects<T> {
  /** Those that select all of the namespace. */
  readonly wide: readonly T[];
  /** Whether there are others. */
  readonly hasSelectors: boolean;
  /** Those whose selector these labels satisfy. Costs what the labels and the answer cost, however many others there are. */
  selecting(labels: Labels): readonly T[];
}

const none: ScopedObjects<never> = { wide: [], hasSelectors: false, selecting: () => [] };

/** The objects by their namespace. */
export function indexScopes<T extends Scope>(objects: readonly T[]): (namespace: string) => ScopedObjects<T> {
  const ages = new Map(objects.map((one) => [one, ageOf(one)]));
  const inOrder = objects.toSorted((one, other) => {
    const difference = (ages.get(one) ?? 0) - (ages.get(other) ?? 0);
    if (difference !== 0) return difference;
    return one.name < other.name ? -1 : 1;
  });
  const byNamespace = new Map(
    [...Map.groupBy(inOrder, ({ namespace }) => namespace)].map(([name, group]) => [name, indexNamespace(group)]),
  );
  return (namespace) => byNamespace.get(namespace) ?? none;
}

/** What no API server has seen is as old as can be, and what has a time that cannot be read as young. A difference of such is a number, unlike one of infinities. */
export function ageOf({ creationTimestamp }: Scope): number {
  if (creationTimestamp === undefined) return Number.MIN_SAFE_INTEGER;
  const ms = parseDate(creationTimestamp);
  return Number.isNaN(ms) ? Number.MAX_SAFE_INTEGER : ms;
}

function indexNamespace<T extends Scope>(inOrder: readonly T[]): ScopedObjects<T> {
  const wide = inOrder.filter((one) => isWide(one));
  const narrow = inOrder.filter((one) => !isWide(one));
  const rank = new Map(narrow.map((one, index) => [one, index]));
  const byFirstLabel = Map.groupBy(narrow, ({ selector = {} }) => nameOf(Object.entries(selector)[0] ?? ['', '']));
  return {
    wide,
    hasSelectors: narrow.length > 0,
    selecting: (labels) =>
      Object.entries(labels)
        .flatMap((label) => byFirstLabel.get(nameOf(label)) ?? [])
        .filter(({ selector = {} }) => Object.entries(selector).every(([key, value]) => labels[key] === value))
        .sort((one, other) => (rank.get(one) ?? 0) - (rank.get(other) ?? 0)),
  };
}

/** Istio reads an empty selector as none. */
export function isWide({ selector }: Scope): boolean {
  return selector === undefined || Object.keys(selector).length === 0;
}

function nameOf([key, value]: readonly [string, string]): string {
  return `${key}=${value}`;
}
