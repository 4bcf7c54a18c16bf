import { once } from 'node:events';
import { mkdir, mkdtemp, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import type { AddressInfo, Socket } from 'node:net';
import { createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import { createServer as createTlsServer } from 'node:tls';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ControlClient, ControlClientSettings } from '../../../src/agent/control-client.ts';
import { createControlClient } from '../../../src/agent/control-client.ts';
import { RenewalError } from '../../../src/errors.ts';
import type { RenewalReason } from '../../../src/outcomes.ts';
import { makeAuthority } from '../../support/certificates.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import type { FakeControlPlane, FakeControlPlaneOptions } from '../../support/fake-control-plane.ts';
import { json, makeServingCertificate, startFakeControlPlane } from '../../support/fake-control-plane.ts';
import { namedWorkload } from '../../support/named-workloads.ts';

const token = 'eyJhbGciOiJub25lIn0.c2VjcmV0.c2lnbmF0dXJl';
const reply = { certificateChain: 'PEM', trustBundles: { 'cluster.local': 'PEM' }, serverTime: '2026-01-01T00:00:00Z' };
const asked = { csr: 'PEM', ttlSeconds: 3600 };

let directory: string;
let caFile: string;
let tokenFile: string;
let clock: FakeClock;
let closing: (() => Promise<unknown>)[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'remora-client-'));
  caFile = join(directory, 'ca.pem');
  tokenFile = join(directory, 'token');
  clock = createFakeClock(Date.parse('2026-01-01T00:00:00Z'));
  closing = [];
  await writeFile(tokenFile, `${token}\n`);
});

afterEach(async () => {
  for (const close of closing.reverse()) await close();
  await rm(directory, { recursive: true });
});

async function plane(options: FakeControlPlaneOptions = {}): Promise<FakeControlPlane> {
  const started = await startFakeControlPlane({ answer: json(reply), ...options });
  closing.push(() => started.close());
  await writeFile(caFile, started.caPem);
  return started;
}

function client(url: string, settings: Partial<ControlClientSettings> = {}): ControlClient {
  const made = createControlClient(clock, {
    url,
    caFile,
    tokenFile,
    serverName: undefined,
    connectTimeoutMs: 5000,
    timeoutMs: 10_000,
    ...settings,
  });
  closing.push(() => made.close());
  return made;
}

async function failure(work: Promise<unknown>): Promise<RenewalError> {
  const error = await work.then(
    (value) => new Error(`it succeeded with ${JSON.stringify(value)}`),
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof RenewalError)) throw error;
  expect(`${error.message} ${error.stack} ${JSON.stringify(error.cause ?? '')}`).not.toContain(token);
  return error;
}

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

async function closed(socket: Socket): Promise<void> {
  if (!socket.closed) await once(socket, 'close');
}

/** The failure of a call once `ready` has happened and its deadline has passed. */
async function failureAfterDeadline(work: Promise<unknown>, ready: Promise<unknown>): Promise<RenewalError> {
  const failed = failure(work);
  await ready;
  await clock.advance(10_000);
  return failed;
}

