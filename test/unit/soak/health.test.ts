import { describe, expect, it } from 'vitest';
import type { Holdings } from '../../../soak/health.ts';
import { growing, mebibyte, memoryLine, surplus } from '../../../soak/health.ts';
import { problemOf } from '../../../soak/log-check.ts';
import type { Sample } from '../../../soak/slope.ts';
import { lastHalf, slopePerMinute } from '../../../soak/slope.ts';

const minute = 60_000;
/** Every two seconds for so many minutes. */
const history = (minutes: number, mibAt: (minutes: number, index: number) => number): Sample[] =>
  Array.from({ length: minutes * 30 + 1 }, (_, index) => ({
    atMs: index * 2000,
    value: mibAt((index * 2000) / minute, index) * mebibyte,
  }));
const verdict = (samples: readonly Sample[]) => growing(memoryLine('sidecar-api', samples));

describe('the slope of memory', () => {
  it('is that of a straight line, in units a minute', () => {
    expect(slopePerMinute([0, 1, 2, 3].map((at) => ({ atMs: at * minute, value: 5 + 3 * at })))).toBeCloseTo(3);
  });

  it('is not moved by a quarter of samples that are far off', () => {
    const bursts = history(10, (at, index) => 100 + at + (index % 4 === 0 ? 80 : 0));
    expect(slopePerMinute(bursts) / mebibyte).toBeCloseTo(1, 0);
  });

  it('cannot be told from one sample', () => {
    expect(() => slopePerMinute([{ atMs: 0, value: 1 }])).toThrow(RangeError);
  });

  it('is that of the last half, in which a heap has found its size', () => {
    expect(lastHalf(history(20, () => 1))[0]?.atMs).toBe(10 * minute);
    expect(verdict(history(20, (at) => 100 + Math.min(at, 8) * 20))).toEqual([]);
  });

  it('fails a process that grows on and on, and no sawtooth of garbage', () => {
    expect(verdict(history(20, (at) => 100 + 4 * at))).toEqual([
      'The memory of sidecar-api grows by 4.00 MiB a minute, expected at most 2',
    ]);
    expect(verdict(history(20, (_, index) => 100 + (index % 20) * 3))).toEqual([]);
  });

  it('fails a leak below a heap that is collected every four minutes, and not that heap alone', () => {
    const tooth = (at: number) => (at % 4) * 8;
    expect(verdict(history(20, (at) => 100 + 4 * at + tooth(at)))).toHaveLength(1);
    expect(verdict(history(20, (at) => 100 + tooth(at)))).toEqual([]);
    expect(verdict(history(12, (at) => 100 + tooth(at)))).toEqual([]);
  });

  it('says nothing of a process that has not lived for long', () => {
    const short = memoryLine(
      'sidecar-web',
      history(7, (at) => 100 * at),
    );
    expect(short.slopeMibPerMinute).toBeUndefined();
    expect(growing(short)).toEqual([]);
  });
});

describe('what a sidecar holds after the load', () => {
  const before: Holdings = { descriptors: 35, threads: 11, connections: 0, streams: 0, tunnels: 0 };

  it('is what it held before, but for what comes and goes', () => {
    expect(surplus('web', before, before)).toEqual([]);
    expect(surplus('web', before, { ...before, descriptors: 37, threads: 12 })).toEqual([]);
  });

  it.each(['connections', 'streams', 'tunnels'] as const)('is none of its %s', (what) => {
    expect(surplus('web', before, { ...before, [what]: 1 })).toEqual([
      `The sidecar of web has 1 ${what} after the load, expected at most 0`,
    ]);
  });

  it('shows descriptors and threads that leak', () => {
    expect(surplus('web', before, { ...before, descriptors: 40, threads: 14 })).toHaveLength(2);
  });

  it('cannot be told of a sidecar that does not answer', () => {
    expect(surplus('web', before, undefined)).toHaveLength(1);
  });
});

describe('the log of a sidecar', () => {
  it.each([
    ['{"level":"error","msg":"x"}', 'an error'],
    ['{"level":"fatal","msg":"x"}', 'an error'],
    ['{"level":50,"msg":"x"}', 'an error'],
    ['{"level":"warn","reason":"internal","msg":"x"}', 'an internal failure'],
    ['TypeError: x is not a function', 'a line that is no JSON'],
  ])('must not hold %s', (line, problem) => {
    expect(problemOf(line)).toBe(problem);
  });

  it.each(['{"level":"info","msg":"x"}', '{"level":"warn","reason":"reset","msg":"x"}', '{"level":30}', ''])(
    'may hold %s',
    (line) => {
      expect(problemOf(line)).toBeUndefined();
    },
  );
});
