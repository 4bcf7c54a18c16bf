import { expect, it } from 'vitest';
import { createPlaces } from '../../../src/control-plane/webhook-places.ts';

const limits = { requests: 4, bytes: 1000 };

it('W12: gives one address half of the places and no more, and the rest to others', () => {
  const places = createPlaces(limits);
  expect([places.take('a', 1), places.take('a', 1), places.take('a', 1)].map((one) => one !== undefined)).toEqual([
    true,
    true,
    false,
  ]);
  expect(places.take('b', 1)).toBeDefined();
  expect(places.take('b', 1)).toBeDefined();
  expect(places.take('c', 1)).toBeUndefined();
  expect(places.taken).toBe(4);
});

it('W12: gives one address half of the bytes, and all addresses no more than all', () => {
  const places = createPlaces(limits);
  expect(places.take('a', 501)).toBeUndefined();
  expect(places.take('a', 500)).toBeDefined();
  expect(places.take('a', 1)).toBeUndefined();
  expect(places.take('b', 400)).toBeDefined();
  expect(places.take('c', 101)).toBeUndefined();
  expect(places.take('c', 100)).toBeDefined();
});

it('W12: gives a place again when it was given back, with its bytes', () => {
  const places = createPlaces(limits);
  const leave = places.take('a', 500);
  leave?.();
  expect(places.taken).toBe(0);
  expect(places.take('a', 500)).toBeDefined();
});
