import { expect, it } from 'vitest';
import { messageOf } from '../../src/errors.ts';

it.each([
  ['what is on one line as it is', ' a  b\t', ' a  b\t'],
  ['several lines on one', 'a\r\n  b \n\n c', 'a b c'],
  ['what is no error', 7, '7'],
])('tells %s', (_, thrown, message) => {
  expect(messageOf(thrown)).toBe(message);
  expect(messageOf(new Error(String(thrown)))).toBe(message);
});

it('takes no longer for white space than for other text', () => {
  const text = `a${' '.repeat(1_000_000)}b`;
  const startedMs = performance.now();
  expect(messageOf(`${text}\n${text}`)).toBe(`${text} ${text}`);
  expect(performance.now() - startedMs).toBeLessThan(5000);
});
