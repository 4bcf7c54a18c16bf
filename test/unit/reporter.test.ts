import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, describe, expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const project = mkdtempSync(join(tmpdir(), 'remora-reporter-'));
afterAll(() => rmSync(project, { recursive: true }));

symlinkSync(join(root, 'node_modules'), join(project, 'node_modules'));
const reporter = JSON.stringify(join(root, 'test/support/reporter.ts'));
writeFileSync(
  join(project, 'vitest.config.mjs'),
  `export default { test: { pool: 'forks', reporters: ['default', ${reporter}], include: ['**/*.test.mjs'] } };`,
);
const files = {
  'good.test.mjs': "test('one', () => {}); test('two', () => {});",
  'bad.test.mjs': "test('fails', () => { throw new Error('on purpose'); });",
  'unloadable.test.mjs': "throw new Error('on purpose');",
  'hook.test.mjs': "test('fine', () => {}); afterAll(() => { throw new Error('on purpose'); });",
  'unhandled.test.mjs': "test('fine', () => { void Promise.reject(new Error('on purpose')); });",
  'skips.test.mjs': "test('runs', () => {}); test('stays out', ({ skip }) => skip('needs a moon'));",
};
for (const [file, body] of Object.entries(files)) {
  writeFileSync(join(project, file), `import { afterAll, test } from 'vitest';\n${body}\n`);
}

async function vitest(environment: NodeJS.ProcessEnv, ...args: string[]) {
  const child = spawn(process.execPath, [join(root, 'node_modules/vitest/vitest.mjs'), 'run', ...args], {
    cwd: project,
    env: { PATH: process.env.PATH, NO_COLOR: '1', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = new Promise<number | null>((done) => child.once('close', done));
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { lastLine: stdout.trimEnd().split('\n').at(-1), code: await ended, stderr };
}

describe.concurrent('the last line', () => {
  test('counts tests, modules that fail outside of their tests, and unhandled errors', async () => {
    const { lastLine, code } = await vitest({});
    expect(lastLine).toBe('5 passed, 4 failed');
    expect(code).toBe(1);
  });

  test('is all green when nothing failed', async () => {
    const { lastLine, code } = await vitest({}, 'good', 'skips');
    expect(lastLine).toBe('3 passed, 0 failed');
    expect(code).toBe(0);
  });

  test('counts a skipped test as failed and says its name and reason, in CI as root', async ({ skip }) => {
    if (process.getuid?.() !== 0) skip('needs root');
    const { lastLine, code, stderr } = await vitest({ CI: 'true' }, 'skips');
    expect(lastLine).toBe('1 passed, 1 failed');
    expect(code).toBe(1);
    expect(stderr).toContain('CI must not skip: skips.test.mjs > stays out (needs a moon)');
  });

  test('forgives what a chosen name leaves out', async () => {
    const { lastLine, code } = await vitest({ CI: 'true' }, 'good', '-t', 'one');
    expect(lastLine).toBe('1 passed, 0 failed');
    expect(code).toBe(0);
  });
});
