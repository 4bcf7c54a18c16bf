import { beforeEach, expect, it } from 'vitest';
import type { ExpositionFormat } from '../../../src/metrics/exposition.ts';
import { pageSpacingMs, sharedPage } from '../../../src/metrics/shared-page.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

let clock: FakeClock;
let begun: string[];
let text: (format: ExpositionFormat) => Promise<string>;

beforeEach(() => {
  clock = createFakeClock();
  begun = [];
  const page = sharedPage(clock, {
    async text(format) {
      begun.push(format);
      return `${format} ${begun.length}`;
    },
  });
  text = async (format) => `${await page.text(format)}`;
});

it('is made at once for the first that asks, and for each that asks later than the spacing', async () => {
  expect(await text('prometheus')).toBe('prometheus 1');
  await clock.advance(pageSpacingMs);
  expect(await text('prometheus')).toBe('prometheus 2');
  expect(clock.pending).toBe(0);
});

it('is made once for all that ask sooner, after the last of them has asked', async () => {
  await text('prometheus');
  const early = text('prometheus');
  await clock.advance(pageSpacingMs - 1);
  const late = text('prometheus');
  expect(begun).toHaveLength(1);
  await clock.advance(1);
  expect([await early, await late]).toEqual(['prometheus 2', 'prometheus 2']);
  const next = text('prometheus');
  await clock.advance(pageSpacingMs);
  expect(await next).toBe('prometheus 3');
  expect(clock.pending).toBe(0);
});

it('is one for each format', async () => {
  expect(await text('prometheus')).toBe('prometheus 1');
  expect(await text('openmetrics')).toBe('openmetrics 2');
  const both = [text('prometheus'), text('openmetrics')];
  await clock.advance(pageSpacingMs);
  expect(await Promise.all(both)).toEqual(['prometheus 3', 'openmetrics 4']);
});

it('is made anew after one that failed, which all who waited for it are told', async () => {
  let problem: Error | undefined = new Error('no memory');
  const page = sharedPage(clock, { text: async () => (problem ? Promise.reject(problem) : 'fine') });
  await expect(page.text('prometheus')).rejects.toThrow('no memory');
  const waiting = [page.text('prometheus'), page.text('prometheus')];
  const told = Promise.allSettled(waiting);
  await clock.advance(pageSpacingMs);
  expect((await told).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  problem = undefined;
  await clock.advance(pageSpacingMs);
  expect(`${await page.text('prometheus')}`).toBe('fine');
});

it('is the same bytes for all that share it, so that slow clients hold them once', async () => {
  const page = sharedPage(clock, { text: async () => 'page' });
  await page.text('prometheus');
  const both = [page.text('prometheus'), page.text('prometheus')];
  await clock.advance(pageSpacingMs);
  const [one, other] = await Promise.all(both);
  expect(one).toBe(other);
});

it('is handed to one of those that share it in each turn of the event loop', async () => {
  const page = sharedPage(clock, { text: async () => 'page' });
  await page.text('prometheus');
  let taken = 0;
  const waiting = Array.from({ length: 20 }, () => page.text('prometheus').then(() => (taken += 1)));
  await clock.advance(pageSpacingMs);
  let most = 0;
  for (let before = taken; taken < waiting.length; before = taken) {
    await new Promise((resolve) => setImmediate(resolve));
    most = Math.max(most, taken - before);
  }
  expect(most).toBe(1);
});
