import type { ChildProcess } from 'node:child_process';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Report } from '../../src/cli/demo/report.ts';
import { noPodsBecause } from '../support/pods.ts';

/*
 * Goal: `npm start` shows a mesh that really does what it promises, and leaves nothing behind however it ends.
 * Method: run the real program as root, without root and on a terminal; end it in order, with Ctrl-C, by killing it and
 * by killing its parent; then look for its namespaces, processes and files.
 */
const root = resolve(import.meta.dirname, '../..');
const demo = [process.execPath, join(root, 'src/main.ts'), 'demo'];

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const started: ChildProcess[] = [];
afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL');
});

/** Starts a command and remembers what it says. */
function start(argv: readonly string[]) {
  const [command = '', ...args] = argv;
  const child = spawn(command, args, { stdio: 'pipe' });
  started.push(child);
  const said = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk) => (said.stdout += chunk));
  child.stderr.on('data', (chunk) => (said.stderr += chunk));
  const ended = once(child, 'close').then(([code]): Ended => ({ code: code as number | null, ...said }));
  /** Resolves when it has written `text` to either output. */
  const until = (text: string) =>
    vi.waitFor(() => expect(said.stdout + said.stderr).toContain(text), { timeout: 60_000, interval: 50 });
  return { child, ended, until, said };
}

function lastLine(text: string): unknown {
  return JSON.parse(text.trimEnd().split('\n').at(-1) ?? '');
}

/** The namespaces, processes and files of the demo with this pid. */
function remainsOf(pid: number | undefined): string[] {
  const name = `remora-demo-${pid}`;
  const namespaces = existsSync('/run/netns') ? readdirSync('/run/netns') : [];
  return [
    ...namespaces.filter((namespace) => namespace.startsWith(`${name}-`)),
    ...readdirSync(tmpdir()).filter((file) => file.startsWith(`${name}-`)),
    ...readdirSync('/proc').filter((entry) => /^\d+$/.test(entry) && environmentOf(entry).includes(`DEMO_RUN=${name}`)),
  ];
}

function environmentOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
  } catch {
    return [];
  }
}

/** The demo that runs below a process. */
function demoBelow(pid: number | undefined): number {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);
  const found = children.find((child) => readFileSync(`/proc/${child}/cmdline`, 'utf8').split('\0').includes('demo'));
  if (found === undefined) throw new Error(`no demo among ${children}`);
  return found;
}

const controlIntroducer = '\u001b';
const flowing = /web: [1-9]\d* requests/;

