import type { ChildProcess } from 'node:child_process';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const nodePackage = `node-${process.platform}-${process.arch}`;
const installing = 'installing the packages of package-lock.json';
const waiting = 'waiting for another set-up';

/** Set-up runs on the Node.js of npm, which is seldom the one that it installs. */
const nodes = new Set([process.execPath, process.env.npm_node_execpath ?? nodeOnPath()]);

function nodeOnPath(): string {
  const path = process.env.PATH?.split(':').filter((folder) => !folder.includes('node_modules')) ?? [];
  return path.map((folder) => join(folder, 'node')).find(existsSync) ?? process.execPath;
}

/** Does what FAKE_NPM says instead of what npm would do, and writes down how it was called. */
const fakeNpm = `
  const { spawn } = require('node:child_process');
  const { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } = require('node:fs');
  console.log('added 300 packages');
  appendFileSync('groups', process.pid + '\\n');
  appendFileSync('calls', JSON.stringify(process.argv.slice(2)) + '\\n');
  const does = process.env.FAKE_NPM;
  if (does === 'fail') process.exit(7);
  if (does === 'hang') {
    spawn('sleep', ['infinity'], { stdio: 'inherit' });
    console.error('npm hangs');
    return setInterval(() => {}, 1e6);
  }
  if (does === 'wait') readFileSync('gate');
  rmSync('node_modules', { recursive: true, force: true });
  mkdirSync('node_modules/.bin', { recursive: true });
  if (does === 'skip') return;
  if (does === 'mislink') writeFileSync('node_modules/.bin/node', '#!/bin/sh\\necho v22.0.0\\n', { mode: 0o755 });
  mkdirSync('node_modules/${nodePackage}/bin', { recursive: true });
  const version = does === 'wrong' ? 'v20.0.0' : 'v24.21.0';
  writeFileSync('node_modules/${nodePackage}/bin/node', '#!/bin/sh\\necho ' + version + '\\n', { mode: 0o755 });
`;

let checkout: string;
let children: ChildProcess[];

beforeEach(() => {
  checkout = mkdtempSync(join(tmpdir(), 'remora-setup-'));
  children = [];
  cpSync(join(root, 'scripts/setup.mjs'), join(checkout, 'scripts/setup.mjs'));
  cpSync(join(root, 'scripts/setup'), join(checkout, 'scripts/setup'), { recursive: true });
  writeFileSync(join(checkout, 'npm-cli.js'), fakeNpm);
  writeFileSync(join(checkout, 'package-lock.json'), '{}');
  writePackageJson({});
});

afterEach(() => {
  for (const child of children) child.kill('SIGKILL');
  for (const group of linesOf('groups')) killGroup(Number(group));
  for (const folder of [checkout, join(checkout, 'node_modules')]) if (existsSync(folder)) chmodSync(folder, 0o755);
  rmSync(checkout, { recursive: true });
});

function writePackageJson(more: object): void {
  const manifest = { optionalDependencies: { [nodePackage]: '24.21.0' }, ...more };
  writeFileSync(join(checkout, 'package.json'), JSON.stringify(manifest));
}

function start(command: readonly string[], fakeNpmDoes = 'install') {
  const [program = '', ...args] = command;
  const child = spawn(program, args, {
    cwd: checkout,
    env: { PATH: process.env.PATH, npm_execpath: join(checkout, 'npm-cli.js'), FAKE_NPM: fakeNpmDoes },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  /** Every holder of the pipes is gone, npm and whatever it started included. */
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, stdout, stderr }));
  const says = async (words: string) => {
    while (!stderr.includes(words)) await once(child.stderr, 'data');
  };
  return { child, ended, says };
}

const run = (command: readonly string[], fakeNpmDoes?: string) => start(command, fakeNpmDoes).ended;

function linesOf(file: string): string[] {
  const path = join(checkout, file);
  return existsSync(path) ? readFileSync(path, 'utf8').trimEnd().split('\n') : [];
}

const calls = (): string[][] => linesOf('calls').map((line) => JSON.parse(line));

function killGroup(leader: number): void {
  try {
    process.kill(-leader, 'SIGKILL');
  } catch {
    // All of it has ended, as it should.
  }
}