describe('a call', () => {
  it('sends the token to a verified server and returns the parsed reply', async () => {
    const server = await plane();
    expect(await client(server.url).certificate(asked)).toEqual(reply);
    expect(server.requests).toMatchObject([
      { method: 'POST', path: '/v1/certificates', authorization: `Bearer ${token}`, body: JSON.stringify(asked) },
    ]);
  });

  it('asks for destinations', async () => {
    const destination = { address: '10.0.0.7:80', endpoints: [], ttlSeconds: 30 };
    const server = await plane({ answer: json({ destinations: [destination] }) });
    expect(await client(server.url).destinations(['10.0.0.7:80'])).toEqual([{ ...destination, known: true }]);
  });

  it('asks for workloads, and takes none whose names could not be labels', async () => {
    const workload = namedWorkload('web');
    const server = await plane({ answer: json({ workloads: [workload] }) });
    expect(await client(server.url).workloads(['10.0.0.1'])).toEqual([workload]);
    expect(server.requests).toMatchObject([{ path: '/v1/workloads', body: '{"addresses":["10.0.0.1"]}' }]);
    for (const name of ['web"\n', ' web', '', 'w'.repeat(254), 'wéb']) {
      server.answer = json({ workloads: [{ ...workload, name }] });
      expect((await failure(client(server.url).workloads(['10.0.0.1']))).reason, name).toBe('bad_json');
    }
  });

  it('uses one connection for several calls, and a new one when the CA file has changed', async () => {
    const server = await plane();
    const one = client(server.url);
    await one.certificate(asked);
    await one.certificate(asked);
    expect(server.connections).toHaveLength(1);
    await writeFile(caFile, makeAuthority().pem);
    expect((await failure(one.certificate(asked))).reason).toBe('server_untrusted');
    await writeFile(caFile, `${makeAuthority().pem}${server.caPem}`);
    await one.certificate(asked);
    expect(server.requests).toHaveLength(3);
  });

  it('ends with the reason of the signal', async () => {
    const server = await plane({ answer: () => undefined });
    const controller = new AbortController();
    const call = client(server.url).certificate(asked, controller.signal);
    await server.request(0);
    controller.abort(new Error('stopping'));
    await expect(call).rejects.toThrow('stopping');
  });
});

