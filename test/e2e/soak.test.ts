import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { Failure } from '../../soak/apps/reports.ts';
import { denyPolicy } from '../../soak/policies.ts';
import { noPodsBecause } from '../support/pods.ts';

/*
 * Goal: the soak runs, finds nothing wrong with a sound mesh, finds what is wrong with another, and leaves nothing behind.
 * Method: the real command with a fixed seed for half a minute; the same while a sidecar is killed, or a policy written, from
 * outside; Ctrl-C.
 */
const main = resolve(import.meta.dirname, '../../soak/main.ts');

const started: ChildProcess[] = [];
afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL');
});

function soak(...args: readonly string[]) {
  const child = spawn(process.execPath, [main, ...args], { stdio: 'pipe' });
  started.push(child);
  const said = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk) => (said.stdout += chunk));
  child.stderr.on('data', (chunk) => (said.stderr += chunk));
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, ...said }));
  /** Resolves when it has said `text`; rejects when it ends before. */
  const until = (text: string) =>
    new Promise<void>((resolve, reject) => {
      const look = () => said.stderr.includes(text) && resolve();
      child.stderr.on('data', look);
      look();
      ended.then(({ stderr }) => reject(new Error(`it ended: ${stderr}`)), reject);
    });
  return { pid: child.pid ?? 0, child, ended, until };
}

/** The namespaces of a soak with this pid. */
function namespacesOf(pid: number): string[] {
  const namespaces = existsSync('/run/netns') ? readdirSync('/run/netns') : [];
  return namespaces.filter((namespace) => namespace.startsWith(`remora-test-${pid}-`));
}

/** Its folder, which is kept when it fails. */
const folderOf = (pid: number) => join(tmpdir(), `remora-soak-${pid}`);

/** The process of a sidecar, by the name of its pod. */
function sidecarOf(pid: number, pod: string): number {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);
  const found = children.find((child) => readFileSync(`/proc/${child}/cmdline`, 'utf8').includes(`/${pod}.token`));
  if (found === undefined) throw new Error(`no sidecar of ${pod} among ${children}`);
  return found;
}

describe.skipIf(noPodsBecause !== undefined)(`the soak ${noPodsBecause ?? ''}`, () => {
  it('runs for half a minute under faults of a fixed seed with no error that is unexplained, and leaves nothing behind', async () => {
    const { pid, ended } = soak('--minutes', '0.5', '--seed', '309', '--json');
    const { code, stdout, stderr } = await ended;
    expect(code, stdout + stderr).toBe(0);
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({ seed: 309, isSound: true, unexplained: [], problems: [] });
    expect(result.faults).toMatchObject({ 'modes-switched': 1, 'policies-rewritten': 1, 'identity-denied': 1 });
    expect(Object.keys(result.connections).length).toBeGreaterThanOrEqual(8);
    expect(Object.keys(result.faults).length).toBeGreaterThanOrEqual(5);
    expect(namespacesOf(pid)).toEqual([]);
    expect(existsSync(folderOf(pid))).toBe(false);
  });

  it('fails, names its seed and keeps the logs when a sidecar is killed that no fault of its own explains', async () => {
    const { pid, ended, until } = soak('--minutes', '0.4', '--seed', '7', '--json');
    await until('the load begins');
    process.kill(sidecarOf(pid, 'api'), 'SIGKILL');
    const { code, stdout, stderr } = await ended;
    const result = JSON.parse(stdout);
    expect(code).toBe(1);
    expect(result.problems).toContain('sidecar-api ended with SIGKILL though nobody had asked it to');
    expect(result.unexplained.length).toBeGreaterThan(0);
    expect(stderr).toContain('failed; the same again: npm run soak -- --minutes 0.4 --seed 7; the logs are in');
    expect(readdirSync(join(folderOf(pid), 'logs'))).toContain('sidecar-api.log');
    expect(namespacesOf(pid)).toEqual([]);
    rmSync(folderOf(pid), { recursive: true });
  });

  it('fails when a changed policy cuts somebody whom no fault explains', async () => {
    const { pid, ended, until } = soak('--minutes', '0.25', '--seed', '34', '--json');
    await until('the load begins');
    writeFileSync(join(folderOf(pid), 'registry/from-outside.yaml'), JSON.stringify(denyPolicy('web')));
    const { code, stdout } = await ended;
    const { unexplained, problems } = JSON.parse(stdout);
    expect([code, problems]).toEqual([1, []]);
    expect(new Set(unexplained.map(({ phase }: Failure) => phase))).toEqual(new Set(['open', 'carried']));
    expect(unexplained.every(({ at, peer }: Failure) => [at, peer].includes('web'))).toBe(true);
    rmSync(folderOf(pid), { recursive: true });
  });

  it('removes everything after Ctrl-C, which npm doubles', async () => {
    const { pid, child, ended, until } = soak('--minutes', '20', '--seed', '7');
    await until('the load begins');
    expect(namespacesOf(pid).length).toBeGreaterThan(3);
    child.kill('SIGINT');
    child.kill('SIGINT');
    const { code, stdout } = await ended;
    expect([code, stdout]).toEqual([130, '']);
    expect(namespacesOf(pid)).toEqual([]);
    expect(existsSync(folderOf(pid))).toBe(false);
  });

  it('ends with 2 for a command line that it does not understand', async () => {
    const { code, stdout, stderr } = await soak('--seed', 'x').ended;
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toBe('soak: --seed x: expected a whole number from 0 to 4294967295\n');
  });
});
