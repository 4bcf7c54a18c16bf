import { expect, it } from 'vitest';
import { isWithinShape } from '../../../src/control-plane/json-shape.ts';

const limits = { levels: 3, containers: 5 };
const isWithin = (text: string) => isWithinShape(Buffer.from(text), limits);

it.each(['', '7', '[[[]]]', '{"a":{"b":[1,2,3]}}', '[[],[],[],[]]', '[{},{},[[]]]'])('W1: lets pass %s', (text) => {
  expect(isWithin(text)).toBe(true);
});

it.each(['[[[[]]]]', '{"a":{"b":{"c":{}}}}', '[[],[],[],[],[]]', '[[[[', '[]'.repeat(6)])('W1: refuses %s', (text) => {
  expect(isWithin(text)).toBe(false);
});

it('takes no bracket in a text for one, also behind an escape', () => {
  expect(isWithin(JSON.stringify(['[[[[[[', '\\"[[[[[[', '"{{{{{{', '\\', 'é[[[[[[']))).toBe(true);
  expect(isWithin(`["\\\\",[[[]]]]`)).toBe(false);
});

it('says nothing of a text that is no JSON', () => {
  expect(isWithin(']]]]]]')).toBe(true);
  expect(isWithin('"\\')).toBe(true);
});
