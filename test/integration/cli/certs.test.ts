import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { adminPaths, certificatesPage } from '../../../src/admin-api.ts';
import type { AdminParts } from '../../../src/agent/admin.ts';
import { startAdminServer } from '../../../src/agent/admin.ts';
import { timedReadiness } from '../../../src/agent/gate-times.ts';
import { askForPage } from '../../../src/cli/admin/client.ts';
import { run } from '../../../src/cli/certs/command.ts';
import { RemoraError } from '../../../src/errors.ts';
import type { Host } from '../../../src/host.ts';
import { createReadiness } from '../../../src/lifecycle.ts';
import { adminParts } from '../../support/admin-parts.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';

const clock = createFakeClock();
const authority = createTestAuthority('cluster.local');
const identity = createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'web', nowMs: clock.now() });

let directory: string;
const closing: (() => unknown)[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'remora-certs-'));
});
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
  rmSync(directory, { recursive: true });
});

/** An agent's admin pages, as the agent serves them. */
async function agent(
  parts: Partial<AdminParts> = {},
  listener: Parameters<typeof startAdminServer>[0] = { kind: 'tcp', address: { ip: '127.0.0.1', port: 0 } },
): Promise<string> {
  const renewal = { nextAttemptMs: clock.now() + 1000, lastFailure: undefined, clockSkewMs: 0 };
  const held = () => ({ current: identity, renewal });
  const server = await startAdminServer(listener, adminParts({ clock, identity: held, ...parts }));
  closing.push(() => server.close());
  return `127.0.0.1:${server.address?.port}`;
}

/** Somebody else at that address. */
async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  closing.push(
    () => server.close(),
    () => server.closeAllConnections(),
  );
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

interface Ran {
  readonly code: number;
  readonly out: string;
}

async function certs(args: readonly string[], env: Record<string, string> = {}): Promise<Ran> {
  const stdout = new PassThrough();
  const code = await run({ args, env, stdout } as unknown as Host).catch((error: unknown) => {
    if (error instanceof RemoraError) return { code: error.exitCode, out: error.message };
    throw error;
  });
  if (typeof code === 'object') return code;
  return { code, out: String(stdout.read() ?? '') };
}

describe('remora certs', () => {
  it('shows the certificates of an agent to a person, and ends with 0', async () => {
    const { code, out } = await certs(['--admin', await agent()]);
    expect(code).toBe(0);
    expect(out.split('\n')[0]).toBe('spiffe://cluster.local/ns/shop/sa/web');
    expect(out).toContain(`  serial ${identity.leaf.serialNumber}\n`);
    expect(out).toContain(`  ends in the root ${identity.rootFingerprint}\n`);
    expect(out).toContain('Not to be removed: Our own certificate chains to it; 0 peers chain to it since ');
    expect(out).not.toContain('PRIVATE');
  });

  it('prints the page as it is with --json', async () => {
    const address = await agent();
    const page = await (await fetch(`http://${address}/certs`)).text();
    expect(await certs(['--json', '--admin', address])).toEqual({ code: 0, out: page });
  });

  it('ends with 1 when the identity has lapsed, and shows it all the same', async () => {
    const lapsed = { ...identity, notAfterMs: clock.now() };
    const renewal = { nextAttemptMs: undefined, lastFailure: undefined, clockSkewMs: undefined };
    const address = await agent({ identity: () => ({ current: lapsed, renewal }) });
    const { code, out } = await certs(['--admin', address]);
    expect(code).toBe(1);
    expect(out).toContain('LAPSED 0s ago, and no connection is made or taken with it');
    expect(await certs(['--json', '--admin', address])).toMatchObject({
      code: 1,
      out: expect.stringContaining('"isExpired": true'),
    });
  });

  it('ends with 1 before the first certificate, and says why there is none', async () => {
    const readiness = timedReadiness(clock, createReadiness(['identity', 'policy']));
    readiness.close('identity', 'The token file is missing\u001b[2J');
    const address = await agent({ identity: () => undefined, readiness });
    expect(await certs(['--admin', address])).toEqual({
      code: 1,
      out: `The agent at ${address} has no certificate yet: The token file is missing\uFFFD[2J`,
    });
  });

  it('finds the agent by the settings of the agent itself', async () => {
    const path = join(directory, 'admin.sock');
    await agent({}, { kind: 'unix', path });
    const file = join(directory, 'remora.yaml');
    writeFileSync(file, `adminListen: ${path}\nlogLevel: info\n`);
    const others = { REMORA_CAPTURE: 'nonsense', REMORA_TUNNELS: 'x' };
    expect((await certs([], { REMORA_ADMIN_LISTEN: path, ...others })).code).toBe(0);
    expect((await certs([], { REMORA_CONFIG: file })).code).toBe(0);
    const overridden = { REMORA_CONFIG: file, REMORA_ADMIN_LISTEN: '127.0.0.1:1' };
    expect((await certs([], overridden)).code).toBe(69);
    expect((await certs(['--admin', path], overridden)).code).toBe(0);
  });
});

