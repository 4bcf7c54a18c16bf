/** Replaces the text from `start` to `end`; an insertion has both equal. */
export interface Splice {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** The text with every splice made. What lies inside of a replaced part has no effect; insertions at one place keep their order. */
export function spliced(text: string, splices: readonly Splice[]): string {
  const isReplacement = ({ start, end }: Splice) => Number(end > start);
  // The sort is stable; of replacements with the same beginning the outermost comes first.
  const sorted = splices.toSorted((a, b) => a.start - b.start || isReplacement(a) - isReplacement(b) || b.end - a.end);
  const parts: string[] = [];
  let at = 0;
  for (const { start, end, text: written } of sorted) {
    if (start < at) continue;
    parts.push(text.slice(at, start), written);
    at = end;
  }
  return [...parts, text.slice(at)].join('');
}
