import { globSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const folder = resolve(import.meta.dirname, '..');
const catalogue = readFileSync(join(folder, 'CASES.md'), 'utf8');

/** Numbers of cases that a file carries at the beginning of its titles, wherever a title is written. */
function numbersIn(source: string): readonly string[] {
  return [...source.matchAll(/['"`]([A-Z]\d+): /g)].map(([, number = '']) => number);
}

/** By path below `test/`. This file writes numbers of its own. */
function numbersByFile(): ReadonlyMap<string, readonly string[]> {
  const paths = globSync('**/*.test.ts', { cwd: folder }).filter((path) => join(folder, path) !== import.meta.filename);
  return new Map(paths.map((path) => [path, numbersIn(readFileSync(join(folder, path), 'utf8'))]));
}

/** What does not fit between the catalogue and the titles, one sentence each. */
function problems(text: string, numbers: ReadonlyMap<string, readonly string[]>): string[] {
  const found: string[] = [];
  const listed = new Set<string>();
  let section = '';
  for (const line of text.split('\n')) {
    section = /^## .+ \(([A-Z])\)$/.exec(line)?.[1] ?? section;
    if (!line.startsWith('- ')) continue;
    const [, number = '', rest = ''] = /^- ([A-Z]\d+): (.+)$/.exec(line) ?? [];
    if (number === '') found.push(`'${line}' is no case`);
    if (listed.has(number)) found.push(`${number} stands twice in the catalogue`);
    if (number[0] !== section) found.push(`${number} stands in section ${section}`);
    listed.add(number);
    const files = [...rest.matchAll(/`([\w./-]+\.test\.ts)`/g)].map(([, file = '']) => file);
    if (files.length === 0) found.push(`${number} names no test file`);
    for (const file of files) if (!numbers.get(file)?.includes(number)) found.push(`${number} has no test in ${file}`);
  }
  for (const [file, titles] of numbers)
    for (const number of new Set(titles))
      if (!listed.has(number)) found.push(`${number}, in a title of ${file}, is not in the catalogue`);
  return found;
}

it('has a line for each number in a title, and a test for each line', () => {
  expect(problems(catalogue, numbersByFile())).toEqual([]);
});

it('reads numbers wherever a title can stand', () => {
  const source = `it('A1: x'); describe("A2: y"); it(\`A3: \${z}\`); it.each([['A4: row', 1]])('%s'); // B1: none`;
  expect(numbersIn(source)).toEqual(['A1', 'A2', 'A3', 'A4']);
});

describe('the check itself', () => {
  const numbers = new Map([
    ['a.test.ts', ['A1', 'A2']],
    ['b.test.ts', ['A2']],
  ]);
  const lines = ['## Admin (A)', '- A1: One. `a.test.ts`', '- A2: Two. `a.test.ts`, `b.test.ts`'];

  it('accepts a catalogue that fits', () => {
    expect(problems(lines.join('\n'), numbers)).toEqual([]);
  });

  it.each([
    [
      'a number that is not in the catalogue',
      lines.slice(0, 2),
      'A2, in a title of a.test.ts, is not in the catalogue',
    ],
    ['a line without a test', [...lines, '- A3: Three. `a.test.ts`'], 'A3 has no test in a.test.ts'],
    ['a file that is gone', [...lines, '- A3: Three. `c.test.ts`'], 'A3 has no test in c.test.ts'],
    ['a line that names no file', [...lines, '- A3: Three.'], 'A3 names no test file'],
    ['a number that stands twice', [...lines, '- A1: Again. `a.test.ts`'], 'A1 stands twice in the catalogue'],
    ['a number in another section', ['## Bundle (B)', ...lines.slice(1)], 'A1 stands in section B'],
    ['a line without a number', [...lines, '- Words. `a.test.ts`'], "'- Words. `a.test.ts`' is no case"],
  ])('finds %s', (_, text, problem) => {
    expect(problems(text.join('\n'), numbers)).toContain(problem);
  });
});