describe('remora certs ends with one sentence', () => {
  it('and 69 when nothing listens', async () => {
    const socket = join(directory, 'none.sock');
    expect(await certs(['--admin', socket])).toEqual({
      code: 69,
      out: `No agent answers at ${socket}: nothing listens there`,
    });
    expect(await certs(['--admin', '127.0.0.1:1'])).toEqual({
      code: 69,
      out: 'No agent answers at 127.0.0.1:1: nothing listens there',
    });
  });

  it.each<[string, RequestListener, string]>([
    [
      'another page',
      (_, response) => response.writeHead(404).end(),
      'answers 404, expected the admin page of an agent',
    ],
    ['text', (_, response) => response.end('<html>'), 'is not the admin page of an agent: it is not JSON'],
    ['other JSON', (_, response) => response.end('{"spiffeId":1}'), 'of an agent of this version: it differs at now'],
    ['null', (_, response) => response.end('null'), 'of an agent of this version: it differs at its beginning'],
    ['no HTTP', (_, response) => void response.socket?.end('220 smtp\r\n'), 'No agent answers at'],
    ['a reset', (_, response) => void response.socket?.resetAndDestroy(), 'No agent answers at'],
    [
      'an endless page',
      (_, response) => {
        const fill = () => {
          while (!response.destroyed && response.write('x'.repeat(65_536)));
        };
        response.on('drain', fill);
        fill();
      },
      'is not the admin page of an agent: it is too large',
    ],
  ])('and 69 when what answers is %s', async (_, listener, words) => {
    const { code, out } = await certs(['--admin', await serve(listener)]);
    expect(code).toBe(69);
    expect(out).toContain(words);
    expect(out).not.toContain('\n');
  });

  it('and 69 when somebody takes the connection and never answers', async () => {
    const asked = Promise.withResolvers<void>();
    const address = await serve(() => asked.resolve());
    const [ip = '', port = ''] = address.split(':');
    const hanging = createFakeClock();
    const answer = askForPage(
      hanging,
      { kind: 'tcp', address: { ip, port: Number(port) } },
      adminPaths.certificates,
      certificatesPage,
    );
    const failure = expect(answer).rejects.toThrow(`The agent at ${address} did not answer within 5000 ms`);
    await asked.promise;
    await hanging.advance(5000);
    await failure;
    expect(hanging.pending).toBe(0);
  });

  it.each([
    [['--admin', '10.0.0.1:15000'], {}, 2, "--admin is '10.0.0.1:15000', expected 127.0.0.1:PORT, [::1]:PORT or the"],
    [['--yaml'], {}, 2, "unknown option '--yaml'"],
    [[], { REMORA_ADMIN_LISTEN: '0.0.0.0:15000' }, 78, 'adminListen=0.0.0.0:15000 from REMORA_ADMIN_LISTEN is not an'],
    [[], { REMORA_CONFIG: '/nowhere.yaml' }, 78, '/nowhere.yaml cannot be read (ENOENT), expected a YAML file of'],
  ])('and the code of a wrong call for %j %j', async (args, env, code, words) => {
    const ran = await certs(args, env as Record<string, string>);
    expect(ran.code).toBe(code);
    expect(ran.out).toContain(words);
  });
});

describe('remora certs --watch', () => {
  /** Everything that it writes until it has written `chunks` times; then it is told to stop. */
  async function watch(
    args: readonly string[],
    chunks: number,
    terminal = {},
  ): Promise<{ code: number; out: string[] }> {
    const stdout = Object.assign(new PassThrough(), terminal);
    const out: string[] = [];
    let stop: () => void = () => undefined;
    stdout.on('data', (chunk: Buffer) => {
      out.push(chunk.toString());
      if (out.length === chunks) stop();
    });
    const onStopSignal = (handler: () => void) => {
      stop = handler;
      return () => undefined;
    };
    const code = await run({ args: ['--watch', ...args], env: {}, stdout, onStopSignal } as unknown as Host);
    return { code, out };
  }

  it('looks again until a signal, each in the place of the one before, and ends with 0', async () => {
    const { code, out } = await watch(['--admin', await agent()], 2, { isTTY: true, rows: 60, columns: 120 });
    expect(code).toBe(0);
    expect(out).toHaveLength(2);
    for (const page of out) {
      expect(page.startsWith('\u001b[Hspiffe://cluster.local/ns/shop/sa/web\u001b[K\n')).toBe(true);
      expect(page.endsWith('\n\u001b[J')).toBe(true);
      expect(page).not.toContain('more line');
    }
  });

  it('leaves out what a small terminal has no room for, so that it never scrolls', async () => {
    const { out } = await watch(['--admin', await agent()], 1, { isTTY: true, rows: 6, columns: 120 });
    const rows = out[0]?.split('\u001b[K\n') ?? [];
    expect(rows).toHaveLength(6);
    expect(rows.slice(-2)).toEqual([expect.stringMatching(/^and \d\d more lines$/), '\u001b[J']);
  });

  it('writes one line of JSON each time, and goes on when no agent answers', async () => {
    let isUp = false;
    const renewal = { nextAttemptMs: undefined, lastFailure: undefined, clockSkewMs: undefined };
    const held = () => {
      if (!isUp) throw new Error('broken');
      return { current: identity, renewal };
    };
    const address = await agent({
      identity: () => {
        try {
          return held();
        } finally {
          isUp = true;
        }
      },
    });
    const { out } = await watch(['--json', '--admin', address], 2);
    expect(out.map((line) => JSON.parse(line))).toEqual([
      { error: `${address} answers 500, expected the admin page of an agent` },
      expect.objectContaining({ spiffeId: 'spiffe://cluster.local/ns/shop/sa/web' }),
    ]);
    for (const line of out) expect(line).toMatch(/^[^\n]+\n$/);
  });
});
