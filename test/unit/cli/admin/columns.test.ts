import { describe, expect, it } from 'vitest';
import { shortBytes, tally } from '../../../../src/cli/admin/amounts.ts';
import { shortened, tableLines } from '../../../../src/cli/admin/columns.ts';

interface Row {
  readonly name: string;
  readonly count: number;
  readonly id: string;
}

const columns = [
  { title: 'NAME', text: ({ name }: Row) => name, least: 8 },
  { title: 'COUNT', text: ({ count }: Row) => String(count), isNumber: true },
  { title: 'ID', text: ({ id }: Row) => id, least: 10 },
];

describe('a table for a terminal', () => {
  it('is aligned, numbers at the right, without spaces at the end', () => {
    const rows = [
      { name: 'web', count: 5, id: 'a-1' },
      { name: 'a longer name', count: 12_345, id: 'a' },
    ];
    expect(tableLines(rows, columns, 100)).toEqual([
      'NAME           COUNT  ID',
      'web                5  a-1',
      'a longer name  12345  a',
    ]);
  });

  it('shortens the widest first, and only what may be shortened', () => {
    const rows = [{ name: 'n'.repeat(40), count: 1, id: 'i'.repeat(20) }];
    const width = (lines: readonly string[]) => Math.max(...lines.map((line) => line.length));
    expect(tableLines(rows, columns, 60)[1]).toContain('i'.repeat(20));
    for (const wanted of [60, 50, 40, 30, 27]) expect(width(tableLines(rows, columns, wanted))).toBe(wanted);
    expect(width(tableLines(rows, columns, 10))).toBe(8 + 2 + 5 + 2 + 10);
  });

  it('cuts a sentence at its end', () => {
    const sentence = [{ title: 'WHY', text: (why: string) => why, least: 8, isSentence: true }];
    expect(tableLines(['It was refused'], sentence, 10)).toEqual(['WHY', 'It was re…']);
  });

  it('leaves a name its beginning, and more of its end', () => {
    expect(shortened('spiffe://cluster.local/ns/shop/sa/web', 19)).toBe('spiffe…/shop/sa/web');
    expect(shortened('short', 5)).toBe('short');
    expect(shortened('longer', 5)).toBe('l…ger');
  });
});

describe('amounts', () => {
  it.each([
    [0, '0B'],
    [999, '999B'],
    [1000, '1.0K'],
    [1536, '1.5K'],
    [10 * 1024, '10K'],
    [999 * 1024, '999K'],
    [1024 ** 2, '1.0M'],
    [3.25 * 1024 ** 4, '3.3T'],
  ])('%d bytes are %s', (bytes, text) => {
    expect(shortBytes(bytes)).toBe(text);
  });

  it('take five characters at most', () => {
    for (let bytes = 1; bytes < 1024 ** 6; bytes = Math.ceil(bytes * 1.37))
      expect(shortBytes(bytes).length).toBeLessThanOrEqual(5);
  });

  it('are counted, the most frequent first', () => {
    expect(tally(['a', 'b', 'b', 'c', 'b', 'c'])).toEqual([
      ['b', 3],
      ['c', 2],
      ['a', 1],
    ]);
  });
});
