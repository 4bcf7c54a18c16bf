const units = ['d', 'h', 'm', 's', 'ms'] as const;
const unitMs: Readonly<Record<string, number>> = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1 };

/** The longest duration that is taken, 10,000 days: a wall time plus it can still be written as a date. */
const longestMs = 10_000 * 86_400_000;

const oneUnit = '\\d{1,12}(?:\\.\\d{1,3})?';
const wellFormed = new RegExp(`^(?=.)${units.map((unit) => `(?:${oneUnit}${unit})?`).join('')}$`);

/**
 * Whole milliseconds of a duration such as `10s`, `1h`, `1.5h` or `1h30m`, or undefined when it is not one. Every number
 * needs a unit (`d`, `h`, `m`, `s`, `ms`) and the units descend; no sign, no exponent, no spaces. At most 10,000 days.
 */
export function parseDuration(text: string): number | undefined {
  if (!wellFormed.test(text)) return undefined;
  let totalMs = 0;
  for (const [, amount, unit = ''] of text.matchAll(/([\d.]+)([a-z]+)/g))
    totalMs += Number(amount) * (unitMs[unit] ?? 0);
  return totalMs <= longestMs ? Math.round(totalMs) : undefined;
}

/** A duration as a person writes it, `1h30m` or `0s`; `parseDuration` reads it back. Takes whole milliseconds, at least 0. */
export function formatDuration(durationMs: number): string {
  let restMs = durationMs;
  let text = '';
  for (const unit of units) {
    const perUnitMs = unitMs[unit] ?? 1;
    const amount = Math.floor(restMs / perUnitMs);
    if (amount > 0) text += `${amount}${unit}`;
    restMs -= amount * perUnitMs;
  }
  return text === '' ? '0s' : text;
}
