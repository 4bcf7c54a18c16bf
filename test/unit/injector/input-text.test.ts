import { expect, it } from 'vitest';
import { inputText } from '../../../src/injector/input-text.ts';

const bytes = (text: string) => new TextEncoder().encode(text);

it.each([
  ['YAML with every kind of character', 'a: "ä€😀\t"\r\nb: 1\n'],
  ['JSON with a line separator, which is text there', '{"a":"\u2028\u0085"}'],
  ['the character that stands for what could not be read', 'a: \ufffd\n'],
])('%s is text', (_, text) => {
  expect(inputText(bytes(text))).toEqual({ kind: 'text', text });
});

it.each([
  ['NUL', 'a: 1\n---\nb: \0', 'Document 2, line 3, column 4: The character U+0000'],
  ['NUL in JSON', '{"a":"\0"}', 'Document 1, line 1, column 7: The character U+0000'],
  ['a byte order mark', '\ufeffa: 1', 'Document 1, line 1, column 1: A byte order mark'],
  ['a byte order mark before JSON', '\ufeff{}', 'Document 1, line 1, column 1: A byte order mark'],
  [
    'a line separator, which ends a comment for kubectl',
    '---\n# \u2028hostNetwork: true',
    'Document 1, line 2, column 3',
  ],
  ['a next line character', '# \u0085hostNetwork: true', 'Document 1, line 1, column 3: The character U+0085'],
  ['a carriage return alone', 'a: 1\rb: 2', 'Document 1, line 1, column 5: The character U+000D'],
  ['an escape character', 'a: \x1b[2J', 'Document 1, line 1, column 4: The character U+001B'],
])('%s is refused with its place', (_, text, problem) => {
  expect(inputText(bytes(text))).toEqual({ kind: 'broken', problem: expect.stringContaining(problem) });
});

it.each([
  ['a byte that begins nothing', [0x61, 0x0a, 0xff], 'Document 1, line 2, column 1: these bytes are no UTF-8'],
  ['a character that is cut', [0x61, 0xc3, 0xa4, 0xe2, 0x82], 'Document 1, line 1, column 3: these bytes are no UTF-8'],
  ['UTF-16', [0xff, 0xfe, 0x61, 0], 'Document 1, line 1, column 1: these bytes are no UTF-8'],
])('%s is refused with its place', (_, list, problem) => {
  expect(inputText(Uint8Array.from(list))).toEqual({ kind: 'broken', problem });
});