describe('R5: a server that does not answer as it should ends in the deadline of the whole call', () => {
  it('R5: accepts TCP and never speaks', async () => {
    const server = createTcpServer().listen(0, '127.0.0.1');
    closing.push(async () => server.close());
    await once(server, 'listening');
    await writeFile(caFile, makeAuthority().pem);
    const accepted = once(server, 'connection') as Promise<[Socket]>;
    const call = client(`https://localhost:${(server.address() as AddressInfo).port}`).certificate(asked);
    const failed = await failureAfterDeadline(call, accepted);
    expect(failed.reason).toBe('timeout');
    expect(failed.message).toContain('did not answer within 10000 ms');
    (await accepted)[0].destroy();
  });

  it('R5: accepts the request and never answers', async () => {
    const server = await plane({ answer: () => undefined });
    const call = client(server.url).certificate(asked);
    expect((await failureAfterDeadline(call, server.request(0))).reason).toBe('timeout');
  });

  it('R5: sends one byte a second', async () => {
    const server = await plane({
      answer: async ({ response }) => {
        response.writeHead(200, { 'content-type': 'application/json' });
        while (!response.destroyed) {
          response.write(' ');
          await clock.sleep(1000);
        }
      },
    });
    const call = client(server.url).certificate(asked);
    expect((await failureAfterDeadline(call, server.request(0))).reason).toBe('timeout');
    await closed(server.connections[0]!);
  });

  it('R5: resets at byte k, for every k', async () => {
    const whole = `HTTP/1.1 200 OK\r\ncontent-length: ${JSON.stringify(reply).length}\r\n\r\n${JSON.stringify(reply)}`;
    const root = makeAuthority();
    const certificate = makeServingCertificate(root);
    const raw: Socket[] = [];
    let cutAt = 0;
    const server = createTlsServer({
      cert: certificate.pem,
      key: certificate.key.export({ type: 'pkcs8', format: 'pem' }),
    });
    server.on('connection', (socket: Socket) => raw.push(socket.on('error', () => undefined)));
    server.on('secureConnection', (socket: TLSSocket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => socket.write(whole.slice(0, cutAt), () => raw.at(-1)?.resetAndDestroy()));
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    closing.push(async () => server.close());
    await writeFile(caFile, root.pem);
    const one = client(`https://localhost:${(server.address() as AddressInfo).port}`);
    for (cutAt = 0; cutAt < whole.length; cutAt++) {
      expect((await failure(one.certificate(asked))).reason, `cut at ${cutAt}`).toBe('unreachable');
    }
  });

  it('says unreachable when nothing listens', async () => {
    const server = await plane();
    await server.close();
    closing.shift();
    expect((await failure(client(server.url).certificate(asked))).message).toContain('ECONNREFUSED');
  });
});

describe('R6: a server whose certificate is not accepted gets no token', () => {
  const cases: [string, FakeControlPlaneOptions, string, string][] = [
    [
      'for another name',
      { certificate: { sans: [{ dns: 'other' }] } },
      'ERR_TLS_CERT_ALTNAME_INVALID',
      'its name is another one',
    ],
    ['that has expired', { certificate: { notAfterMs: Date.now() - 1000 } }, 'CERT_HAS_EXPIRED', 'its dates are over'],
    [
      'that is not valid yet',
      { certificate: { notBeforeMs: Date.now() + 3_600_000 } },
      'CERT_NOT_YET_VALID',
      'its dates have not begun',
    ],
    [
      'for clients only',
      { certificate: { extendedKeyUsage: ['1.3.6.1.5.5.7.3.2'] } },
      'INVALID_PURPOSE',
      'it is not for a server',
    ],
  ];
  it.each(cases)('R6: a certificate %s', async (_, options, code, words) => {
    const server = await plane(options);
    const failed = await failure(client(server.url).certificate(asked));
    expect(failed.reason).toBe('server_untrusted');
    expect(failed.message).toContain(code);
    expect(failed.message).toContain(words);
    expect(server.requests).toHaveLength(0);
  });

  it('R6: a certificate of another root', async () => {
    const server = await plane();
    await writeFile(caFile, makeAuthority({ subject: 'control plane root' }).pem);
    const { reason, message } = await failure(client(server.url).certificate(asked));
    expect(reason).toBe('server_untrusted');
    expect(message).toMatch(/is not trusted: no root in controlPlaneCaFile has issued it \([A-Z_]+\)$/);
    expect(server.requests).toHaveLength(0);
  });

  it('R6: a name that was configured is checked in the place of the host', async () => {
    const server = await plane({ certificate: { sans: [{ dns: 'control-plane.remora-system.svc' }] } });
    expect((await failure(client(server.url).certificate(asked))).message).toContain('ALTNAME');
    const named = client(server.url, { serverName: 'control-plane.remora-system.svc' });
    expect(await named.certificate(asked)).toEqual(reply);
  });

  it('R6: an address is checked against the addresses of the certificate', async () => {
    const server = await plane();
    const byAddress = server.url.replace('localhost', '127.0.0.1');
    expect(await client(byAddress).certificate(asked)).toEqual(reply);
    const other = await plane({ certificate: { sans: [{ dns: '127.0.0.1' }] } });
    expect((await failure(client(other.url.replace('localhost', '127.0.0.1')).certificate(asked))).message).toContain(
      'ALTNAME',
    );
  });

  it.each([
    ['is missing', undefined],
    ['is empty', ''],
    ['holds no certificate', 'hello'],
    ['holds a broken certificate', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'],
  ])('R6: a CA file that %s never means the public roots', async (_, content) => {
    const server = await plane();
    if (content === undefined) await rm(caFile);
    else await writeFile(caFile, content);
    const failed = await failure(client(server.url).certificate(asked));
    expect(failed.reason).toBe('bad_pem');
    expect(failed.message).toContain(caFile);
    expect(server.connections).toHaveLength(0);
  });

  it('R6: a session is never resumed', async () => {
    const server = await plane({
      answer: ({ response }) => void response.writeHead(200, { connection: 'close' }).end(JSON.stringify(reply)),
    });
    const one = client(server.url);
    const reused: boolean[] = [];
    for (let i = 0; i < 3; i++) {
      server.answer = ({ response }) => {
        reused.push((response.socket as TLSSocket).isSessionReused());
        response.writeHead(200, { connection: 'close' }).end(JSON.stringify(reply));
      };
      await one.certificate(asked);
    }
    expect(reused).toEqual([false, false, false]);
  });
});

describe('R7: redirects', () => {
  it.each([301, 302, 303, 307, 308])('R7: %i is refused, and its target sees no token', async (status) => {
    const other = await plane();
    const server = await plane({
      root: makeAuthority(),
      answer: json({}, status, { location: `${other.url}/v1/certificates` }),
    });
    await writeFile(caFile, `${server.caPem}${other.caPem}`);
    const failed = await failure(client(server.url).certificate(asked));
    expect(failed.reason).toBe('bad_json');
    expect(failed.message).toBe(`The control plane answered ${status}, and redirects are not followed`);
    expect(other.connections).toHaveLength(0);
  });
});

describe('R8: refusals of the control plane', () => {
  const problem = {
    type: 'about:blank',
    title: 'Refused',
    status: 0,
    reason: 'token_expired',
    detail: `${token} is\nexpired`,
  };
  it.each<[number, RenewalReason]>([
    [400, 'bad_json'],
    [403, 'http_403'],
    [404, 'bad_json'],
    [429, 'http_429'],
    [500, 'http_5xx'],
    [503, 'http_5xx'],
  ])('R8: %i is %s, with the words of the problem document and without the token', async (status, reason) => {
    const server = await plane({ answer: json(problem, status) });
    const failed = await failure(client(server.url).certificate(asked));
    expect(failed.reason).toBe(reason);
    expect(failed.message).toBe(`The control plane answered ${status}: token_expired, [token] is expired`);
  });

  it('R8: 401 reads the token again, and tries a new one once', async () => {
    const server = await plane({ answer: json(problem, 401) });
    const one = client(server.url);
    expect((await failure(one.certificate(asked))).reason).toBe('http_401');
    expect(server.requests).toHaveLength(1);
    server.answer = async (request) => {
      if (request.authorization === 'Bearer fresh') return json(reply)(request);
      await writeFile(tokenFile, 'fresh');
      return json(problem, 401)(request);
    };
    expect(await one.certificate(asked)).toEqual(reply);
    expect(server.requests).toHaveLength(3);
  });

  it('R8: 401 is not answered with token after token', async () => {
    let tokens = 0;
    const server = await plane({
      answer: async (request) => {
        tokens += 1;
        await writeFile(tokenFile, `token-${tokens}`);
        return json(problem, 401)(request);
      },
    });
    expect((await failure(client(server.url).certificate(asked))).reason).toBe('http_401');
    expect(server.requests).toHaveLength(2);
  });

  it.each([
    ['30', 30_000],
    ['3000', 150_000],
    ['1000000000', undefined],
    ['-5', undefined],
    ['soon', undefined],
    ['Thu, 01 Jan 2026 00:01:00 GMT', 60_000],
    ['Thu, 01 Jan 2037 00:01:00 GMT', undefined],
  ])('R8: Retry-After %s waits %s ms', async (header, waitMs) => {
    for (const status of [429, 503]) {
      const server = await plane({ answer: json(problem, status, { 'retry-after': header }) });
      expect((await failure(client(server.url).certificate(asked))).retryAfterMs).toBe(waitMs);
    }
  });
});

describe('R9: the token file', () => {
  it('R9: is read again at each call, also through a swapped symlink', async () => {
    const server = await plane();
    const one = client(server.url);
    await rm(tokenFile);
    for (const name of ['..first', '..second']) {
      await mkdir(join(directory, name));
      await writeFile(join(directory, name, 'token'), `of${name}`);
      await symlink(name, join(directory, '..new'));
      await rename(join(directory, '..new'), join(directory, '..data'));
      if (name === '..first') await symlink('..data/token', tokenFile);
      await one.certificate(asked);
    }
    expect(server.requests.map(({ authorization }) => authorization)).toEqual([
      'Bearer of..first',
      'Bearer of..second',
    ]);
  });

  it.each<[string, () => Promise<unknown>, string]>([
    ['is missing', () => rm(tokenFile), 'cannot be read (ENOENT)'],
    ['is empty', () => writeFile(tokenFile, ''), 'is empty'],
    ['holds a line break alone', () => writeFile(tokenFile, '\n'), 'is empty'],
    ['holds two lines', () => writeFile(tokenFile, `${token}\n${token}\n`), 'holds something else than one token'],
    ['holds a header of its own', () => writeFile(tokenFile, `${token}\r\nx-admin: yes`), 'holds something else'],
    ['holds 1 MB', () => truncate(tokenFile, 1_000_000), 'is larger than 16384 bytes'],
    ['is a directory', () => rm(tokenFile).then(() => mkdir(tokenFile)), 'is not a regular file'],
  ])('R9: that %s is token_missing, and nothing is sent', async (_, arrange, words) => {
    const server = await plane();
    await arrange();
    const failed = await failure(client(server.url).certificate(asked));
    expect(failed.reason).toBe('token_missing');
    expect(failed.message).toContain(words);
    expect(server.requests).toHaveLength(0);
  });

  it('R10: that has expired is sent all the same, and the refusal is visible', async () => {
    const claims = Buffer.from(JSON.stringify({ exp: 1 })).toString('base64url');
    await writeFile(tokenFile, `e30.${claims}.x`);
    const server = await plane({ answer: json({ title: 'Unauthorized', status: 401, reason: 'token_expired' }, 401) });
    expect((await failure(client(server.url).certificate(asked))).message).toContain('token_expired');
    expect(server.requests).toHaveLength(1);
  });
});

describe('P1: a body that is no reply', () => {
  it.each([
    ['nothing', ''],
    ['null', 'null'],
    ['a list', '[]'],
    ['cut JSON', '{"certificateChain":"a'],
    ['200,000 brackets', '['.repeat(200_000)],
    ['another shape', '{"certificateChain":1,"trustBundles":{},"serverTime":""}'],
    ['bytes that are no UTF-8', Buffer.from([0x22, 0xff, 0xfe, 0x22])],
    ['a page of HTML with the token', `<html>${token}</html>`],
  ])('P1: %s is bad_json', async (_, body) => {
    const server = await plane({ answer: ({ response }) => void response.end(body) });
    expect((await failure(client(server.url).certificate(asked))).reason).toBe('bad_json');
  });

  it('P1: 1 GB is too_large, and is not read', async () => {
    const mebibyte = Buffer.alloc(1024 ** 2, 0x20);
    let sent = 0;
    const server = await plane({
      answer: async ({ response }) => {
        while (sent < 1024 && !response.destroyed) {
          sent += 1;
          if (!response.write(mebibyte)) await Promise.race([once(response, 'drain'), once(response, 'close')]);
        }
      },
    });
    expect((await failure(client(server.url).certificate(asked))).reason).toBe('too_large');
    await closed(server.connections[0]!);
    expect(sent).toBeLessThan(32);
  });

  it('P1: 256 KiB and one byte is too_large, also in a refusal', async () => {
    const server = await plane({ answer: ({ response }) => void response.end(' '.repeat(256 * 1024 + 1)) });
    const one = client(server.url);
    expect((await failure(one.certificate(asked))).reason).toBe('too_large');
    server.answer = ({ response }) => void response.writeHead(403).end(' '.repeat(256 * 1024 + 1));
    expect((await failure(one.certificate(asked))).reason).toBe('http_403');
  });
});

it.each(['gzip', 'deflate, gzip', 'br', 'x'])(
  'P2: a reply with content-encoding %s is refused, and nothing is unpacked',
  async (encoding) => {
    const bomb = gzipSync(Buffer.alloc(50_000_000));
    const server = await plane({
      answer: ({ response }) => void response.writeHead(200, { 'content-encoding': encoding }).end(bomb),
    });
    const one = client(server.url);
    const failed = await failure(one.certificate(asked));
    expect(failed).toMatchObject({
      reason: 'bad_json',
      message: 'The reply of the control plane is compressed, expected plain JSON',
    });
    await expect(collect(await one.stream([], new AbortController().signal))).rejects.toThrow('is compressed');
  },
);

describe('P3: headers', () => {
  const answerRaw = (socket: TLSSocket, text: string) => socket.write(text);
  it('P3: of 1 MB are too_large', async () => {
    const server = await plane({
      answer: ({ response }) =>
        void answerRaw(response.socket as TLSSocket, `HTTP/1.1 200 OK\r\nx: ${'x'.repeat(1_000_000)}\r\n\r\n`),
    });
    expect((await failure(client(server.url).certificate(asked))).reason).toBe('too_large');
  });

  it('P3: an endless row of 1xx ends in the deadline', async () => {
    const server = await plane({
      answer: async ({ response }) => {
        while (!response.socket?.destroyed && !response.destroyed) {
          response.writeProcessing();
          await setImmediate();
        }
      },
    });
    const call = client(server.url).certificate(asked);
    expect((await failureAfterDeadline(call, server.request(0))).reason).toBe('timeout');
  });

  it('P3: that come slowly end in the deadline', async () => {
    const server = await plane({
      answer: ({ response }) => void answerRaw(response.socket as TLSSocket, 'HTTP/1.1 200 OK\r\nx-'),
    });
    const call = client(server.url).certificate(asked);
    expect((await failureAfterDeadline(call, server.request(0))).reason).toBe('timeout');
  });

  it('P3: that are no HTTP are bad_json', async () => {
    const server = await plane({
      answer: ({ response }) => void answerRaw(response.socket as TLSSocket, 'SSH-2.0-x\r\n\r\n'),
    });
    expect((await failure(client(server.url).certificate(asked))).reason).toBe('bad_json');
  });
});

it('P4: keys such as __proto__ and constructor, and keys twice, reach nothing but the reply', async () => {
  const text = `{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"certificateChain":"old",
    "certificateChain":"PEM","trustBundles":{"__proto__":"x","cluster.local":"PEM"},"serverTime":"2026-01-01T00:00:00Z"}`;
  const server = await plane({ answer: ({ response }) => void response.end(text) });
  const parsed = await client(server.url).certificate(asked);
  expect(parsed).toEqual(reply);
  expect(Object.keys(parsed.trustBundles)).toEqual(['cluster.local']);
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
});

it('P17: HTTP/2 is not offered, so that none of its frames is ever parsed', async () => {
  const root = makeAuthority();
  const certificate = makeServingCertificate(root);
  const offered = Promise.withResolvers<readonly string[]>();
  const listener = createTlsServer({
    cert: certificate.pem,
    key: certificate.key.export({ type: 'pkcs8', format: 'pem' }),
    ALPNCallback: ({ protocols }) => {
      offered.resolve(protocols);
      return undefined;
    },
  });
  listener.on('tlsClientError', () => undefined);
  await once(listener.listen(0, '127.0.0.1'), 'listening');
  closing.push(async () => listener.close());
  await writeFile(caFile, root.pem);
  const url = `https://localhost:${(listener.address() as AddressInfo).port}`;
  expect((await failure(client(url).certificate(asked))).reason).toBe('unreachable');
  expect(await offered.promise).toEqual(['http/1.1']);
});

it('P8: a private key in the reply is ignored', async () => {
  const server = await plane({ answer: json({ ...reply, privateKey: '-----BEGIN PRIVATE KEY-----' }) });
  expect(await client(server.url).certificate(asked)).toEqual(reply);
});

it('P16: fields that are not known are ignored', async () => {
  const server = await plane({ answer: json({ ...reply, future: { a: [1] } }) });
  expect(await client(server.url).certificate(asked)).toEqual(reply);
});

describe('a stream', () => {
  it('goes on beyond the deadline of a call, until its signal', async () => {
    const server = await plane({ answer: ({ response }) => void response.writeHead(200).write('one') });
    const controller = new AbortController();
    const stream = await client(server.url).stream(['10.0.0.7:80'], controller.signal);
    expect(server.requests[0]?.body).toBe('{"destinations":["10.0.0.7:80"]}');
    const chunks = stream[Symbol.asyncIterator]();
    expect(Buffer.from((await chunks.next()).value as Uint8Array).toString()).toBe('one');
    await clock.advance(60_000);
    server.requests[0]?.response.write('two');
    expect(Buffer.from((await chunks.next()).value as Uint8Array).toString()).toBe('two');
    controller.abort(new Error('enough'));
    await expect(chunks.next()).rejects.toThrow('enough');
    await closed(server.connections[0]!);
  });

  it('that is not begun within the deadline is a timeout', async () => {
    const server = await plane({ answer: () => undefined });
    const call = client(server.url).stream([], new AbortController().signal);
    expect((await failureAfterDeadline(call, server.request(0))).reason).toBe('timeout');
  });

  it('that is cut is unreachable', async () => {
    const server = await plane({
      answer: ({ response }) =>
        void response.writeHead(200).write('one', () => server.connections[0]?.resetAndDestroy()),
    });
    const stream = await client(server.url).stream([], new AbortController().signal);
    expect((await failure(collect(stream))).reason).toBe('unreachable');
  });
});
