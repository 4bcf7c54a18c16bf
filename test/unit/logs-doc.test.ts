import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { connectionLine } from '../../src/admin-api.ts';
import { sections } from '../../src/config/table.ts';
import { textLine } from '../../src/log-text.ts';
import { handshakeReasons } from '../../src/outcomes.ts';

const document = readFileSync(join(resolve(import.meta.dirname, '../..'), 'docs/logs.md'), 'utf8');

/** The names in the first column of the table below this heading. */
function firstColumn(heading: string): string[] {
  const table = document.slice(document.indexOf(`| ${heading} |`)).split('\n\n')[0] ?? '';
  const cells = table.split('\n').map((row) => row.split('|')[1] ?? '');
  return cells.flatMap((cell) => [...cell.matchAll(/`(\w+)`/g)].map(([, name = '']) => name));
}

describe('docs/logs.md', () => {
  it('has every field of a connection once, and no other', () => {
    const fields = ['time', 'level', 'msg', ...Object.keys(connectionLine.entries)];
    expect(firstColumn('field').toSorted()).toEqual(fields.toSorted());
  });

  it('has every setting of the log', () => {
    const names = sections
      .flatMap(({ settings }) => Object.keys(settings))
      .filter((name) => /^(log|accessLog)/.test(name));
    expect(firstColumn('setting').toSorted()).toEqual(names.toSorted());
  });

  it('shows a line as it is written, in both forms', () => {
    const json = /```json\n(.*)\n```/.exec(document)?.[1] ?? '';
    const [example = ''] = /^2026-11-22T09:31:08.944Z info {2}.*(?= …$)/m.exec(document) ?? [];
    expect(textLine(json)).toContain(example);
    expect(example).not.toBe('');
    const fields = ['time', 'level', 'msg', ...Object.keys(connectionLine.entries)];
    expect(fields).toEqual(expect.arrayContaining(Object.keys(JSON.parse(json))));
  });

  it('quotes the words as they are', () => {
    for (const reason of ['reset', 'not_yet_valid'] as const)
      expect(document).toContain(`warn  ${handshakeReasons[reason].happened} `);
  });
});
