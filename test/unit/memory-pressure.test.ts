import { beforeEach, expect, it } from 'vitest';
import type { MemoryPool } from '../../src/memory-limit.ts';
import { memoryMarks, watchMemory } from '../../src/memory-pressure.ts';
import { captureLog } from '../support/captured-log.ts';
import { createFakeClock } from '../support/fake-clock.ts';

const mib = 1024 * 1024;

let clock: ReturnType<typeof createFakeClock>;
let container: Omit<MemoryPool, 'isAbove'> & { usedMib: number; limitMib: number; isAbove: MemoryPool['isAbove'] };
let reclaimed: number[];
let reclaim: () => void;
/** What the clock has gone on while nothing else could run. */
let stalledMs: number;

beforeEach(() => {
  clock = createFakeClock();
  stalledMs = 0;
  container = {
    name: 'container',
    usedMib: 100,
    limitMib: 200,
    limit: () => container.limitMib * mib,
    used: () => container.usedMib * mib,
    isAbove: (bytes) => container.usedMib * mib > bytes,
  };
  reclaimed = [];
  reclaim = () => void reclaimed.push(clock.monotonic());
});

function watch() {
  const { log, lines } = captureLog();
  const watched = { ...clock, monotonic: () => clock.monotonic() + stalledMs };
  const memory = watchMemory({ pools: [container], reclaim: () => reclaim(), clock: watched, log });
  const messages = () => lines.map(({ msg }) => msg);
  return { memory, messages };
}

const begins = 'New connections are refused because memory is short';
const ends = 'New connections are taken again';

it('is short from 85 % of the limit on, until 75 %, and says both once', async () => {
  const { memory, messages } = watch();
  container.usedMib = 170;
  await clock.advance(2000);
  expect(memory.shortage()).toBeUndefined();
  container.usedMib = 171;
  await clock.advance(2000);
  expect(memory.shortage()).toBe('The container holds 171 of 200 MiB');
  container.usedMib = 151;
  await clock.advance(5000);
  expect(memory.shortage()).toBe('The container holds 151 of 200 MiB');
  expect(messages()).toEqual([begins]);
  container.usedMib = 150;
  await clock.advance(100);
  expect(memory.shortage()).toBeUndefined();
  expect(messages()).toEqual([begins, ends]);
});

it('keeps 20 MiB where the limit is small', async () => {
  container.limitMib = 64;
  container.usedMib = 44;
  const { memory } = watch();
  await clock.advance(100);
  expect(memory.shortage()).toBeUndefined();
  container.usedMib = 45;
  await clock.advance(100);
  expect(memory.shortage()).toBeDefined();
});

it('throws garbage away before it is short', async () => {
  reclaim = () => {
    reclaimed.push(clock.monotonic());
    container.usedMib = 60;
  };
  container.usedMib = 190;
  const { memory, messages } = watch();
  expect(memory.shortage()).toBeUndefined();
  await clock.advance(10_000);
  expect([reclaimed.length, messages()]).toEqual([1, []]);
});

it('throws garbage away again while it is short, a second later', async () => {
  container.usedMib = 189;
  reclaim = () => {
    reclaimed.push(clock.monotonic());
    container.usedMib -= 1;
  };
  watch();
  await clock.advance(2000);
  expect(reclaimed).toEqual([0, 1000, 2000]);
});

it('waits twice and then four times as long when there was no garbage, and not when there is some again', async () => {
  container.usedMib = 189;
  watch();
  await clock.advance(10_000);
  expect(reclaimed).toEqual([0, 2000, 6000, 10_000]);
  reclaim = () => {
    reclaimed.push(clock.monotonic());
    container.usedMib -= 1;
  };
  await clock.advance(5000);
  expect(reclaimed.slice(4)).toEqual([14_000, 15_000]);
});

it('waits ten times as long as that takes', async () => {
  reclaim = () => {
    reclaimed.push(clock.monotonic());
    stalledMs += 300;
    container.usedMib -= 1;
  };
  container.usedMib = 190;
  watch();
  await clock.advance(6000);
  expect(reclaimed).toEqual([0, 3000, 6000]);
});

it('waits only twice as long in the last 10 MiB', async () => {
  reclaim = () => {
    reclaimed.push(clock.monotonic());
    stalledMs += 300;
    container.usedMib -= 1;
  };
  container.usedMib = 194;
  watch();
  await clock.advance(1200);
  expect(reclaimed).toEqual([0, 600, 1200]);
});

it('is short for a second at least', async () => {
  container.usedMib = 190;
  const { memory } = watch();
  container.usedMib = 10;
  await clock.advance(900);
  expect(memory.shortage()).toBeDefined();
  await clock.advance(100);
  expect(memory.shortage()).toBeUndefined();
});

it('looks again when somebody asks and the last look is 25 ms old', async () => {
  const { memory } = watch();
  container.usedMib = 190;
  expect(memory.shortage()).toBeUndefined();
  await clock.advance(24);
  expect(memory.shortage()).toBeUndefined();
  await clock.advance(1);
  expect(memory.shortage()).toBeDefined();
});

it('follows a limit that is raised', async () => {
  container.usedMib = 190;
  const { memory } = watch();
  container.limitMib = 400;
  await clock.advance(1000);
  expect(memory.shortage()).toBeUndefined();
});

it.each([
  [100, 5],
  [101, 50],
])('looks at %i of 200 MiB %i times in five seconds', async (usedMib, times) => {
  container.usedMib = usedMib;
  let looks = 0;
  const { isAbove } = container;
  const highBytes = memoryMarks.high * 200 * mib;
  container.isAbove = (bytes) => {
    if (bytes === highBytes) looks += 1;
    return isAbove(bytes);
  };
  watch();
  await clock.advance(5000);
  expect(looks).toBe(times + 1);
});

it('looks no more when it is closed', () => {
  const { memory } = watch();
  memory.close();
  expect(clock.pending).toBe(0);
});
