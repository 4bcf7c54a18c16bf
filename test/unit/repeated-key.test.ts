import fc from 'fast-check';
import { expect, it } from 'vitest';
import { repeatedKey } from '../../src/repeated-key.ts';

it.each([
  ['{"a":1,"a":2}', 'a'],
  ['[{"a":1},{"b":1,"c":{"x":[{"d":0,"d":0}]}}]', 'd'],
  ['{"a":1,"\\u0061":2}', 'a'],
  ['{"a":{"b":1},"c":{"b":1},"b":[{"b":1},{"b":1}]}', undefined],
  ['{"a":"{\\"b\\":1,\\"b\\":2}","b":":","c":"\\\\"}', undefined],
  ['{"__proto__":1,"__proto__":2}', '__proto__'],
  ['"a"', undefined],
])('finds the key that an object has twice in %s', (text, key) => {
  JSON.parse(text);
  expect(repeatedKey(text)).toBe(key);
});

it('looks below one member of the outermost object alone when it is told which', () => {
  expect(repeatedKey('{"a":1,"a":2,"data":{"b":1}}', 'data')).toBeUndefined();
  expect(repeatedKey('{"data":{"x":1,"x":2},"a":1}', 'data')).toBe('x');
  expect(repeatedKey('{"other":{"x":1,"x":2},"data":{"x":1}}', 'data')).toBeUndefined();
});

it('finds none in what JSON.stringify writes', () => {
  fc.assert(fc.property(fc.json(), (text) => repeatedKey(JSON.stringify(JSON.parse(text))) === undefined));
});