describe.skipIf(noPodsBecause !== undefined)(
  `the demo in namespaces${noPodsBecause ? ` (${noPodsBecause})` : ''}`,
  () => {
    test('shows with real traffic, rules and captures what the mesh promises, and leaves nothing behind', async () => {
      const { child, ended } = start([...demo, '--once', '--json']);
      const { code, stdout, stderr } = await ended;

      expect(code, stderr).toBe(0);
      expect(stdout.trimEnd().split('\n')).toHaveLength(1);
      expect(lastLine(stdout)).toEqual({
        handshakes: { success: expect.any(Number), failure: expect.any(Number) },
        requests: { sent: expect.any(Number), ok: expect.any(Number) },
        renewals: expect.any(Number),
        refusals: {
          plaintext_in_strict: expect.any(Number),
          alpn: expect.any(Number),
          no_client_cert: expect.any(Number),
          policy_deny: expect.any(Number),
          peer_refused: expect.any(Number),
        },
        modes: { permissive: { legacyOk: expect.any(Number) }, strict: { legacyRefused: expect.any(Number) } },
        preview: [{ port: 8080, caller: 'demo/legacy', connections: expect.any(Number) }],
        policyClosed: expect.any(Number),
        bytesOnTheWireInClear: 0,
        bytesOnTheWireInClearWithoutSidecars: expect.any(Number),
        leftovers: 0,
      });
      const { requests, renewals, modes, policyClosed } = lastLine(stdout) as Report;
      expect(modes.permissive.legacyOk).toBeGreaterThan(0);
      expect(modes.strict.legacyRefused).toBeGreaterThan(0);
      expect(policyClosed).toBeGreaterThan(0);
      expect(requests.sent).toBeGreaterThan(100);
      expect(requests.ok).toBe(requests.sent);
      expect(renewals).toBeGreaterThanOrEqual(2);
      expect(remainsOf(child.pid)).toEqual([]);
    });

    test('removes everything when Ctrl-C, which npm doubles, comes in the middle of its start', async () => {
      const { child, ended, until } = start([...demo, '--once', '--json']);
      await until('Starting the mesh');
      child.kill('SIGINT');
      child.kill('SIGINT');
      const { code, stdout, stderr } = await ended;
      expect(code, stderr).toBe(130);
      expect(stdout).toBe('');
      expect(remainsOf(child.pid)).toEqual([]);
    });

    test('removes everything when Ctrl-C comes while traffic flows, and tells no result', async () => {
      const { child, ended, said } = start([...demo, '--once', '--json']);
      await vi.waitFor(() => expect(said.stderr).toMatch(flowing), { timeout: 60_000 });
      expect(remainsOf(child.pid).length).toBeGreaterThan(5);
      child.kill('SIGINT');
      const { code, stdout } = await ended;
      expect([code, stdout]).toEqual([130, '']);
      expect(remainsOf(child.pid)).toEqual([]);
    });

    test('removes everything when SIGTERM comes while traffic flows', async () => {
      const { child, ended, said } = start(demo);
      await vi.waitFor(() => expect(said.stdout).toMatch(flowing), { timeout: 60_000 });
      expect(remainsOf(child.pid).length).toBeGreaterThan(5);
      child.kill('SIGTERM');
      const { code, stdout } = await ended;
      expect(code).toBe(0);
      expect(stdout).toMatch(/Everything is removed\n$/);
      expect(remainsOf(child.pid)).toEqual([]);
    });

    test('that is killed is cleaned up after', async () => {
      const { child, ended } = start(demo);
      await vi.waitFor(() => expect(remainsOf(child.pid).length).toBeGreaterThan(5), { timeout: 60_000 });
      child.kill('SIGKILL');
      await ended;
      await vi.waitFor(() => expect(remainsOf(child.pid)).toEqual([]), { timeout: 20_000, interval: 100 });
    });

    test('ends when npm, its parent, is killed', async () => {
      const shell = start(['sh', '-c', '"$@"; exit', 'sh', ...demo]);
      await shell.until('Starting the mesh');
      const pid = demoBelow(shell.child.pid);
      await vi.waitFor(() => expect(remainsOf(pid).length).toBeGreaterThan(5), { timeout: 60_000 });
      shell.child.kill('SIGKILL');
      await vi.waitFor(() => expect(existsSync(`/proc/${pid}`)).toBe(false), { timeout: 20_000 });
      expect(remainsOf(pid)).toEqual([]);
    });

    test('sweeps what an earlier demo left behind, and nothing else', async () => {
      const gone = spawn('true');
      await once(gone, 'exit');
      const leftover = `remora-demo-${gone.pid}-web`;
      const strangers = `remora-other-${process.pid}`;
      for (const namespace of [leftover, strangers]) execFileSync('ip', ['netns', 'add', namespace]);
      try {
        const { child, ended, until } = start(demo);
        await until('Starting the mesh');
        child.kill('SIGINT');
        await ended;
        const left = readdirSync('/run/netns');
        expect(left).toContain(strangers);
        expect(left).not.toContain(leftover);
      } finally {
        execFileSync('ip', ['netns', 'delete', strangers]);
      }
    });

    test('draws a table in place on a terminal, until Ctrl-C', async () => {
      const command = `stty rows 60 cols 150; exec ${demo.join(' ')}`;
      const { child, ended, said } = start([
        'script',
        '--quiet',
        '--return',
        '--flush',
        '--command',
        command,
        '/dev/null',
      ]);
      await vi.waitFor(() => expect(said.stdout).toMatch(/web → api/), { timeout: 60_000 });
      await vi.waitFor(() => expect(said.stdout).toMatch(/plaintext_in_strict +The peer spoke plaintext/), {
        timeout: 60_000,
      });
      child.stdin.write('\u0003');
      const { code, stdout } = await ended;
      expect(code).toBe(0);
      expect(stdout).toMatch(new RegExp(`${controlIntroducer}\\[\\d+F`));
      expect(stdout).toContain('Everything is removed');
    });
  },
);

/** Whether an ordinary user can run the program where this checkout lies. */
function isReachable(path: string): boolean {
  if (path === '/') return true;
  return (statSync(path).mode & 0o001) !== 0 && isReachable(dirname(path));
}

describe('the demo without root', () => {
  const isRoot = process.getuid?.() === 0;
  const asUser = isRoot ? ['setpriv', '--reuid=1000', '--regid=1000', '--clear-groups', '--'] : [];
  const isPossible = !isRoot || (isReachable(root) && isReachable(process.execPath));

  test.skipIf(!isPossible)('says so and shows the same on loopback', async () => {
    accessSync(process.execPath, constants.X_OK);
    const { child, ended } = start([...asUser, ...demo, '--once', '--json']);
    const { code, stdout, stderr } = await ended;

    expect(code, stderr).toBe(0);
    expect(stderr).toMatch(
      /^Network namespaces are not permitted here \(this is user \d+, and namespaces need root\)/m,
    );
    expect(lastLine(stdout)).toMatchObject({
      refusals: { no_client_cert: expect.any(Number) },
      bytesOnTheWireInClear: 0,
      leftovers: 0,
    });
    const report = lastLine(stdout) as { bytesOnTheWireInClearWithoutSidecars: number; requests: object };
    expect(report.bytesOnTheWireInClearWithoutSidecars).toBeGreaterThan(0);
    expect(remainsOf(child.pid)).toEqual([]);
  });

  test.each([
    [['--twice'], /^remora: unknown option '--twice'\n$/],
    [['--json'], /^remora: --json is given without --once, [^\n]*\n$/],
  ])('refuses %s in one sentence', async (args, sentence) => {
    const { ended } = start([...demo, ...args]);
    const { code, stdout, stderr } = await ended;
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(sentence);
  });
});
