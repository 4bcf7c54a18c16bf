type Plain = string | number | boolean | null;

const words: ReadonlyMap<string, Plain> = new Map<string, Plain>([
  ...spellings(['y', 'yes', 'true', 'on'], true),
  ...spellings(['n', 'no', 'false', 'off'], false),
  ...spellings(['null', '~', ''], null),
  ...spellings(['.nan'], Number.NaN),
  ...spellings(['.inf', '+.inf'], Number.POSITIVE_INFINITY),
  ...spellings(['-.inf'], Number.NEGATIVE_INFINITY),
  ['.NaN', Number.NaN],
]);

/** `yes`, `Yes` and `YES`. */
function spellings(texts: readonly string[], value: Plain): [string, Plain][] {
  return texts
    .flatMap((text) => [text, text.replace(/[a-z]/, (letter) => letter.toUpperCase()), text.toUpperCase()])
    .map((text) => [text, value]);
}

const bases: readonly (readonly [pattern: RegExp, base: number])[] = [
  [/^([-+]?)0[xX]([0-9a-fA-F]+)$/, 16],
  [/^([-+]?)0[bB]([01]+)$/, 2],
  [/^([-+]?)0[oO]?([0-7]+)$/, 8],
];

/**
 * The value of an unquoted scalar as kubectl reads it (YAML 1.1 as go-yaml v2 has it): `yes` and `on` are true, `010` is
 * 8, `1_000` is 1000; dates, and numbers of base 60, are text.
 */
export function resolvePlain(text: string): Plain {
  const word = words.get(text);
  if (word !== undefined) return word;
  if (!/^[-+.\d]/.test(text)) return text;
  const digits = text.startsWith('.') ? text : text.replaceAll('_', '');
  for (const [pattern, base] of bases) {
    const [, sign, number] = pattern.exec(digits) ?? [];
    if (number !== undefined) return Number.parseInt(`${sign}${number}`, base);
  }
  return /^[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?$/.test(digits) ? Number(digits) : text;
}

/** A text that every reader of YAML takes as itself without quotes: none of its words, none of its numbers. */
function isSafePlain(text: string): boolean {
  return (
    /^(?:[A-Za-z/]|--[a-z])[\w./:@=+-]*$/.test(text) && !text.endsWith(':') && typeof resolvePlain(text) === 'string'
  );
}

/** JSON without characters that YAML refuses or takes for the end of a line. */
export function jsonText(value: unknown, space?: string): string {
  const escaped = (char: string) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return JSON.stringify(value, undefined, space).replaceAll(/[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]/g, escaped);
}

/** A scalar, or an empty collection, on one line and with the same meaning in YAML 1.1 and 1.2. */
export function scalarText(value: unknown): string {
  if (typeof value !== 'string') return jsonText(value);
  if (isSafePlain(value)) return value;
  // JSON in single quotes stays readable.
  return value.includes('"') && /^[\x20-\x26\x28-\x7e]+$/.test(value) ? `'${value}'` : jsonText(value);
}

/** A value as a flow collection on one line. */
export function flowText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(flowText).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return jsonText(value);
  const members = Object.entries(value).map(([key, member]) => `${jsonText(key)}: ${flowText(member)}`);
  return `{${members.join(', ')}}`;
}
