import { applyPatch } from 'rfc6902';

/** One operation of a JSON patch (RFC 6902). */
export type Operation =
  | { readonly op: 'add' | 'replace'; readonly path: string; readonly value: unknown }
  | { readonly op: 'remove'; readonly path: string };

/** A JSON pointer (RFC 6901) from its unescaped parts. */
export function pointer(...parts: readonly (string | number)[]): string {
  return parts.map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

/** The unescaped parts of a JSON pointer. */
export function pointerParts(path: string): string[] {
  return path
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
}

/** The same operations on an object that holds the first one at `prefix`, itself a JSON pointer. */
export function patchBelow(prefix: string, patch: readonly Operation[]): Operation[] {
  return patch.map((operation) => ({ ...operation, path: `${prefix}${operation.path}` }));
}

/** Applies a patch to a value in its place, from a copy of its own. Throws `TypeError` when it does not fit: a mistake of the program. */
export function applyTo(value: unknown, patch: readonly Operation[]): void {
  const copy = JSON.parse(JSON.stringify(patch)) as Parameters<typeof applyPatch>[1];
  for (const error of applyPatch(value, copy)) {
    if (error !== null) throw new TypeError(`The patch does not fit: ${error.message}`);
  }
}