function startTimeOf(pid: number | undefined): string | undefined {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
}

describe.each([...nodes])('set-up under %s', (node) => {
  const setUp = [node, 'scripts/setup.mjs'];

  test('installs a fresh clone with one npm ci, and says so on stderr only', async () => {
    const { code, stdout, stderr } = await run(setUp);
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' });
    expect(stderr).toContain(installing);
    expect(calls()).toEqual([
      ['ci', '--ignore-scripts', '--include=dev', '--include=optional', '--loglevel=error', '--progress=false'],
    ]);
  });

  test.each(['install', 'mislink'])('links the Node.js that npm did not link (%s)', async (fakeNpmDoes) => {
    await run(setUp, fakeNpmDoes);
    expect(readlinkSync(join(checkout, 'node_modules/.bin/node'))).toBe(`../${nodePackage}/bin/node`);
  });

  test('does and says nothing when everything is there', async () => {
    await run(setUp);
    expect(await run(setUp)).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(calls()).toHaveLength(1);
  });

  test('leaves no file behind but node_modules', async () => {
    const before = readdirSync(checkout);
    await run(setUp);
    expect(readdirSync(checkout).sort()).toEqual([...before, 'calls', 'groups', 'node_modules'].sort());
  });

  test('installs again when a dependency changed, not when a script did', async () => {
    await run(setUp);
    writePackageJson({ scripts: { start: 'true' } });
    await run(setUp);
    expect(calls()).toHaveLength(1);
    writePackageJson({ dependencies: { yaml: '2.0.0' } });
    await run(setUp);
    expect(calls()).toHaveLength(2);
    writeFileSync(join(checkout, 'package-lock.json'), '{"lockfileVersion":3}');
    await run(setUp);
    expect(calls()).toHaveLength(3);
  });

  test('installs again when the Node.js is gone or is another one', async () => {
    await run(setUp);
    rmSync(join(checkout, 'node_modules/.bin/node'));
    await run(setUp);
    expect(calls()).toHaveLength(2);
    writeFileSync(join(checkout, `node_modules/${nodePackage}/bin/node`), '#!/bin/sh\necho v24.0.0\n');
    await run(setUp);
    expect(calls()).toHaveLength(3);
  });

  test('two at once share one install', async () => {
    execFileSync('mkfifo', [join(checkout, 'gate')]);
    const first = start(setUp, 'wait');
    await first.says(installing);
    const second = start(setUp, 'wait');
    await second.says(waiting);
    writeFileSync(join(checkout, 'gate'), '');
    expect((await first.ended).code).toBe(0);
    expect((await second.ended).code).toBe(0);
    expect(calls()).toHaveLength(1);
  });

  test('takes over the lock of a set-up that is gone', async () => {
    writeFileSync(join(checkout, '.setup-lock'), JSON.stringify([{ pid: process.pid, startedAt: '1' }]));
    expect((await run(setUp)).code).toBe(0);
    expect(existsSync(join(checkout, '.setup-lock'))).toBe(false);
  });

  test('waits for the npm of a set-up that was killed', async () => {
    const first = start(setUp, 'hang');
    await first.says('npm hangs');
    const [, npm] = JSON.parse(readFileSync(join(checkout, '.setup-lock'), 'utf8'));
    expect(npm.startedAt).toBe(startTimeOf(npm.pid));
    first.child.kill('SIGKILL');
    await once(first.child, 'exit');

    const second = start(setUp);
    await second.says(waiting);
    expect(calls()).toHaveLength(1);
    process.kill(-npm.pid, 'SIGKILL');
    expect((await second.ended).code).toBe(0);
    expect(calls()).toHaveLength(2);
  });

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('%s during the install ends npm and all that it started', async (signal, expectedCode) => {
    const { child, ended, says } = start(setUp, 'hang');
    await says('npm hangs');
    child.kill(signal);
    const { code, stderr } = await ended;
    expect(code).toBe(expectedCode);
    expect(stderr).toContain('interrupted; the next run installs again');
    expect(existsSync(join(checkout, '.setup-lock'))).toBe(false);
    expect((await run(setUp)).code).toBe(0);
  });

  test('an install that failed leaves no stamp', async () => {
    await run(setUp);
    writePackageJson({ dependencies: { yaml: '2.0.0' } });
    const { code, stderr } = await run(setUp, 'fail');
    expect(code).toBe(69);
    expect(stderr).toContain('`npm ci` failed (exit code 7)');
    writePackageJson({});
    await run(setUp);
    expect(calls()).toHaveLength(3);
  });

  test.each([
    ['wrong', 'npm brought Node.js 20.0.0, but Remora needs 24.21.0, from the package'],
    ['skip', 'npm brought no Node.js that runs here, but Remora needs 24.21.0, from the package'],
  ])('says which Node.js it needs when npm brings another (%s)', async (fakeNpmDoes, sentence) => {
    const { code, stderr } = await run(setUp, fakeNpmDoes);
    expect(code).toBe(69);
    expect(stderr).toContain(sentence);
  });

  test('says where it runs when no package brings a Node.js for this machine', async () => {
    writePackageJson({ optionalDependencies: {} });
    const { code, stderr } = await run(setUp);
    expect(code).toBe(69);
    expect(stderr).toContain('Remora runs on Linux, on x64 and arm64');
  });

  /** Root may write anywhere, until it drops that capability. */
  const unprivileged = process.getuid?.() === 0 ? ['setpriv', '--bounding-set=-dac_override', ...setUp] : setUp;

  test('says so when it cannot write to the checkout', async () => {
    chmodSync(checkout, 0o555);
    const { code, stderr } = await run(unprivileged);
    expect(code).toBe(77);
    expect(stderr).toContain(`cannot write to ${checkout}, which belongs to another user`);
  });

  test('writes nothing when everything is there', async () => {
    await run(setUp);
    chmodSync(checkout, 0o555);
    chmodSync(join(checkout, 'node_modules'), 0o555);
    expect((await run(unprivileged)).code).toBe(0);
  });
});

