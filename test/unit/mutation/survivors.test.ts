import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { compareSurvivors, parseSurvivors, survivorAt } from '../../../mutation/survivors.ts';

const root = resolve(import.meta.dirname, '../../..');
const one = { file: 'src/a.ts', code: 'a < b', becomes: 'a <= b' };
const other = { file: 'src/b.ts', code: 'a < b', becomes: 'a <= b' };
const why = 'They are never equal';

describe('the survivors of a run and their list', () => {
  it('finds a survivor that is not listed, and one that is listed and gone', () => {
    const { unlisted, gone } = compareSurvivors([one], [{ ...other, why }], ['src/a.ts', 'src/b.ts']);
    expect(unlisted).toEqual([one]);
    expect(gone).toEqual([{ ...other, why }]);
  });

  it('is content when both are the same, however often one is found', () => {
    expect(compareSurvivors([one, one], [{ ...one, why }], ['src/a.ts'])).toEqual({ unlisted: [], gone: [] });
  });

  it('does not miss what this run did not change', () => {
    expect(compareSurvivors([], [{ ...one, why }], ['src/b.ts']).gone).toEqual([]);
  });

  it.each([
    ['code', { ...one, code: 'a < c', why }],
    ['change', { ...one, becomes: 'a > b', why }],
    ['file', { ...other, why }],
  ])('takes another %s for another survivor', (_, listed) => {
    expect(compareSurvivors([one], [listed], ['src/a.ts']).unlisted).toEqual([one]);
  });
});

describe('survivorAt', () => {
  const source = 'first\n  if (a < b)   return;\n  call(\n    x,\n  );\n';

  it('shows the line of a change, with single spaces', () => {
    const location = { start: { line: 2, column: 7 }, end: { line: 2, column: 12 } };
    expect(survivorAt('src/a.ts', source, location, 'true')).toEqual({
      file: 'src/a.ts',
      code: 'if (a < b) return;',
      becomes: 'if (true) return;',
    });
  });

  it('shows all lines of a change in one', () => {
    const location = { start: { line: 3, column: 3 }, end: { line: 5, column: 5 } };
    expect(survivorAt('src/a.ts', source, location, ';')).toEqual({
      file: 'src/a.ts',
      code: 'call( x, );',
      becomes: ';',
    });
  });
});

describe('parseSurvivors', () => {
  it('reads an empty list', () => {
    expect(parseSurvivors('')).toEqual([]);
  });

  it.each([
    'a: b',
    '- file: x',
    '- {file: x, code: y, becomes: z}',
    "- {file: x, code: y, becomes: z, why: ''}",
    '- {file: 1, code: y, becomes: z, why: w}',
  ])('refuses %j', (text) => {
    expect(() => parseSurvivors(text)).toThrow(TypeError);
  });

  it('reads our own list, in which every file is there and no survivor twice', () => {
    const list = parseSurvivors(readFileSync(join(root, 'mutation/survivors.yaml'), 'utf8'));
    for (const { file } of list) expect(existsSync(join(root, file))).toBe(true);
    const keys = list.map(({ file, code, becomes }) => `${file} ${code} ${becomes}`);
    expect(new Set(keys).size).toBe(keys.length);
  });
});
