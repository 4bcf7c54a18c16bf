import { escapeSteering, printable, printableJson } from './printable.ts';

/** As many characters as the longest level, so that messages stand below each other. */
const levelWidth = 6;

/** What a person reads last: the details of a failure are behind what they are about. */
const atTheEnd = ['detail', 'otherHappened', 'otherRemedy', 'remedy'];

/**
 * One entry of a log, a line of JSON, as one line for a person: time, level, message, and the fields as key=value. Whatever
 * is in them, it stays one line, in which nothing steers the terminal.
 */
export function textLine(json: string): string {
  const entry = readEntry(json);
  if (entry === undefined) return `${printable(json)}\n`;
  const { time, level, msg, ...fields } = entry;
  const names = Object.keys(fields).filter((name) => !atTheEnd.includes(name));
  const last = atTheEnd.filter((name) => Object.hasOwn(fields, name));
  const shown = [...names, ...last].map((name) => `${word(name)}=${shownValue(fields[name])}`);
  const head = `${printable(String(time))} ${printable(String(level)).padEnd(levelWidth)}${printable(String(msg ?? ''))}`;
  return `${[head, ...shown].join(' ')}\n`;
}

function readEntry(json: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Readonly<Record<string, unknown>>)
      : undefined;
  } catch {
    return undefined;
  }
}

/** Text that cannot be taken for the beginning of another field stands as it is; all else as JSON has it. */
function shownValue(value: unknown): string {
  return typeof value === 'string' ? word(value) : printableJson(value);
}

function word(text: string): string {
  return /^[\x21\x23-\x3c\x3e-\x7e]+$/.test(text) ? text : escapeSteering(JSON.stringify(text));
}
