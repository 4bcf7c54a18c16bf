import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { production } from '../../../observability/alerts/alert.ts';
import { allAlerts } from '../../../observability/alerts/rules.ts';
import { generatedFiles } from '../../../observability/files.ts';

const root = resolve(import.meta.dirname, '../../..');
const main = readFileSync(join(root, 'src/main.ts'), 'utf8');
const pages = [...generatedFiles()].filter(([path]) => path.endsWith('.md'));

describe('runbooks', () => {
  it.each(pages)('%s links to what exists', (path, text) => {
    for (const [, target = ''] of text.matchAll(/\]\(([^)#]+)[^)]*\)/g))
      expect(existsSync(join(root, dirname(path), target)), target).toBe(true);
  });

  it.each(pages)('%s names commands that exist', (_, text) => {
    for (const [, command = ''] of text.matchAll(/`(?:[^`]* -- )?remora ([a-z-]+)/g))
      expect(main, command).toMatch(new RegExp(`^  '?${command}'?: \\{`, 'm'));
  });

  it('answer every question for each alert', () => {
    for (const { runbook } of allAlerts(production)) {
      const { means, users, find, fix, falseAlarm } = runbook;
      for (const answer of [means, users, falseAlarm, ...find, ...fix]) expect(answer).toMatch(/[.!?:`]$/);
      expect(find.length * fix.length).toBeGreaterThan(0);
    }
  });
});
