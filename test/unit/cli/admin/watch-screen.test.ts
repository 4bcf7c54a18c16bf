import { describe, expect, it } from 'vitest';
import { fitting } from '../../../../src/cli/admin/watch-screen.ts';

const lines = (count: number, width = 1) => Array.from({ length: count }, (_, i) => String(i).padEnd(width, 'x'));
/** Rows of a terminal as it breaks lines. */
const rowsOf = (shown: readonly string[], columns: number) =>
  shown.reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / columns)), 0);

describe('what is watched on a terminal', () => {
  it('is shown whole where it fits above the cursor', () => {
    expect(fitting(lines(23), 24, 80)).toEqual(lines(23));
    expect(fitting([], 24, 80)).toEqual([]);
  });

  it('is cut to its height, and says how much is left out', () => {
    expect(fitting(lines(24), 24, 80)).toEqual([...lines(22), 'and 2 more lines']);
    expect(fitting(lines(1000), 5, 80)).toEqual(['0', '1', '2', 'and 997 more lines']);
  });

  it('counts a long line by the rows that it takes', () => {
    expect(fitting(lines(3, 81), 6, 80)).toEqual([...lines(2, 81), 'and 1 more line']);
    expect(fitting(['a', 'x'.repeat(800), 'b'], 6, 80)).toEqual(['a', 'and 2 more lines']);
    expect(fitting(['\u4e2d'.repeat(60), 'b', 'c'], 4, 80)).toEqual(['\u4e2d'.repeat(60), 'and 2 more lines']);
  });

  it('never takes more than there is, whatever the size', () => {
    for (let rows = 2; rows < 12; rows += 1)
      for (const columns of [1, 7, 20])
        for (const width of [1, 7, 8, 40]) {
          const shown = fitting(lines(9, width), rows, columns);
          expect(rowsOf(shown, columns)).toBeLessThanOrEqual(rows - 1);
        }
  });
});
