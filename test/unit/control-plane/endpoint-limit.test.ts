import { expect, it } from 'vitest';
import type { Endpoint } from '../../../src/control-api.ts';
import { limitEndpoints } from '../../../src/control-plane/endpoint-limit.ts';

/** 10.0.0.0 and on; each with all that one may have. */
const endpoints = (count: number, state: Partial<Endpoint> = {}): Endpoint[] =>
  Array.from({ length: count }, (_, index) => ({
    address: `10.0.${index >> 8}.${index & 255}:8080`,
    spiffeId: 'spiffe://cluster.local/ns/shop/sa/web',
    transport: 'hbone',
    ready: true,
    terminating: false,
    ...state,
  }));
const askers = Array.from({ length: 200 }, (_, index) => `shop/web-${index}`);
const bytesOf = (list: readonly Endpoint[]) => Buffer.byteLength(JSON.stringify(list));

it('gives everybody a list that is short enough as it is', () => {
  const all = [...endpoints(300, { ready: false }), ...endpoints(300)];
  for (const asker of askers) expect(limitEndpoints(all)(asker)).toBe(all);
});

it('gives every asker as much of a longer list as 128 KiB hold, and all of the list to some asker', () => {
  const all = endpoints(4000);
  const limited = limitEndpoints(all);
  const told = new Map(all.map((endpoint) => [endpoint, 0]));
  for (const asker of askers) {
    const list = limited(asker);
    expect(bytesOf(list)).toBeLessThanOrEqual(128 * 1024);
    expect(bytesOf(list)).toBeGreaterThan(127 * 1024);
    for (const endpoint of new Set(list)) told.set(endpoint, (told.get(endpoint) ?? 0) + 1);
  }
  const share = (limited('shop/web-0').length / all.length) * askers.length;
  expect(Math.min(...told.values())).toBeGreaterThan(share / 2);
  expect(Math.max(...told.values())).toBeLessThan(share * 2);
});

it('gives an asker the same of the same list, and most of it when an endpoint has gone', () => {
  const all = endpoints(4000);
  const [before, again, after] = [all, all.slice(), all.toSpliced(7, 1)].map((list) =>
    limitEndpoints(list)('shop/web-0'),
  );
  expect(again).toEqual(before);
  expect(after?.filter((endpoint) => !before?.includes(endpoint)).length).toBeLessThan(3);
});

it('leaves out those that are not ready first, then those that are there only while nobody else is', () => {
  const [ready, terminating, off] = [
    endpoints(300),
    endpoints(300, { terminating: true }),
    endpoints(4000, { ready: false }),
  ];
  for (const asker of askers.slice(0, 10)) {
    const list = limitEndpoints([...off, ...terminating, ...ready])(asker);
    expect(new Set(list.slice(0, 300))).toEqual(new Set(ready));
    expect(new Set(list.slice(300, 600))).toEqual(new Set(terminating));
    expect(list.slice(600).every((endpoint) => !endpoint.ready)).toBe(true);
  }
});
