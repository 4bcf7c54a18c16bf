import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import type { IncomingHttpHeaders } from 'node:http';
import { request as httpRequest } from 'node:http';
import type { Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'valibot';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ShownConnection } from '../../../src/admin-api.ts';
import { certificatesPage, drainReply } from '../../../src/admin-api.ts';
import type { AdminParts } from '../../../src/agent/admin.ts';
import { maxShownConnections, startAdminServer } from '../../../src/agent/admin.ts';
import { startHealthServer } from '../../../src/agent/health.ts';
import type { RenewalState } from '../../../src/agent/identity-sources/source.ts';
import { systemClock } from '../../../src/clock.ts';
import { createRevocations } from '../../../src/identity/revocations.ts';
import { createReadiness } from '../../../src/lifecycle.ts';
import { createLog } from '../../../src/log.ts';
import { adminParts } from '../../support/admin-parts.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';

const log = createLog('silent');
const clock = createFakeClock();
let closing: { close(): Promise<void> }[];
let directory: string;

beforeEach(async () => {
  closing = [];
  directory = await mkdtemp(join(tmpdir(), 'remora-pages-'));
});

afterEach(async () => {
  await Promise.all(closing.map((server) => server.close()));
  await rm(directory, { recursive: true });
});

interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

interface Ask {
  path?: string;
  method?: string;
  headers?: Record<string, string>;
  body?: string | Buffer;
}

function ask(
  to: { port: number } | { socketPath: string },
  { path = '/', method = 'GET', headers = {}, body }: Ask = {},
) {
  const { promise, resolve, reject } = Promise.withResolvers<Reply>();
  const request = httpRequest({ host: '127.0.0.1', ...to, path, method, headers, agent: false }, (response) => {
    const chunks: Buffer[] = [];
    response.on('data', (chunk: Buffer) => chunks.push(chunk));
    response.on('end', () =>
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks).toString() }),
    );
  });
  request.on('error', reject);
  request.end(body);
  return promise;
}

/** Bytes as they are; resolves with all that comes back until the end. */
async function raw(port: number, text: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write(text);
  let answer = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    answer += chunk;
  });
  await new Promise((resolve) => socket.once('close', resolve));
  return answer;
}

const loopback = { ip: '127.0.0.1', port: 0 };

async function health(readiness = createReadiness(['identity', 'policy'])) {
  const server = await startHealthServer(loopback, { readiness, log });
  closing.push(server);
  return { port: server.address?.port ?? 0, readiness };
}

const authority = createTestAuthority('cluster.local');
const identity = createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'web', nowMs: clock.now() });
const renewal: RenewalState = {
  nextAttemptMs: clock.now() + 1000,
  lastFailure: { reason: 'unreachable', message: 'ECONNREFUSED', atMs: clock.now() },
  clockSkewMs: -1500,
};

const peers: AdminParts['peers'] = { byRoot: () => new Map(), sinceMs: clock.now() };

const revocations = {
  current: () => createRevocations({ certificates: [{ serials: ['01', '02'] }], identities: ['x'] }),
};

async function admin(parts: Partial<AdminParts> = {}) {
  const shown = { clock, log, identity: () => ({ current: identity, renewal }), peers, revocations };
  const server = await startAdminServer({ kind: 'tcp', address: loopback }, adminParts({ ...shown, ...parts }));
  closing.push(server);
  return server.address?.port ?? 0;
}

describe('health', () => {
  it('A9: is not ready and names each closed gate in plain words, and is alive all the same', async () => {
    const { port, readiness } = await health();
    readiness.close('identity', 'The certificate has expired');
    expect(await ask({ port }, { path: '/healthz/ready' })).toMatchObject({
      status: 503,
      body: 'identity: The certificate has expired\npolicy: Not yet\n',
    });
    expect(await ask({ port }, { path: '/livez' })).toMatchObject({ status: 200, body: 'live\n' });
  });

  it('A10: is ready when every gate is open, and no longer when one closes', async () => {
    const { port, readiness } = await health();
    readiness.open('identity');
    readiness.open('policy');
    expect(await ask({ port }, { path: '/healthz/ready?verbose' })).toMatchObject({ status: 200, body: 'ready\n' });
    readiness.close('policy', 'gone');
    expect((await ask({ port }, { path: '/healthz/ready' })).status).toBe(503);
  });

  it('answers to any name, because the kubelet dials the address of the pod', async () => {
    const { port } = await health(createReadiness([]));
    expect((await ask({ port }, { path: '/livez', headers: { host: '10.0.0.7:15021' } })).status).toBe(200);
  });

  it('K9: names the address that is taken', async () => {
    const { port } = await health();
    const second = startHealthServer({ ip: '127.0.0.1', port }, { readiness: createReadiness([]), log });
    await expect(second).rejects.toThrow(`127.0.0.1:${port} is in use by another process, expected it to be free`);
  });

  it('A7: ends connections that send nothing, or not all of their headers', { timeout: 30_000 }, async () => {
    const { port } = await health();
    const sockets: Socket[] = [];
    const ends = Array.from({ length: 80 }, async (_, index) => {
      const socket = connect(port, '127.0.0.1').on('error', () => undefined);
      sockets.push(socket);
      if (index % 2 === 0) socket.write('GET /livez HTTP/1.1\r\nhost: x\r\nx-slow: ');
      await new Promise((resolve) => socket.resume().once('close', resolve));
    });
    await Promise.all(ends);
    expect((await ask({ port }, { path: '/livez' })).status).toBe(200);
  });
});

