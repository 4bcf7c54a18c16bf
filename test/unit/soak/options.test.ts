import { describe, expect, it } from 'vitest';
import { readOptions, UsageError } from '../../../soak/options.ts';

const read = (...args: string[]) => readOptions(args, () => 0.5);

describe('the command line of the soak', () => {
  it('is twenty minutes with a seed of its own by default', () => {
    expect(read()).toEqual({ durationMs: 1_200_000, seed: 2 ** 31 - 1, isJson: false });
  });

  it('takes minutes, a seed and json', () => {
    expect(read('--minutes', '0.5', '--seed', '0', '--json')).toEqual({ durationMs: 30_000, seed: 0, isJson: true });
    expect(read('--seed', '4294967295').seed).toBe(4_294_967_295);
  });

  it.each([
    ['--minutes', '0'],
    ['--minutes', 'x'],
    ['--minutes', ''],
    ['--minutes', 'Infinity'],
    ['--seed', '-1'],
    ['--seed', '1.5'],
    ['--seed', '4294967296'],
    ['--seed', ''],
    ['--faults', 'none'],
    ['more'],
  ])('refuses %s %s', (...args) => {
    expect(() => read(...args)).toThrow(UsageError);
  });
});
