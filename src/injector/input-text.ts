import { isUtf8 } from 'node:buffer';

/** Bytes of the largest input of `remora inject`. */
export const mostInputBytes = 16 * 1024 * 1024;

export type InputText =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'broken'; readonly problem: string };

/**
 * Bytes as text of Kubernetes objects. Refuses what is no UTF-8, and in YAML every character that ends a line for some
 * readers only, because they would read another object than we do; in JSON only a byte order mark and NUL.
 */
export function inputText(bytes: Uint8Array): InputText {
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
  if (!isUtf8(bytes)) return broken(text, firstDifference(text, bytes), 'these bytes are no UTF-8');
  const forbidden =
    jsonOf(text) !== undefined ? /[\0\ufeff]/ : /[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ufefe\uff00-\ufffd]|\r(?!\n)/u;
  const found = forbidden.exec(text.replaceAll(/[\u{10000}-\u{10ffff}]/gu, '  '));
  if (found === null) return { kind: 'text', text };
  return broken(text, found.index, `${nameOf(found[0])} is not read alike by every reader, expected text without it`);
}

/** The object or list that a text is as JSON; undefined when it is something else. */
export function jsonOf(text: string): unknown {
  if (!/^\s*[{[]/.test(text)) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function nameOf(char: string): string {
  if (char === '\ufeff') return 'A byte order mark';
  const hex = (char.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');
  return `The character U+${hex}`;
}

/** Where the text stops to be what the bytes say. */
function firstDifference(text: string, bytes: Uint8Array): number {
  const encoded = new TextEncoder().encode(text);
  const offset = encoded.findIndex((byte, index) => byte !== bytes[index]);
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes.subarray(0, offset)).replace(/\ufffd$/, '').length;
}

function broken(text: string, offset: number, why: string): InputText {
  const before = text.slice(0, offset);
  const line = before.split('\n').length;
  const column = offset - before.lastIndexOf('\n');
  return { kind: 'broken', problem: `Document ${documentAt(before)}, line ${line}, column ${column}: ${why}` };
}

/** From 1; a marker before anything else begins the first document. */
function documentAt(before: string): number {
  const [head = '', ...others] = before.split(/^---(?:\s|$)/m);
  return head.replaceAll(/^(?:#|%).*$/gm, '').trim() === '' && others.length > 0 ? others.length : others.length + 1;
}
