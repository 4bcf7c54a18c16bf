import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { runbookFolder } from '../../../observability/alerts/rules.ts';
import { generatedFiles } from '../../../observability/files.ts';

const root = resolve(import.meta.dirname, '../../..');
const files = generatedFiles();

describe('what is generated for Prometheus and Grafana', () => {
  it.each([...files])('%s is what its code says', async (path, text) => {
    await expect(text).toMatchFileSnapshot(join(root, path));
  });

  it('has no runbook of an alert that is gone', () => {
    const expected = [...files.keys()].filter((path) => path.startsWith(`${runbookFolder}/`));
    expect(readdirSync(join(root, runbookFolder)).map((name) => `${runbookFolder}/${name}`)).toEqual(expected.sort());
  });
});
