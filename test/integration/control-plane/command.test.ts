import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CertificateReply } from '../../../src/control-api.ts';
import { paths } from '../../../src/control-api.ts';
import { createCsr, createKey } from '../../../src/identity/csr.ts';
import { call, openStream } from '../../support/control-plane-client.ts';
import { spiffeId } from '../../support/identities.ts';
import { meshedPod } from '../../support/registry-source.ts';

/*
 * Runs the real program as an operator does: control plane, tokens, a restart, signals, and what it says when it cannot
 * start.
 */

const root = resolve(import.meta.dirname, '../../..');
const node = join(root, 'node_modules/.bin/node');
const web = spiffeId('spiffe://cluster.local/ns/shop/sa/web');

let directory: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'remora-command-'));
  mkdirSync(join(directory, 'registry'));
  mkdirSync(join(directory, 'out'));
  writeFileSync(join(directory, 'registry/api.yaml'), meshedPod('api', '10.0.0.1'));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(directory, { recursive: true });
});

interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function start(args: readonly string[], env: Record<string, string> = {}) {
  const child = spawn(node, [join(root, 'src/main.ts'), ...args], {
    cwd: directory,
    env: { PATH: process.env.PATH ?? '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => {
    output.stdout += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    output.stderr += chunk.toString();
  });
  const finished = once(child, 'close').then(([code]): Finished => ({ code: code as number | null, ...output }));
  return { child, finished };
}

const run = (args: readonly string[], env?: Record<string, string>) => start(args, env).finished;

async function freePort(): Promise<number> {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** A control plane that is ready, on ports of its own. */
async function startControlPlane(...args: readonly string[]) {
  const [port, metricsPort] = [await freePort(), await freePort()];
  const rootFile = join(directory, 'out/root.pem');
  const listen = [
    `--listen=127.0.0.1:${port}`,
    `--metrics-listen=127.0.0.1:${metricsPort}`,
    `--write-root=${rootFile}`,
  ];
  const { child, finished } = start(['control-plane', ...listen, ...args]);
  for await (const line of createInterface({ input: child.stdout! })) if (line.includes('Control plane ready')) break;
  return { child, finished, apiAddress: { ip: '127.0.0.1', port }, rootPem: readFileSync(rootFile, 'utf8'), rootFile };
}

const tokenArgs = ['token', '--state-dir=state', '--namespace=shop', '--service-account=web', '--pod=web-0'];

describe('remora control-plane', () => {
  it('serves a sidecar with a token of `remora token`, and is the same authority after a restart', async () => {
    const first = await startControlPlane('--state-dir=state', '--registry=registry', '--certificate-lifetime=10m');
    const token = await run(tokenArgs);
    expect(token).toMatchObject({ code: 0, stderr: '', stdout: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+\n$/) });
    const bearer = token.stdout.trim();
    const csr = createCsr(createKey(), web);
    const reply = await call(first, paths.certificates, { token: bearer, body: { csr, ttlSeconds: 86_400 } });
    const leaf = new X509Certificate((reply.json as CertificateReply).certificateChain);
    expect(leaf.subjectAltName).toBe(`URI:${web.uri}`);
    expect(leaf.validToDate.getTime() - leaf.validFromDate.getTime()).toBe(11 * 60_000);
    const stream = await openStream(first, bearer, ['10.0.0.1:80']);
    expect((await stream.take(4))[3]).toMatchObject({ data: { known: true } });

    first.child.kill('SIGTERM');
    expect(await stream.rest()).toEqual([]);
    const { code, stdout, stderr } = await first.finished;
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).not.toContain(bearer.split('.')[2]);
    expect(stdout).not.toContain('PRIVATE KEY');

    const second = await startControlPlane('--state-dir=state');
    expect(second.rootPem).toBe(first.rootPem);
    expect((await call(second, paths.certificates, { token: bearer, body: { csr } })).status).toBe(200);
    expect(statSync(second.rootFile).mode & 0o777).toBe(0o644);
  });

  it('K1: exits 0 on SIGTERM and on SIGINT, and says so', async () => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      const { child, finished } = await startControlPlane('--in-memory');
      child.kill(signal);
      expect(await finished).toMatchObject({ code: 0, stdout: expect.stringContaining('Control plane stopped') });
    }
  });

  it('is a new authority after each start with --in-memory', async () => {
    const roots = [];
    for (let run = 0; run < 2; run++) {
      const { child, finished, rootPem } = await startControlPlane('--in-memory');
      roots.push(rootPem);
      child.kill('SIGTERM');
      await finished;
    }
    expect(roots[0]).not.toBe(roots[1]);
  });

  it('K9: names the address that is in use in one line, and exits 1', async () => {
    const occupant = createServer();
    await once(occupant.listen(0, '127.0.0.1'), 'listening');
    const { port } = occupant.address() as AddressInfo;
    const finished = await run([
      'control-plane',
      '--in-memory',
      `--listen=127.0.0.1:${port}`,
      `--metrics-listen=127.0.0.1:${await freePort()}`,
    ]);
    expect(finished).toMatchObject({
      code: 1,
      stderr: `remora: 127.0.0.1:${port} is in use by another process, expected it to be free\n`,
    });
    occupant.close();
  });

  it('G3: says everything that is wrong at once, and exits 78', async () => {
    const wrong = [
      '--listen=127.0.0.1:0',
      '--metrics-listen=70000',
      '--trust-domain=A/b',
      '--certificate-lifetime=60',
      '--serving-name=a b',
      '--log-level=loud',
      '--token-issuer=me',
    ];
    const { code, stderr } = await run(['control-plane', ...wrong], { SSLKEYLOGFILE: '/tmp/keys' });
    expect(code).toBe(78);
    expect(stderr.trimEnd().split('\n')).toEqual([
      expect.stringMatching(/^remora: SSLKEYLOGFILE is set/),
      expect.stringMatching(/^remora: --listen=127\.0\.0\.1:0 is not usable, expected a port/),
      expect.stringMatching(/^remora: --metrics-listen=70000 is not usable, expected a port/),
      expect.stringMatching(/^remora: --trust-domain=A\/b is not usable, expected a trust domain/),
      expect.stringMatching(/^remora: --certificate-lifetime=60 is not usable, expected a number with a unit/),
      expect.stringMatching(/^remora: --log-level=loud is not usable, expected debug, info, warn, error, silent/),
      expect.stringMatching(/^remora: --serving-name=a b is not usable, expected a DNS name or an IP address/),
      expect.stringMatching(/^remora: --token-issuer=me is not usable, expected a URI/),
      expect.stringMatching(/^remora: Expected one of --state-dir, --authority and --in-memory/),
    ]);
  });

  it('refuses --state-dir and --in-memory together, one port for two servers, and an unknown option', async () => {
    const both = await run([
      'control-plane',
      '--in-memory',
      '--state-dir=state',
      '--listen=:15012',
      '--metrics-listen=15012',
    ]);
    expect(both).toMatchObject({ code: 78, stderr: expect.stringContaining('both use port 15012') });
    expect(both.stderr).toContain('Expected one of --state-dir, --authority and --in-memory');
    expect(await run(['control-plane', '--in-memroy'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--in-memroy'),
    });
  });

  it('G1: refuses a broken registry with its place, and makes no port wait for it', async () => {
    writeFileSync(join(directory, 'registry/b.yaml'), 'apiVersion: v1\nkind: Pod\nkind: Pod\n');
    expect(await run(['control-plane', '--in-memory', '--registry=registry'])).toMatchObject({
      code: 78,
      stderr: 'remora: registry/b.yaml:3:1: Map keys must be unique\n',
    });
  });

  it('refuses a key that others can read, and writes nothing', async () => {
    const { child, finished } = await startControlPlane('--state-dir=state');
    child.kill('SIGTERM');
    await finished;
    chmodSync(join(directory, 'state/authority/root-key.pem'), 0o644);
    rmSync(join(directory, 'out'), { recursive: true });
    expect(await run(['control-plane', '--state-dir=state', '--write-root=out/root.pem'])).toMatchObject({
      code: 78,
      stderr: 'remora: state/authority/root-key.pem can be read by others (mode 0644), expected 0600\n',
    });
    expect(existsSync(join(directory, 'out'))).toBe(false);
  });

  it('names a state directory that cannot be made', async () => {
    writeFileSync(join(directory, 'file'), '');
    const { code, stderr } = await run(['control-plane', '--state-dir=file/state']);
    expect(code).toBe(78);
    expect(stderr).toMatch(/^remora: Cannot read file\/state\/authority: ENOTDIR.*\n$/);
  });
});

describe('remora token', () => {
  it('says everything that is wrong at once, and exits 78', async () => {
    const { code, stderr } = await run([
      'token',
      '--state-dir=state',
      '--namespace=a/b',
      '--service-account=..',
      '--pod=P',
      '--lifetime=1',
    ]);
    expect(code).toBe(78);
    expect(stderr.trimEnd().split('\n')).toEqual([
      "remora: namespace 'a/b' is not a DNS label",
      "remora: service account '..' is not a DNS name",
      "remora: pod 'P' is not a DNS name",
      expect.stringMatching(/^remora: --lifetime=1 is not a duration/),
    ]);
  });

  it('needs the state directory of a control plane that has run', async () => {
    expect(await run(tokenArgs)).toMatchObject({
      code: 78,
      stderr: expect.stringContaining('state/authority does not exist'),
    });
    expect(await run(['token', '--namespace=shop'])).toMatchObject({ code: 2 });
  });
});
