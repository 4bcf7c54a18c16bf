import { once } from 'node:events';
import type { IncomingMessage, RequestListener } from 'node:http';
import { createServer, request as httpRequest } from 'node:http';
import type { ServerHttp2Stream } from 'node:http2';
import { createServer as createHttp2Server } from 'node:http2';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Server, Socket } from 'node:net';
import { connect, createServer as createTcpServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AppHealth } from '../../../src/agent/app-health/app-health.ts';
import { createAppHealth } from '../../../src/agent/app-health/app-health.ts';
import { maxHeaderBytes, maxRequests } from '../../../src/agent/app-health/http.ts';
import { placeLimits } from '../../../src/agent/app-health/places.ts';
import type { AppProbe, AppProbes } from '../../../src/app-probes.ts';
import { appProbePath } from '../../../src/app-probes.ts';
import { createDrain } from '../../../src/lifecycle.ts';
import { startScrapeServer } from '../../../src/metrics/scrape-server.ts';
import { version } from '../../../src/version.ts';
import type { BrokenApplication } from '../../support/broken-application.ts';
import { listenAsApplication } from '../../support/broken-application.ts';
import { captureLog } from '../../support/captured-log.ts';
import { makeCertificate } from '../../support/certificates.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { ending, readAll } from '../../support/sockets.ts';

/** Only a test of a deadline moves it: nothing else may depend on time. */
let clock: FakeClock;
let closing: (() => unknown)[];

beforeEach(() => {
  clock = createFakeClock();
  closing = [];
});
afterEach(async () => {
  for (const close of closing.reverse()) await close();
});

const listen = (server: Server, host?: string) => listenAsApplication(server, closing, host);

const httpApp = (listener: RequestListener): Promise<BrokenApplication> => listen(createServer(listener));
const tcpApp = (onSocket: (socket: Socket) => void): Promise<BrokenApplication> => listen(createTcpServer(onSocket));

const path = appProbePath('web', 'livenessProbe');
const get = (port: number, more: object = {}): AppProbe => ({
  httpGet: { path: '/healthz', port, scheme: 'HTTP', httpHeaders: [], ...more },
  timeoutSeconds: 1,
});

interface Sidecar {
  readonly port: number;
  readonly appHealth: AppHealth;
  readonly drain: ReturnType<typeof createDrain>;
  readonly log: ReturnType<typeof captureLog>;
}

async function sidecar(probes: AppProbes, reserved: readonly number[] = [], ip = '127.0.0.1'): Promise<Sidecar> {
  const log = captureLog();
  const drain = createDrain(clock);
  const appHealth = createAppHealth({ clock, log: log.log, drain, probes, reservedPorts: new Set(reserved) });
  const page = { text: async () => 'metrics' };
  const server = await startScrapeServer({ ip, port: 0 }, page, appHealth);
  closing.push(() => server.close(), appHealth.close);
  return { port: server.address.port, appHealth, drain, log };
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

/** The kubelet closes its connection after each probe. */
function ask(
  port: number,
  from = path,
  options: { method?: string; headers?: Record<string, string>; host?: string } = {},
) {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const request = httpRequest({ host: '127.0.0.1', port, path: from, agent: false, ...options }, (response) => {
    const chunks: Buffer[] = [];
    response.on('data', (chunk: Buffer) => chunks.push(chunk));
    response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }));
    response.on('error', reject);
  });
  request.on('error', reject).end();
  return Object.assign(promise, { destroy: () => request.destroy() });
}

async function probe(given: AppProbe, reserved: readonly number[] = []): Promise<Answer> {
  return ask((await sidecar({ [path]: given }, reserved)).port);
}

const failed = (sentence: string): Answer => ({ status: 503, body: `${sentence}\n` });
const passed = (sentence: string): Answer => ({ status: 200, body: `${sentence}\n` });

