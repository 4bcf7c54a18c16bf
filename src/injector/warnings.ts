/** What the API server shows of warnings: more of one is cut there, more of all is left out (characters). */
export const warningLimits = { each: 256, all: 4096 } as const;

/** Characters of the message of a refusal; events show the first thousand. */
const longestMessage = 4096;

/** The warnings as the API server shows them whole: on one line each, cut at its limit, as many as fit. */
export function fittingWarnings(all: readonly string[]): string[] {
  const fitting: string[] = [];
  let left: number = warningLimits.all;
  for (const text of new Set(all)) {
    const line = cut(oneLine(text), warningLimits.each);
    if (line.length > left) break;
    left -= line.length;
    fitting.push(line);
  }
  return fitting;
}

/** Every problem in one message, cut where a person has long stopped reading. */
export function oneMessage(problems: readonly string[]): string {
  return cut(problems.map(oneLine).join('; '), longestMessage);
}

/** Of what no terminal prints, nothing is left. */
function oneLine(text: string): string {
  return text.toWellFormed().replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ');
}

/** At most `length` UTF-16 units, which are never fewer than characters. */
function cut(text: string, length: number): string {
  if (text.length <= length) return text;
  // A pair that was cut in its middle leaves half a character, which is none.
  return `${text.slice(0, length - 1).replace(/[\uD800-\uDBFF]$/, '')}…`;
}