describe('system tools', () => {
  /** A PATH of its own: apt-get and apt-cache write down how they were called and end with the code in their name's file. */
  let bin: string;

  beforeEach(() => {
    bin = join(checkout, 'bin');
    mkdirSync(bin);
    for (const program of ['apt-get', 'apt-cache']) {
      const script = `#!/bin/sh\necho "${program} $*" >> ${checkout}/apt\nread code < ${bin}/${program}.code\nexit $code\n`;
      writeFileSync(join(bin, program), script, { mode: 0o755 });
      writeFileSync(join(bin, `${program}.code`), '0\n');
    }
  });

  async function call(expression: string) {
    const script = `const tools = await import('${checkout}/scripts/setup/system-tools.mjs'); console.log(${expression});`;
    return run(['/usr/bin/env', `PATH=${bin}`, process.execPath, '--input-type=module', '-e', script]);
  }

  const aptCalls = () => linesOf('apt').map((line) => line.replace(/(-q|-y|-o \S+) /g, ''));

  test('are looked for on the PATH and where root has them', async () => {
    const { stdout } = await call(`tools.missingTools(['apt-get', 'no-such-tool']).join()`);
    expect(stdout).toBe('no-such-tool\n');
  });

  test('are installed from the package lists that are there', async () => {
    await call(`tools.installTools(['nft', 'ip'])`);
    expect(aptCalls()).toEqual([
      'apt-cache show nftables iproute2',
      'apt-get install --no-install-recommends nftables iproute2',
    ]);
  });

  test('are installed after an update when the lists do not know them', async () => {
    writeFileSync(join(bin, 'apt-cache.code'), '100\n');
    await call(`tools.installTools(['nft'])`);
    expect(aptCalls()).toEqual([
      'apt-cache show nftables',
      'apt-get update',
      'apt-get install --no-install-recommends nftables',
    ]);
  });

  test('that cannot be installed are no error', async () => {
    writeFileSync(join(bin, 'apt-get.code'), '100\n');
    const { code, stderr } = await call(`(tools.installTools(['nft']), tools.explainMissing(['nft']))`);
    expect(code).toBe(0);
    expect(aptCalls().at(-1)).toBe('apt-get update');
    expect(stderr).toContain('`nft` is missing, so the demo runs on loopback and tests that need it are skipped.');
  });
});