async function freePort(): Promise<number> {
  const server = createTcpServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const closedBySidecar = (app: BrokenApplication) =>
  Promise.all(app.sockets.map((socket) => (socket.closed ? undefined : once(socket, 'close').catch(() => undefined))));

describe('an httpGet probe', () => {
  it.each([200, 204, 299, 304, 399])('passes on %i', async (status) => {
    const app = await httpApp((_request, response) => response.writeHead(status).end());
    expect(await probe(get(app.port))).toEqual(passed(`web:${app.port} answered ${status}`));
    await closedBySidecar(app);
  });

  it.each([400, 404, 500, 503])('fails on %i and says what was expected', async (status) => {
    const app = await httpApp((_request, response) => response.writeHead(status).end('secret'));
    expect(await probe(get(app.port))).toEqual(failed(`web:${app.port} answered ${status}, expected 200 to 399`));
  });

  it('sends the path with its query, its headers and the words of the kubelet', async () => {
    const seen = Promise.withResolvers<IncomingMessage>();
    const app = await httpApp((request, response) => {
      seen.resolve(request);
      response.end();
    });
    const httpHeaders = [
      { name: 'Host', value: 'shop.example' },
      { name: 'X-Twice', value: 'a' },
      { name: 'X-Twice', value: 'é' },
      { name: 'Content-Length', value: '5' },
      { name: 'Transfer-Encoding', value: 'chunked' },
      { name: 'Accept', value: '' },
    ];
    const { port } = await sidecar({ [path]: get(app.port, { path: '/a%2Fb/ü?x=1&y=%20#z', httpHeaders }) });
    expect(
      await ask(port, `${path}?not=passed`, { headers: { 'user-agent': 'kube-probe/1.34', 'x-mine': '1' } }),
    ).toEqual(passed(`web:${app.port} answered 200`));
    const { method, url, rawHeaders } = await seen.promise;
    expect({ method, url }).toEqual({ method: 'GET', url: '/a%2Fb/%C3%BC?x=1&y=%20' });
    expect(rawHeaders).toEqual([
      ...[
        'host',
        'shop.example',
        'connection',
        'close',
        'X-Twice',
        'a',
        'X-Twice',
        Buffer.from('é').toString('latin1'),
      ],
      ...['user-agent', 'kube-probe/1.34'],
    ]);
  });

  it("does not pass a stranger's words on", async () => {
    const agents: unknown[] = [];
    const app = await httpApp((request, response) => {
      agents.push(request.headers['user-agent'], request.headers.host, request.headers.accept);
      response.end();
    });
    const { port } = await sidecar({ [path]: get(app.port) });
    await ask(port, path, { headers: { 'user-agent': 'kube-probe/1.34 (evil)' } });
    expect(agents).toEqual([`remora/${version}`, `127.0.0.1:${app.port}`, '*/*']);
  });

  it('uses a connection of its own for each probe', async () => {
    const app = await httpApp((_request, response) => response.end('ok'));
    const { port } = await sidecar({ [path]: get(app.port) });
    for (let i = 0; i < 3; i++) expect((await ask(port)).status).toBe(200);
    expect(app.sockets).toHaveLength(3);
    await closedBySidecar(app);
  });

  it('accepts any certificate over HTTPS', async () => {
    const { pem, key } = makeCertificate({ notAfterMs: Date.now() - 1000 });
    const server = createTlsServer(
      { cert: pem, key: key.export({ type: 'pkcs8', format: 'pem' }) },
      (_request, response) => response.end(),
    );
    const app = await listen(server);
    expect(await probe(get(app.port, { scheme: 'HTTPS' }))).toEqual(passed(`web:${app.port} answered 200`));
    await closedBySidecar(app);
  });

  it('says when the application does not speak TLS', async () => {
    const app = await httpApp((_request, response) => response.end());
    expect((await probe(get(app.port, { scheme: 'HTTPS' }))).body).toMatch(
      new RegExp(`^web:${app.port} does not answer in TLS \\(\\w+\\)\\n$`),
    );
  });

  it('says that nothing listens', async () => {
    const port = await freePort();
    expect(await probe(get(port))).toEqual(failed(`Nothing listens on 127.0.0.1:${port}`));
  });

  it.each([
    [
      'closes without an answer',
      (socket: Socket) => void socket.once('data', () => socket.end()),
      'closed the connection',
    ],
    ['resets', (socket: Socket) => void socket.once('data', () => socket.resetAndDestroy()), 'closed the connection'],
    [
      'stops in the middle of its answer',
      (socket: Socket) => void socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab')),
      'closed the connection before the end of its answer',
    ],
    ['speaks something else', (socket: Socket) => void socket.resume().end('SSH-2.0-x\r\n'), 'does not answer in HTTP'],
    [
      'answers with giant headers',
      (socket: Socket) =>
        void socket.once('data', () => socket.end(`HTTP/1.1 200 OK\r\nx: ${'a'.repeat(maxHeaderBytes)}\r\n\r\n`)),
      'answered with headers of more than 64 KiB',
    ],
  ])('fails when the application %s', async (_, onSocket, words) => {
    const app = await tcpApp(onSocket);
    const { status, body } = await probe(get(app.port));
    expect({ status, body }).toEqual({ status: 503, body: expect.stringContaining(`web:${app.port} ${words}`) });
    await closedBySidecar(app);
  });

  it('does not wait for the end of an endless body', async () => {
    const app = await httpApp((_request, response) => {
      const fill = () => {
        while (!response.destroyed && response.write('x'.repeat(4096)));
      };
      response.on('drain', fill);
      fill();
    });
    expect(await probe(get(app.port))).toEqual(passed(`web:${app.port} answered 200`));
    await closedBySidecar(app);
  });

  it.each([
    ['never answers', (_socket: Socket) => undefined],
    ['answers byte by byte', (socket: Socket) => void socket.write('HTTP/1.1 200 OK\r\n')],
    [
      'does not finish its body',
      (socket: Socket) => void socket.write('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab'),
    ],
  ])('ends at its deadline when the application %s', async (_, onSocket) => {
    const asked = Promise.withResolvers<void>();
    const app = await tcpApp((socket) =>
      socket.once('data', () => {
        onSocket(socket);
        asked.resolve();
      }),
    );
    const answer = probe(get(app.port));
    await asked.promise;
    await clock.advance(1000);
    expect(await answer).toEqual(failed(`web:${app.port} gave no answer within 1 s`));
    await closedBySidecar(app);
  });
});

describe('a redirect', () => {
  const redirecting = (to: (port: number, count: number) => string, last?: number) => {
    let count = 0;
    return httpApp((request, response) => {
      count++;
      const { port } = request.socket.address() as AddressInfo;
      if (count === last) response.end();
      else response.writeHead(302, { location: to(port, count) }).end();
    });
  };

  it(`is followed on the same host for ${maxRequests} requests, each on a connection of its own`, async () => {
    const app = await redirecting((_port, count) => `/step/${count}`, maxRequests);
    expect(await probe(get(app.port))).toEqual(passed(`web:${app.port} answered 200`));
    expect(app.sockets).toHaveLength(maxRequests);
  });

  it('in a loop fails after that', async () => {
    const app = await redirecting(() => '/healthz');
    expect(await probe(get(app.port))).toEqual(failed(`web:${app.port} still redirects after ${maxRequests} requests`));
    expect(app.sockets).toHaveLength(maxRequests);
    await closedBySidecar(app);
  });

  it.each(['http://other.example/', 'https://10.0.0.1/x', '//other.example/', 'ftp://other.example/'])(
    'to %s counts as success and dials nobody',
    async (location) => {
      const app = await redirecting(() => location);
      expect(await probe(get(app.port))).toEqual(passed(`web:${app.port} answered 302`));
      expect(app.sockets).toHaveLength(1);
    },
  );

  it('may lead to another port of the same host', async () => {
    const second = await httpApp((_request, response) => response.writeHead(500).end());
    const app = await redirecting(() => `http://127.0.0.1:${second.port}/x`);
    expect(await probe(get(app.port))).toEqual(failed(`web:${app.port} answered 500, expected 200 to 399`));
    expect(second.sockets).toHaveLength(1);
  });

  it.each([
    [
      'a port of the sidecar',
      () => 'http://127.0.0.1:15020/app-health/web/livez',
      'to port 15020, expected one of the application',
    ],
    ['port 0', () => 'http://127.0.0.1:0/', 'to port 0, expected one of the application'],
    ['nonsense', () => 'http://[', 'that is not a URL'],
    ['a file', () => 'ftp://127.0.0.1/', 'that is neither HTTP nor HTTPS'],
  ])('to %s fails', async (_, to, words) => {
    const app = await redirecting(to);
    expect(await probe(get(app.port), [15020])).toEqual(
      failed(`web:${app.port} answered 302 with a redirect ${words}`),
    );
    expect(app.sockets).toHaveLength(1);
  });

  it.each([
    ['a path keeps the Host of the probe', '/next', 'shop.example'],
    ['a URL does not', 'self', 'self'],
  ])('to %s', async (_, to, host) => {
    const hosts: unknown[] = [];
    const app = await httpApp((request, response) => {
      const own = `127.0.0.1:${(request.socket.address() as AddressInfo).port}`;
      hosts.push(request.headers.host === own ? 'self' : request.headers.host);
      if (hosts.length === 2) response.end();
      else response.writeHead(302, { location: to === 'self' ? `http://${own}/next` : to }).end();
    });
    expect((await probe(get(app.port, { httpHeaders: [{ name: 'host', value: 'shop.example' }] }))).status).toBe(200);
    expect(hosts).toEqual(['shop.example', host]);
  });
});

describe('a tcpSocket probe', () => {
  const tcp = (port: number): AppProbe => ({ tcpSocket: { port }, timeoutSeconds: 1 });

  it.each([
    ['waits', () => undefined],
    ['greets', (socket: Socket) => void socket.write('220 ready\r\n')],
  ])('passes on a connect, and ends it with FIN, when the application %s', async (_, onSocket) => {
    const ended = Promise.withResolvers<string>();
    const app = await tcpApp((socket) => {
      onSocket(socket);
      void ending(socket).then(ended.resolve);
    });
    expect(await probe(tcp(app.port))).toEqual(passed(`web:${app.port} takes connections`));
    expect(await ended.promise).toBe('end');
  });

  it('does not wait for an application that never ends its side', async () => {
    const ended = Promise.withResolvers<void>();
    const app = await listen(
      createTcpServer({ allowHalfOpen: true }, (socket) => void socket.resume().once('end', ended.resolve)),
    );
    const answer = probe(tcp(app.port));
    await ended.promise;
    await clock.advance(100);
    expect(await answer).toEqual(passed(`web:${app.port} takes connections`));
  });

  it('fails when nothing listens', async () => {
    const port = await freePort();
    expect(await probe(tcp(port))).toEqual(failed(`Nothing listens on 127.0.0.1:${port}`));
  });
});

describe('a grpc probe', () => {
  const grpc = (port: number, service = ''): AppProbe => ({ grpc: { port, service }, timeoutSeconds: 1 });
  const frame = (message: readonly number[]) => Buffer.from([0, 0, 0, 0, message.length, ...message]);
  const head = { ':status': 200, 'content-type': 'application/grpc' };

  interface Call {
    readonly headers: Readonly<Record<string, unknown>>;
    readonly body: Buffer;
  }
  const grpcApp = async (reply: (stream: ServerHttp2Stream, call: Call) => void) => {
    const server = createHttp2Server();
    server.on('stream', async (stream, headers) => {
      stream.on('error', () => undefined);
      reply(stream, { headers, body: await readAll(stream) });
    });
    return listen(server);
  };
  const answering =
    (message: readonly number[], status = '0') =>
    (stream: ServerHttp2Stream) => {
      stream.respond(head, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': status }));
      stream.end(frame(message));
    };

  it('passes when the service is SERVING, and asks as the standard says', async () => {
    const calls: Call[] = [];
    const app = await grpcApp((stream, call) => {
      calls.push(call);
      answering([0x08, 1])(stream);
    });
    const { port } = await sidecar({ [path]: grpc(app.port, 'shop.Cart') });
    expect(await ask(port, path, { headers: { 'user-agent': 'kube-probe/1.34' } })).toEqual(
      passed(`web:${app.port} is SERVING`),
    );
    expect(calls[0]?.body).toEqual(Buffer.concat([Buffer.from([0, 0, 0, 0, 11, 0x0a, 9]), Buffer.from('shop.Cart')]));
    expect(calls[0]?.headers).toMatchObject({
      ':method': 'POST',
      ':path': '/grpc.health.v1.Health/Check',
      ':authority': `127.0.0.1:${app.port}`,
      'content-type': 'application/grpc',
      te: 'trailers',
      'user-agent': 'kube-probe/1.34',
    });
    await closedBySidecar(app);
  });

  it.each<[string, (stream: ServerHttp2Stream) => void, string]>([
    ['NOT_SERVING', answering([0x08, 2]), 'is NOT_SERVING, expected SERVING'],
    ['SERVICE_UNKNOWN', answering([0x08, 3]), 'is SERVICE_UNKNOWN, expected SERVING'],
    ['nothing in its message', answering([]), 'is UNKNOWN, expected SERVING'],
    ['a status that nobody knows', answering([0x08, 9]), 'is UNKNOWN, expected SERVING'],
    ['a broken message', answering([0x08]), 'does not answer in grpc.health.v1'],
    ['SERVING and an error', answering([0x08, 1], '14'), 'answered with gRPC status 14, expected 0'],
    [
      'trailers alone',
      (stream) => stream.respond({ ...head, 'grpc-status': '12' }, { endStream: true }),
      'does not implement grpc.health.v1.Health',
    ],
    [
      'no gRPC',
      (stream) => {
        stream.respond({ ':status': 404 });
        stream.end('not found');
      },
      'answered 404, expected 200 and a gRPC status',
    ],
    [
      'no status',
      (stream) => {
        stream.respond(head);
        stream.end(frame([0x08, 1]));
      },
      'answered with no gRPC status, expected 0',
    ],
    [
      'too much',
      (stream) => {
        stream.respond(head);
        stream.end(Buffer.alloc(64 * 1024));
      },
      'answered with more than 4 KiB',
    ],
    ['a reset', (stream) => stream.close(2), 'does not answer in gRPC'],
  ])('fails on %s', async (_, reply, words) => {
    const app = await grpcApp(reply);
    const { status, body } = await probe(grpc(app.port));
    expect({ status, body }).toEqual({ status: 503, body: expect.stringContaining(`web:${app.port} ${words}`) });
    await closedBySidecar(app);
  });

  it('fails when the application does not speak HTTP/2', async () => {
    const app = await httpApp((_request, response) => response.end());
    const { status, body } = await probe(grpc(app.port));
    expect({ status, body }).toEqual({ status: 503, body: expect.stringContaining(`web:${app.port} `) });
    await closedBySidecar(app);
  });

  it('ends at its deadline when the application says nothing', async () => {
    const accepted = Promise.withResolvers<void>();
    const app = await tcpApp((socket) => void socket.once('data', () => accepted.resolve()));
    const answer = probe(grpc(app.port));
    await accepted.promise;
    await clock.advance(1000);
    expect(await answer).toEqual(failed(`web:${app.port} gave no answer within 1 s`));
    await closedBySidecar(app);
  });
});

describe('the port that is open to everyone', () => {
  const quiet = () => {
    const asked: (() => void)[] = [];
    let count = 0;
    const app = tcpApp((socket) => {
      socket.once('data', () => {
        count++;
        for (const check of asked) check();
      });
    });
    const until = (expected: number) =>
      new Promise<void>((resolve) => {
        const check = () => count >= expected && resolve();
        asked.push(check);
        check();
      });
    return { app, until };
  };

  it.each([
    '/app-health/',
    '/app-health/web/readyz',
    '/app-health/%77eb/livez',
    '/app-health/__proto__',
    '/app-health/web/livez/',
  ])('answers 404 to %s without dialling anybody', async (unknown) => {
    const app = await httpApp((_request, response) => response.end());
    const { port } = await sidecar({ [path]: get(app.port) });
    expect((await ask(port, unknown)).status).toBe(404);
    expect(app.sockets).toHaveLength(0);
  });

  it.each(['POST', 'PUT', 'DELETE', 'OPTIONS'])('refuses %s without dialling anybody', async (method) => {
    const app = await httpApp((_request, response) => response.end());
    const { port } = await sidecar({ [path]: get(app.port) });
    expect((await ask(port, path, { method })).status).toBe(405);
    expect(app.sockets).toHaveLength(0);
  });

  it('runs the probe for HEAD too and answers without a body', async () => {
    const app = await httpApp((_request, response) => response.writeHead(500).end());
    const { port } = await sidecar({ [path]: get(app.port) });
    expect(await ask(port, path, { method: 'HEAD' })).toEqual({ status: 503, body: '' });
  });

  it('still serves metrics, and 404 for the rest', async () => {
    const { port } = await sidecar({});
    expect(await ask(port, '/metrics')).toEqual({ status: 200, body: 'metrics' });
    expect((await ask(port, '/app-healthy')).status).toBe(404);
  });

  it('dials the address on which it was asked', async () => {
    const app = await listen(
      createServer((_request, response) => response.end()),
      '127.0.0.2',
    );
    const { port } = await sidecar({ [path]: get(app.port) }, [], '0.0.0.0');
    expect(await ask(port)).toEqual(failed(`Nothing listens on 127.0.0.1:${app.port}`));
    expect((await ask(port, path, { host: '127.0.0.2' })).status).toBe(200);
  });

  it('ends the probe when whoever asked has gone', async () => {
    const { app, until } = quiet();
    const { port } = await app;
    const { port: own } = await sidecar({ [path]: get(port) });
    const asking = ask(own);
    await until(1);
    asking.destroy();
    await expect(asking).rejects.toThrow('socket hang up');
    await closedBySidecar(await app);
  });

  it('runs two of a path for one caller and refuses the third; a place is free again at the end', async () => {
    const { app, until } = quiet();
    const { port } = await app;
    const { port: own } = await sidecar({ [path]: get(port) });
    const two = [ask(own), ask(own)];
    await until(2);
    expect(await ask(own)).toEqual(failed('2 of these probes run for this caller already, expected fewer'));
    expect((await app).sockets).toHaveLength(2);
    await clock.advance(1000);
    await Promise.all(two);
    const again = ask(own);
    await until(3);
    await clock.advance(1000);
    expect((await again).body).toContain('gave no answer');
  });

  it(`runs ${placeLimits.perPath} of a path for all callers together, and other paths beside them`, async () => {
    const { app, until } = quiet();
    const { port } = await app;
    const other = appProbePath('db', 'livenessProbe');
    const healthy = await httpApp((_request, response) => response.end());
    const { port: own } = await sidecar({ [path]: get(port), [other]: get(healthy.port) }, [], '0.0.0.0');
    const from = (caller: number) => ask(own, path, { localAddress: `127.0.0.${caller}` } as object);
    const all = Array.from({ length: placeLimits.perPath }, (_, i) => from(10 + Math.floor(i / 2)));
    await until(placeLimits.perPath);
    expect(await from(99)).toEqual(failed('8 of these probes run already, expected fewer'));
    expect((await ask(own, other)).status).toBe(200);
    await clock.advance(1000);
    await Promise.all(all);
  });

  it('makes one dial for each of many requests in one connection, within its places', async () => {
    const { app, until } = quiet();
    const { port } = await app;
    const { port: own } = await sidecar({ [path]: get(port) });
    const socket = connect(own, '127.0.0.1');
    closing.push(() => socket.destroy());
    socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`.repeat(20));
    await until(2);
    // What was refused is answered behind the two that run: the order of the answers is that of the requests.
    await clock.advance(1000);
    const { promise, resolve } = Promise.withResolvers<void>();
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
      if (text.match(/HTTP\/1\.1 503/g)?.length === 20) resolve();
    });
    await promise;
    expect((await app).sockets).toHaveLength(2);
  });

  it('ends its probes when the sidecar closes', async () => {
    const { app, until } = quiet();
    const { port } = await app;
    const { port: own, appHealth } = await sidecar({ [path]: get(port) });
    const asking = ask(own);
    await until(1);
    appHealth.close();
    await expect(asking).rejects.toThrow('socket hang up');
    await closedBySidecar(await app);
  });
});

describe('a hook', () => {
  const hook = appProbePath('web', 'preStop');

  it('is answered when the application answers, whatever the status', async () => {
    const app = await httpApp((_request, response) => response.writeHead(500).end());
    const { port } = await sidecar({ [hook]: get(app.port) });
    expect(await ask(port, hook)).toEqual(failed(`web:${app.port} answered 500, expected 200 to 399`));
  });

  it('gets no answer when the application gives none, because Kubernetes takes any for success; the log says why', async () => {
    const free = await freePort();
    const { port, log } = await sidecar({ [hook]: get(free) });
    await expect(ask(port, hook)).rejects.toThrow('socket hang up');
    await expect(ask(port, hook)).rejects.toThrow('socket hang up');
    expect(log.lines).toEqual([
      expect.objectContaining({
        level: 'warn',
        msg: 'Hook of the application failed',
        path: hook,
        detail: `Nothing listens on 127.0.0.1:${free}`,
      }),
    ]);
  });

  it('holds the drain of the sidecar until it has ended, and a probe does not', async () => {
    const asked = Promise.withResolvers<void>();
    const finish = Promise.withResolvers<void>();
    const app = await httpApp((_request, response) => {
      asked.resolve();
      finish.promise.then(() => response.end());
    });
    const { port, drain } = await sidecar({ [hook]: get(app.port), [path]: get(app.port) });
    const probing = ask(port);
    await asked.promise;
    expect(drain.size).toBe(0);
    const hooking = ask(port, hook);
    while (app.sockets.length < 2) await new Promise((resolve) => setImmediate(resolve));
    expect(drain.size).toBe(1);
    const drained = drain.finish(60_000);
    finish.resolve();
    expect((await hooking).status).toBe(200);
    expect(await drained).toBe(0);
    await probing;
  });

  it('is cut at the drain deadline', async () => {
    const asked = Promise.withResolvers<void>();
    const app = await httpApp(() => asked.resolve());
    const { port, drain } = await sidecar({ [hook]: { ...get(app.port), timeoutSeconds: 3600 } });
    const hooking = ask(port, hook).catch(String);
    await asked.promise;
    const drained = drain.finish(1000);
    await clock.advance(1000);
    expect(await drained).toBe(1);
    expect(await hooking).toContain('socket hang up');
    await closedBySidecar(app);
  });
});
