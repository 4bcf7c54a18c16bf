import * as v from 'valibot';
import { parseDate } from '../../clock.ts';
import { nearest } from '../../config/nearest.ts';
import { metadata } from '../store/metadata.ts';
import type { Finding, Path } from './finding.ts';
import { pathText, problem, shown } from './finding.ts';

/** An object in which a field that is not known is a problem: it may be what narrows a rule, or a field with a slip in it. */
export function closed<const E extends v.ObjectEntries>(entries: E) {
  const names = Object.keys(entries);
  return v.pipe(
    // To the next schema a list is an object too.
    v.custom<object>(isObject, ({ input }) => `is ${shown(input)}, expected an object`),
    v.looseObject(entries),
    v.rawCheck(({ dataset, addIssue }) => {
      const value = dataset.value as Record<string, unknown>;
      if (!dataset.typed && (typeof value !== 'object' || value === null)) return;
      for (const key of Object.keys(value).filter((name) => !Object.hasOwn(entries, name))) {
        const path = { type: 'object', origin: 'key', input: value, key, value: value[key] } as const;
        addIssue({ message: `is not known, ${suggested(key, names)}`, path: [path] });
      }
    }),
  );
}

/** A Map or a Set would be an object in which no field is set. */
const isObject = (input: unknown) =>
  typeof input === 'object' &&
  input !== null &&
  [Object.prototype, null].includes(Object.getPrototypeOf(input) as object | null);

/** What to write instead of a word that is none of those that are known. */
export function suggested(word: string, known: readonly string[]): string {
  const meant = nearest(word, known);
  return meant === undefined ? `expected ${listed(known)}` : `did you mean ${meant}?`;
}

function listed(words: readonly string[]): string {
  return words.length === 1 ? `${words[0]}` : `one of ${words.join(', ')}`;
}

export const text = v.string(({ input }) => `is ${shown(input)}, expected a string`);
export const value = v.pipe(text, v.minLength(1, 'is empty, expected a value'));

/** A list in which null is nothing, as the API server has it; what is empty stands for one that is absent. */
export const list = <S extends v.GenericSchema>(item: S) =>
  v.nullish(v.array(item, ({ input }) => `is ${shown(input)}, expected a list`));

/** A list of which Istio wants one item at least, where it is given. */
export const filledList = <S extends v.GenericSchema>(item: S) =>
  v.nullish(
    v.pipe(
      v.array(item, ({ input }) => `is ${shown(input)}, expected a list`),
      v.minLength(1, 'is an empty list, expected at least one item, or no such field'),
    ),
  );

export const choice = <const T extends readonly string[]>(choices: T) =>
  v.picklist(choices, ({ input }) => `is ${shown(input)}, expected one of ${choices.join(', ')}`);

const label = v.pipe(
  text,
  v.regex(/^[^*]*$/, ({ input }) => `is ${shown(input)}, expected a label as it is, without *`),
);

/** Istio's WorkloadSelector. */
export const selector = closed({
  matchLabels: v.nullish(v.record(v.pipe(label, v.minLength(1, 'is empty, expected the name of a label')), label)),
});

const creationTimestamp = v.nullish(
  v.pipe(
    v.string(),
    v.check((written) => !Number.isNaN(parseDate(written)), 'is no date and time, expected one of RFC 3339'),
  ),
);

/** An object of Istio with its `spec`. */
export const istioObject = <S extends v.GenericSchema>(spec: S, apiVersions: readonly string[], kind: string) =>
  closed({
    apiVersion: choice(apiVersions),
    kind: v.literal(kind),
    metadata: v.object({
      ...metadata.entries,
      creationTimestamp,
      annotations: v.nullish(v.record(v.string(), v.unknown())),
    }),
    spec,
    status: v.optional(v.unknown()),
  });

/** Whoever writes more mistakes than this into one object is told of the first ones. */
const mostFindings = 50;

/** Names that could reach a prototype; schemas pass over them without a word. */
const reservedKeys: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

/** Every way in which an object is not as its schema wants it. Never throws, whatever it is given. */
export function problemsOf(schema: v.GenericSchema, object: unknown): readonly Finding[] {
  const parsed = v.safeParse(schema, object);
  const issues = parsed.success ? [] : parsed.issues.map(findingOf);
  return [...reservedIn(object, []), ...issues].slice(0, mostFindings);
}

function findingOf(issue: v.BaseIssue<unknown>): Finding {
  const path = (issue.path ?? []).map(({ key }) => key as string | number);
  const isOfKey = issue.path?.at(-1)?.origin === 'key' && issue.input !== undefined;
  const isMissing = issue.input === undefined && issue.kind === 'schema';
  const predicate = isMissing ? 'is missing' : issue.message.startsWith('Invalid ') ? words(issue) : issue.message;
  return { severity: 'problem', path, isOfKey, why: `${pathText(path)} ${predicate}` };
}

function words({ input, expected }: v.BaseIssue<unknown>): string {
  return `is ${shown(input)}, expected ${expected === 'Object' ? 'an object' : expected}`;
}

/** Whatever Istio and the API server write lies within. */
const deepest = 40;

function reservedIn(object: unknown, path: Path): readonly Finding[] {
  if (typeof object !== 'object' || object === null) return [];
  if (path.length > deepest) return [problem(path, `is nested deeper than ${deepest} levels, expected less`)];
  return Object.entries(object).flatMap(([name, inner]) => {
    const here = [...path, Array.isArray(object) ? Number(name) : name];
    const isReserved = !Array.isArray(object) && reservedKeys.has(name);
    const own = isReserved ? [{ ...problem(here, 'is a reserved name, expected another'), isOfKey: true }] : [];
    return [...own, ...reservedIn(inner, here)];
  });
}
