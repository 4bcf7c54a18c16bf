import { parse } from 'yaml';

/** A change to the code that no test notices. */
export interface Survivor {
  /** Path from the root of the project. */
  readonly file: string;
  /** The lines that change, with single spaces between words, and what becomes of them. */
  readonly code: string;
  readonly becomes: string;
}

export interface ListedSurvivor extends Survivor {
  /** Why no test can tell, or need not. */
  readonly why: string;
}

/** What is between the survivors of a run and the list. */
export interface Comparison {
  readonly unlisted: readonly Survivor[];
  /** They have been killed, or their code is no longer there. */
  readonly gone: readonly ListedSurvivor[];
}

/** Reads the list; throws a `TypeError` for an entry that is not whole. */
export function parseSurvivors(text: string): ListedSurvivor[] {
  const list: unknown = parse(text) ?? [];
  if (!Array.isArray(list)) throw new TypeError('The list of survivors is not a list');
  return list.map((entry: Partial<ListedSurvivor>, index) => {
    const { file, code, becomes, why } = entry;
    if (![file, code, becomes, why].every((field) => typeof field === 'string' && field !== ''))
      throw new TypeError(`Survivor ${index + 1} needs a file, code, what it becomes, and why`);
    return entry as ListedSurvivor;
  });
}

/** Entries about files outside of `files` are not looked at: this run did not change them. */
export function compareSurvivors(
  found: readonly Survivor[],
  listed: readonly ListedSurvivor[],
  files: readonly string[],
): Comparison {
  const isIn = (one: Survivor, others: readonly Survivor[]) => others.some((other) => keyOf(one) === keyOf(other));
  return {
    unlisted: found.filter((one) => !isIn(one, listed)),
    gone: listed.filter((one) => files.includes(one.file) && !isIn(one, found)),
  };
}

function keyOf({ file, code, becomes }: Survivor): string {
  return JSON.stringify([file, code, becomes]);
}

/** Where a mutant is; lines and columns begin with 1. */
export interface Location {
  readonly start: { readonly line: number; readonly column: number };
  readonly end: { readonly line: number; readonly column: number };
}

/** A mutant as the lines that it changes. */
export function survivorAt(file: string, source: string, { start, end }: Location, replacement: string): Survivor {
  const lines = source.split('\n').slice(start.line - 1, end.line);
  const before = lines[0]?.slice(0, start.column - 1) ?? '';
  const behind = lines.at(-1)?.slice(end.column - 1) ?? '';
  return { file, code: oneLine(lines.join('\n')), becomes: oneLine(`${before}${replacement}${behind}`) };
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}
