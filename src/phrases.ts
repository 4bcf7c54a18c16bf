import { parseDate, timestamp } from './clock.ts';
import { formatDuration } from './durations.ts';
import { printable } from './printable.ts';

const secondMs = 1000;
const minuteMs = 60 * secondMs;
const hourMs = 60 * minuteMs;

/** `1 peer`, `2 peers`. */
export const counted = (count: number, one: string, many = `${one}s`): string => `${count} ${count === 1 ? one : many}`;

export const indented = (columns: number, lines: readonly string[]): string[] =>
  lines.map((line) => `${' '.repeat(columns)}${line}`);

const longestSetting = 120;

/** A setting, cut short, with where it is from where that is not its flag: `--max-connections 2 (REMORA_MAX_CONNECTIONS)`. */
export function asGiven(whole: string, from: string): string {
  const typed = whole.length <= longestSetting ? whole : `${whole.slice(0, longestSetting)}…`;
  return typed.startsWith(`${from} `) ? typed : `${typed} (${from})`;
}

/** What to do about an identity that is revoked. */
export const liftRevocation =
  'beside the control plane `remora control-plane revoke --list` shows it, `--lift` takes it back';

/** A time to the second; what is none as it came. */
export function moment(text: string): string {
  const atMs = parseDate(text);
  return Number.isNaN(atMs) ? printable(text) : timestamp(atMs).replace(/\.\d{3}Z$/, 'Z');
}

/** A duration as precise as a person needs it. */
export function roughly(durationMs: number): string {
  if (!(durationMs >= 0)) return 'an unknown time';
  const unitMs = durationMs < hourMs ? secondMs : durationMs < 48 * hourMs ? minuteMs : hourMs;
  return formatDuration(Math.floor(durationMs / unitMs) * unitMs);
}

/** `just now`, `2m ago`. */
export const agoOf = (durationMs: number): string =>
  durationMs < secondMs ? 'just now' : `${roughly(durationMs)} ago`;
