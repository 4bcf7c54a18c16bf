import { formatDuration, parseDuration } from '../durations.ts';
import { isSecret } from './given.ts';
import { nearest } from './nearest.ts';

/** What the texts of one place said; `text` is the first that is not of the kind. */
export type Reading<T> =
  | { readonly kind: 'value'; readonly value: T }
  /** `expected` says more than that of the kind, for values with parts. */
  | { readonly kind: 'bad'; readonly text: string; readonly expected?: string };

/**
 * How the value of a setting is written and read. `Suffix` is the unit that the setting's name gains in the program, so
 * that a duration of the file, `drainDeadline`, is `drainDeadlineMs` in the code.
 */
export interface Kind<T, Suffix extends string = ''> {
  /** With its article, to complete "… is not a duration". */
  readonly name: string;
  /** Completes "… expected a number with a unit such as 5s". */
  readonly expected: string;
  /** Shown for the value in the help, `<duration>`. */
  readonly placeholder: string;
  readonly suffix: Suffix;
  /** What a value is in a YAML file; a quoted number is a string there. */
  readonly inFile: 'string' | 'number' | 'boolean';
  /** Whether several texts make the value: a YAML sequence, a flag given again, or commas. */
  readonly isList: boolean;
  /** A kind that is no list takes exactly one text. */
  read(texts: readonly string[]): Reading<T>;
  /** The value as a person writes it. */
  show(value: T): string;
  /** What was probably meant by a text that is not of this kind. */
  suggest(text: string): string | undefined;
}

/** A kind of one text. */
export interface Scalar<T, Suffix extends string = ''> extends Kind<T, Suffix> {
  parse(text: string): T | undefined;
}

interface ScalarParts<T, Suffix extends string> {
  name: string;
  expected: string;
  placeholder: string;
  suffix?: Suffix;
  inFile?: Kind<T>['inFile'];
  parse(text: string): T | undefined;
  show?(value: T): string;
  suggest?(text: string): string | undefined;
}

export function scalar<T, Suffix extends string = ''>(parts: ScalarParts<T, Suffix>): Scalar<T, Suffix> {
  return {
    suffix: '' as Suffix,
    inFile: 'string',
    isList: false,
    show: String,
    suggest: () => undefined,
    read([text = '']) {
      const value = parts.parse(text);
      return value === undefined ? { kind: 'bad', text } : { kind: 'value', value };
    },
    ...parts,
  };
}

/** Several values of another kind. */
export function listOf<T>(kind: Scalar<T>): Kind<readonly T[]> {
  return {
    ...kind,
    placeholder: `${kind.placeholder},…`,
    isList: true,
    show: (values) => values.map(kind.show).join(','),
    read(texts) {
      const values: T[] = [];
      for (const text of texts) {
        const value = kind.parse(text);
        if (value === undefined) return { kind: 'bad', text };
        values.push(value);
      }
      return { kind: 'value', value: values };
    },
  };
}

const within = (value: number, min: number, max: number) => (value >= min && value <= max ? value : undefined);

/** Bounds are inclusive, milliseconds. */
export function duration(minMs: number, maxMs: number): Scalar<number, 'Ms'> {
  return scalar({
    name: 'a duration',
    expected: `a number with a unit such as 5s (${formatDuration(minMs)} to ${formatDuration(maxMs)})`,
    placeholder: 'duration',
    suffix: 'Ms',
    parse: (text) => within(parseDuration(text) ?? Number.NaN, minMs, maxMs),
    show: formatDuration,
  });
}

/** A duration, or the word `never`. Bounds are inclusive, milliseconds. */
export function durationOrNever(minMs: number, maxMs: number): Scalar<number | 'never', 'Ms'> {
  const bounded = duration(minMs, maxMs);
  return scalar<number | 'never', 'Ms'>({
    name: 'a duration',
    expected: `${bounded.expected}, or never`,
    placeholder: 'duration|never',
    suffix: 'Ms',
    parse: (text) => (text === 'never' ? text : bounded.parse(text)),
    show: (value) => (value === 'never' ? value : formatDuration(value)),
  });
}

/** Bounds are inclusive. */
export function integer(min: number, max: number): Scalar<number> {
  return scalar({
    name: 'an integer',
    expected: `a whole number from ${min} to ${max}`,
    placeholder: 'number',
    inFile: 'number',
    parse: (text) => (/^\d{1,15}$/.test(text) ? within(Number(text), min, max) : undefined),
  });
}

/** Bounds are inclusive. */
export function fraction(min: number, max: number): Scalar<number> {
  return scalar({
    name: 'a fraction',
    expected: `a number from ${min} to ${max} such as 0.5`,
    placeholder: 'fraction',
    inFile: 'number',
    parse: (text) => (/^[01](?:\.\d{1,6})?$/.test(text) ? within(Number(text), min, max) : undefined),
  });
}

const sizeUnits: Readonly<Record<string, number>> = { KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

function showSize(bytes: number): string {
  const unit = Object.entries(sizeUnits).findLast(([, factor]) => bytes >= factor && bytes % factor === 0);
  return unit === undefined ? `${bytes}B` : `${bytes / unit[1]}${unit[0]}`;
}

/** Bounds are inclusive, bytes. */
export function size(minBytes: number, maxBytes: number): Scalar<number, 'Bytes'> {
  return scalar({
    name: 'a size',
    expected: `a whole number of KiB, MiB or GiB such as 64KiB (${showSize(minBytes)} to ${showSize(maxBytes)})`,
    placeholder: 'size',
    suffix: 'Bytes',
    parse: (text) => {
      const match = /^(\d{1,9})([KMG]iB)$/.exec(text);
      return within(Number(match?.[1]) * (sizeUnits[match?.[2] ?? ''] ?? Number.NaN), minBytes, maxBytes);
    },
    show: showSize,
  });
}

export function oneOf<const T extends string>(what: string, values: readonly T[]): Scalar<T> {
  return scalar({
    name: what,
    expected: `one of ${values.join(', ')}`,
    placeholder: values.join('|'),
    parse: (text) => values.find((value) => value === text),
    suggest: (text) => nearest(text, values),
  });
}

export const boolean = scalar<boolean>({
  name: 'a boolean',
  expected: 'true or false',
  placeholder: 'true|false',
  inFile: 'boolean',
  parse: (text) => (text === 'true' ? true : text === 'false' ? false : undefined),
});

export const path = scalar<string>({
  name: 'a path',
  expected: 'the name of a file',
  placeholder: 'file',
  // A secret that passed for a name would be in every log line that says that there is no such file.
  parse: (text) => (text !== '' && !text.includes('\0') && !isSecret(text) ? text : undefined),
});