describe('admin pages', () => {
  it('show the certificate, its renewals and the trust bundles', async () => {
    const port = await admin();
    const reply = await ask({ port }, { path: '/certs' });
    expect(reply).toMatchObject({
      status: 200,
      headers: { 'content-type': 'application/json', 'cache-control': 'no-store' },
    });
    const page = parse(certificatesPage, JSON.parse(reply.body));
    expect(page).toMatchObject({
      spiffeId: 'spiffe://cluster.local/ns/shop/sa/web',
      generation: 1,
      isExpired: false,
      notAfter: new Date(identity.notAfterMs).toISOString(),
      nextRenewal: new Date(clock.now() + 1000).toISOString(),
      clockSkewSeconds: -1.5,
      revocations: { certificates: 2, identities: 1, unknown: null },
      lastFailure: { reason: 'unreachable', happened: 'The control plane cannot be reached', message: 'ECONNREFUSED' },
    });
    expect(page.chain.map(({ serial }) => serial)).toEqual([identity.leaf.serialNumber]);
    expect(page.trustBundles['cluster.local']?.map(({ fingerprint }) => fingerprint)).toEqual(
      identity.bundles.domains.get('cluster.local')?.map(({ fingerprint }) => fingerprint),
    );
  });

  it('say of each root who chains to it and whether it may be removed', async () => {
    const [own = ''] = identity.bundles.domains.get('cluster.local')?.map(({ fingerprint }) => fingerprint) ?? [];
    const nowMs = clock.now();
    const recent = new Map([
      ['spiffe://cluster.local/ns/shop/sa/gone', nowMs - 1000],
      ['spiffe://cluster.local/ns/shop/sa/db', nowMs],
    ]);
    const seen = { open: 4, recent, unnamed: 2, lastSeenMs: nowMs };
    const byRoot = () =>
      new Map([
        [own, seen],
        ['removed', { ...seen, unnamed: 0 }],
        ['forgotten', { ...seen, recent: new Map(), unnamed: 0 }],
      ]);
    const port = await admin({ peers: { byRoot, sinceMs: nowMs - 5000 } });
    const page = parse(certificatesPage, JSON.parse((await ask({ port }, { path: '/certs' })).body));
    const shownPeers = {
      open: 4,
      recent: [
        { spiffeId: 'spiffe://cluster.local/ns/shop/sa/db', lastSeen: new Date(nowMs).toISOString() },
        { spiffeId: 'spiffe://cluster.local/ns/shop/sa/gone', lastSeen: new Date(nowMs - 1000).toISOString() },
      ],
      unnamed: 2,
      lastSeen: new Date(nowMs).toISOString(),
    };
    expect(page).toMatchObject({
      now: new Date(nowMs).toISOString(),
      issuedBy: own,
      peersSince: new Date(nowMs - 5000).toISOString(),
      trustBundles: {
        'cluster.local': [
          { peers: shownPeers, mayBeRemoved: false, removal: expect.stringMatching(/^Our own .* up to 4 peers chain/) },
        ],
      },
    });
    expect(page.removedRoots).toEqual([{ fingerprint: 'removed', peers: { ...shownPeers, unnamed: 0 } }]);
  });

  it('A5: never show a key', async () => {
    const port = await admin();
    const { body } = await ask({ port }, { path: '/certs' });
    const secret = identity.key.export({ format: 'jwk' }).d ?? 'none';
    expect(body).not.toContain('PRIVATE');
    expect(body).not.toContain(secret);
    expect(body).not.toContain(Buffer.from(secret, 'base64url').toString('base64').slice(0, 40));
  });

  it('say that there is no certificate yet', async () => {
    const port = await admin({ identity: () => undefined });
    expect(await ask({ port }, { path: '/certs' })).toMatchObject({
      status: 503,
      body: 'There is no certificate yet\n',
    });
  });

  it('show ten thousand connections, and let everything else go on meanwhile', async () => {
    const connection = { id: 'a-1' } as ShownConnection;
    const turns: number[] = [];
    let shown = 0;
    const count = () => {
      turns.push(shown);
      if (shown < 10_000) setImmediate(count);
    };
    function* connections() {
      if (shown === 0) setImmediate(count);
      for (; shown < 10_000; shown += 1) yield connection;
    }
    const port = await admin({ clock: systemClock, connections });
    const { body } = await ask({ port }, { path: '/connections' });
    expect(JSON.parse(body).connections).toHaveLength(10_000);
    expect(turns.filter((seen) => seen > 0 && seen < 10_000).length).toBeGreaterThan(10);
  });

  it('show no more than ten thousand connections, and how many are left out', async () => {
    function* connections() {
      for (;;) yield { id: 'a-1' } as ShownConnection;
    }
    const openNow = () => ({ connections: { inbound: 30_000, outbound: 12 }, tunnels: { inbound: 0, outbound: 0 } });
    const port = await admin({ clock: systemClock, connections, openNow });
    const page = JSON.parse((await ask({ port }, { path: '/connections' })).body);
    expect(page.connections).toHaveLength(maxShownConnections);
    expect(page.leftOut).toBe(20_012);
  });

  it('show readiness', async () => {
    const port = await admin();
    expect(await ask({ port }, { path: '/ready' })).toMatchObject({ status: 200, body: 'ready\n' });
  });

  it('begin with a list of all, which HEAD asks for without a body', async () => {
    const port = await admin();
    const index = JSON.parse((await ask({ port })).body);
    expect(Object.keys(index)).toEqual(
      expect.arrayContaining(['GET /status', 'GET /certs', 'GET, POST /logging', 'POST /quitquitquit']),
    );
    for (const [name, does] of Object.entries(index)) {
      expect(does).toMatch(/^[a-z].+[^.]$/);
      const [methods = '', path = ''] = name.split(/ (?=\/)/);
      if (!methods.startsWith('GET') || path === '/explain') continue;
      expect(await ask({ port }, { path, method: 'HEAD' })).toMatchObject({ status: 200, body: '' });
    }
  });

  it('name what exists when a page does not', async () => {
    const port = await admin();
    for (const path of ['/certs/', '/__proto__', '/constructor', '//certs', '/status/drain']) {
      expect(await ask({ port }, { path })).toMatchObject({
        status: 404,
        body: expect.stringMatching(
          /^There is no such page, expected one of \/, \/status, \/certs, .*\/quitquitquit\n$/,
        ),
      });
    }
  });

  it('fail with words of no use to a stranger, and the next one works', async () => {
    let isBroken = true;
    const port = await admin({
      connections: () => {
        if (isBroken) throw new Error('secret detail');
        return [];
      },
    });
    const reply = await ask({ port }, { path: '/connections' });
    expect(reply.status).toBe(500);
    expect(reply.body).not.toContain('secret');
    isBroken = false;
    expect((await ask({ port }, { path: '/connections' })).status).toBe(200);
  });

  it.each(['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE'])('A3: %s is refused with 405', async (method) => {
    const port = await admin();
    expect(await ask({ port }, { path: '/certs', method })).toMatchObject({
      status: 405,
      headers: { allow: 'GET, HEAD' },
    });
  });

  it('A3: a body is refused with 413 and not read', async () => {
    const port = await admin();
    const head = 'GET /certs HTTP/1.1\r\nhost: localhost\r\n';
    for (const framing of ['content-length: 10000000', 'transfer-encoding: chunked']) {
      const answer = await raw(port, `${head}${framing}\r\n\r\n5\r\nhello`);
      expect(answer).toMatch(/^HTTP\/1\.1 413 /);
      expect(answer.match(/HTTP\/1\.1/g)).toHaveLength(1);
    }
  });

  it.each([
    'evil.example',
    'evil.example:15000',
    '127.0.0.1.evil.example',
    'localhost.evil.example:15000',
    '10.0.0.7:15000',
    'localhost@evil.example',
    '127.0.0.1:15000:1',
  ])('A4: the Host %j is refused with 403', async (host) => {
    const port = await admin();
    const reply = await ask({ port }, { path: '/certs', headers: { host } });
    expect([400, 403]).toContain(reply.status);
    expect(reply.body).not.toContain('spiffe');
  });

  it.each(['localhost', 'LOCALHOST:1', '127.0.0.1:15000', '[::1]:15000'])('A4: the Host %j is served', async (host) => {
    const port = await admin();
    expect((await ask({ port }, { path: '/certs', headers: { host } })).status).toBe(200);
  });

  it.each(['http://evil.example', 'https://localhost', 'null', 'http://localhost.evil.example', 'file://'])(
    'A4: the Origin %j is refused with 403',
    async (origin) => {
      const port = await admin();
      expect((await ask({ port }, { path: '/certs', headers: { origin } })).status).toBe(403);
      expect((await ask({ port }, { path: '/certs', headers: { origin: 'http://localhost:15000' } })).status).toBe(200);
      expect((await ask({ port }, { path: '/certs', headers: { 'sec-fetch-site': 'cross-site' } })).status).toBe(403);
    },
  );

  it.each([
    [
      'both framings',
      'POST /certs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n',
    ],
    ['two lengths', 'GET /certs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\ncontent-length: 5\r\n\r\nhello'],
    ['line feeds alone', 'GET /certs HTTP/1.1\nhost: localhost\n\n'],
    ['a folded header', 'GET /certs HTTP/1.1\r\nhost: localhost\r\nx: a\r\n b\r\n\r\n'],
    ['a space before the colon', 'GET /certs HTTP/1.1\r\nhost : localhost\r\n\r\n'],
    ['two hosts', 'GET /certs HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n'],
    ['an empty host', 'GET /certs HTTP/1.1\r\nhost: \r\n\r\n'],
    ['no host', 'GET /certs HTTP/1.1\r\n\r\n'],
    ['no HTTP', 'hello\r\n\r\n'],
    ['a NUL in a header', 'GET /certs HTTP/1.1\r\nhost: localhost\r\nx: a\0b\r\n\r\n'],
  ])('A11: %s are answered with 400 and nothing else', async (_, text) => {
    const port = await admin();
    const answer = await raw(port, text);
    expect(answer).toMatch(/^HTTP\/1\.1 (400|403) /);
    expect(answer.match(/HTTP\/1\.1/g)).toHaveLength(1);
    expect(answer).not.toContain('spiffe');
  });

  it('refuse 1 MB of headers', async () => {
    const port = await admin();
    const answer = await raw(port, `GET /certs HTTP/1.1\r\nhost: localhost\r\nx: ${'x'.repeat(20_000)}\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1\.1 431 /);
  });
});

describe('what changes the sidecar', () => {
  /** Whatever anybody had it do. */
  async function changeable() {
    const did: string[] = [];
    const port = await admin({
      quit: () => void did.push('quit'),
      stopping: {
        progress: () => ({ stage: 'serving', isStopping: false }),
        drain: async () => void did.push('drain'),
      },
    });
    return { port, did };
  }

  it('is done for a POST, and says what it did', async () => {
    const { port, did } = await changeable();
    const drained = await ask({ port }, { path: '/drain', method: 'POST' });
    expect(drained.status).toBe(202);
    expect(parse(drainReply, JSON.parse(drained.body)).did).toBe('The sidecar begins to drain, and goes on running');
    const stopped = await ask({ port }, { path: '/quitquitquit?now', method: 'POST' });
    expect(stopped.status).toBe(202);
    expect(parse(drainReply, JSON.parse(stopped.body)).did).toBe('The sidecar begins to stop');
    expect(did).toEqual(['drain', 'quit']);
  });

  it.each(['GET', 'HEAD', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'])('A3: is not done for %s', async (method) => {
    const { port, did } = await changeable();
    for (const path of ['/drain', '/quitquitquit'])
      expect(await ask({ port }, { path, method })).toMatchObject({ status: 405, headers: { allow: 'POST' } });
    expect(did).toEqual([]);
  });

  it.each([
    ['of another Host', 'GET /certs HTTP/1.1\r\nhost: evil.example'],
    ['of another site', 'POST /drain HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.example'],
    ['for what is not there', 'GET /nothing HTTP/1.1\r\nhost: localhost'],
    ['that its page refuses', 'POST /logging?level=loud HTTP/1.1\r\nhost: localhost'],
  ])('A3: is not done for what comes at once with a refused request %s', async (_, refused) => {
    const { port, did } = await changeable();
    const answer = await raw(port, `${refused}\r\n\r\nPOST /quitquitquit HTTP/1.1\r\nhost: localhost\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1\.1 4/);
    expect(answer.match(/HTTP\/1\.1/g)).toHaveLength(1);
    expect(did).toEqual([]);
  });

  it('is done in order for what comes at once with a page', async () => {
    const { port, did } = await changeable();
    const drain = 'POST /drain HTTP/1.1\r\nhost: localhost\r\n\r\n';
    const last = 'POST /quitquitquit HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n';
    expect((await raw(port, drain + last)).match(/HTTP\/1\.1 202/g)).toHaveLength(2);
    expect(did).toEqual(['drain', 'quit']);
  });

  it('A3: is not done with a body, which is refused with 413', async () => {
    const { port, did } = await changeable();
    for (const framing of ['content-length: 5', 'transfer-encoding: chunked'])
      expect(await raw(port, `POST /quitquitquit HTTP/1.1\r\nhost: localhost\r\n${framing}\r\n\r\n5\r\nhello`)).toMatch(
        /^HTTP\/1\.1 413 /,
      );
    expect(did).toEqual([]);
    expect((await ask({ port }, { path: '/drain', method: 'POST', headers: { 'content-length': '0' } })).status).toBe(
      202,
    );
  });

  it.each<[string, Record<string, string>]>([
    ['of another site', { origin: 'http://evil.example', 'sec-fetch-site': 'cross-site' }],
    ['in a sandbox, or without a referrer', { origin: 'null' }],
    ['of a file', { origin: 'file://' }],
    ['on another port of this host', { origin: 'http://localhost:8080', 'sec-fetch-site': 'same-site' }],
    ['on this very port', { origin: 'http://127.0.0.1:15000', 'sec-fetch-site': 'same-origin' }],
    ['that the address bar was made to open', { 'sec-fetch-site': 'none' }],
    ['whose form has no Origin', { referer: 'http://localhost:8080/', 'content-type': 'text/plain' }],
    ['whose form has neither Origin nor Referer', { 'user-agent': 'Mozilla/5.0 (X11; Linux x86_64)' }],
  ])('A4: is not done for a page %s', async (_, headers) => {
    const { port, did } = await changeable();
    for (const path of ['/drain', '/quitquitquit'])
      expect((await ask({ port }, { path, method: 'POST', headers })).status).toBe(403);
    expect(did).toEqual([]);
  });

  it.each(['evil.example', '10.0.0.7:15000'])('A4: is not done for the Host %j', async (host) => {
    const { port, did } = await changeable();
    expect((await ask({ port }, { path: '/quitquitquit', method: 'POST', headers: { host } })).status).toBe(403);
    expect(did).toEqual([]);
  });

  it('is done for curl, wget and Node.js, as an application calls it', async () => {
    const { port, did } = await changeable();
    const form = { 'content-type': 'application/x-www-form-urlencoded', 'content-length': '0' };
    for (const headers of [
      { 'user-agent': 'curl/8.14.1', ...form },
      { 'user-agent': 'Wget/1.25.0', ...form },
    ])
      expect((await ask({ port }, { path: '/drain', method: 'POST', headers })).status).toBe(202);
    expect((await fetch(`http://127.0.0.1:${port}/drain`, { method: 'POST' })).status).toBe(202);
    expect(did).toEqual(['drain', 'drain', 'drain']);
  });

  it.each([
    ['both framings', 'content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['a body that is another request', 'content-length: 48\r\n\r\n'],
  ])('A11: is not done by a request that hides in one with %s', async (_, rest) => {
    const { port, did } = await changeable();
    const hidden = 'POST /quitquitquit HTTP/1.1\r\nhost: localhost\r\n\r\n';
    const answer = await raw(port, `POST /drain HTTP/1.1\r\nhost: localhost\r\n${rest}${hidden}`);
    expect(answer).toMatch(/^HTTP\/1\.1 (400|413) /);
    expect(answer.match(/HTTP\/1\.1/g)).toHaveLength(1);
    expect(did).toEqual([]);
  });
});

describe('a unix socket', () => {
  const start = (path: string) => startAdminServer({ kind: 'unix', path }, adminParts({ clock }));

  it('A1: serves the admin pages to its owner alone', async () => {
    const path = join(directory, 'admin.sock');
    closing.push(await start(path));
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await ask({ socketPath: path }, { path: '/ready' })).toMatchObject({ status: 200 });
  });

  it('takes the place of one that a killed process has left, and of no other', async () => {
    const path = join(directory, 'admin.sock');
    const left = createServer().listen(path);
    await once(left, 'listening');
    await expect(start(path)).rejects.toThrow(`${path} is in use by another process`);
    left.close();
    const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', script]);
    expect((await stat(path)).isSocket()).toBe(true);
    closing.push(await start(path));
    const file = join(directory, 'file');
    await writeFile(file, 'precious');
    await expect(start(file)).rejects.toThrow(file);
    expect(await readFile(file, 'utf8')).toBe('precious');
  });
});
