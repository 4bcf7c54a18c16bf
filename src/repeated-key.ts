const tokens = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]/g;

interface Level {
  /** Undefined in an array. */
  readonly keys: Set<string> | undefined;
  key: string;
}

/**
 * A key that an object of a JSON text has twice, which JSON.parse hides: the last one counts there, and another reader may
 * take the first (RFC 8259 §4). Undefined when there is none. `text` must be what JSON.parse accepts; `within` leaves out what
 * is not below this member of the outermost object.
 */
export function repeatedKey(text: string, within?: string): string | undefined {
  const levels: Level[] = [];
  let previous = '';
  for (const [token] of text.matchAll(tokens)) {
    const inner = levels.at(-1);
    if (token === '{' || token === '[') levels.push({ keys: token === '{' ? new Set() : undefined, key: '' });
    else if (token === '}' || token === ']') levels.pop();
    else if (token === ':' && inner?.keys !== undefined) {
      inner.key = JSON.parse(previous);
      const isMeant = within === undefined || (levels.length > 1 && levels[0]?.key === within);
      if (isMeant && inner.keys.has(inner.key)) return inner.key;
      inner.keys.add(inner.key);
    }
    previous = token;
  }
  return undefined;
}
