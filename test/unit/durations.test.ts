import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatDuration, parseDuration } from '../../src/durations.ts';

describe('parseDuration', () => {
  it.each([
    ['10s', 10_000],
    ['1h', 3_600_000],
    ['1h30m', 5_400_000],
    ['1.5h', 5_400_000],
    ['500ms', 500],
    ['2m', 120_000],
    ['1d', 86_400_000],
    ['1d2h3m4s5ms', 93_784_005],
    ['0s', 0],
  ])('reads %s as %i ms', (text, durationMs) => {
    expect(parseDuration(text)).toBe(durationMs);
  });

  it.each([
    '',
    '10',
    '-1',
    '-1s',
    '+1s',
    '1e99',
    '1e3s',
    'NaN',
    'Infinity',
    '1 h',
    ' 1h',
    '1h ',
    '1H',
    '1h\n',
    '1w',
    '1m1h',
    '1h1h',
    '.5h',
    '1.h',
    '10001d',
    '999999999999d',
  ])('G4: refuses %j, which is no duration with a unit', (text) => {
    expect(parseDuration(text)).toBeUndefined();
  });
});

it('formatDuration writes what parseDuration reads', () => {
  fc.assert(
    fc.property(fc.nat({ max: 864_000_000_000 }), (durationMs) => {
      expect(parseDuration(formatDuration(durationMs))).toBe(durationMs);
    }),
  );
  expect(formatDuration(5_400_000)).toBe('1h30m');
});
