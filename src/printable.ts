const steering = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
const longest = 400;

/**
 * Text of somebody else on one line of a terminal: nothing in it steers the terminal or turns the reading direction, and it
 * has at most `limit` characters.
 */
export function printable(text: string, limit: number = longest): string {
  const line = text
    .trim()
    .replaceAll(/\s+/g, (space) => (space.includes('\n') ? ', ' : space))
    .replaceAll(steering, '\uFFFD');
  return line.length > limit ? `${line.slice(0, limit)}…` : line;
}

/** JSON of the same value, with every character escaped that would steer a terminal. */
export function printableJson(value: unknown, indent?: number): string {
  return escapeSteering(JSON.stringify(value, undefined, indent));
}

/** JSON text with the same meaning and without such characters, line breaks between its parts excepted. */
export function escapeSteering(json: string): string {
  // Most of what is written is ASCII, and then the question costs nothing.
  if (/^[\x20-\x7e]*\n?$/.test(json)) return json;
  return json.replaceAll(steering, (found) => (found === '\n' ? found : escaped(found)));
}

/** In UTF-16, as JSON has it. */
function escaped(text: string): string {
  return Array.from({ length: text.length }, (_, i) => `\\u${text.charCodeAt(i).toString(16).padStart(4, '0')}`).join(
    '',
  );
}
