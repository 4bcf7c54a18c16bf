import { once } from 'node:events';
import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2';
import { connect as connectHttp2, constants } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import * as tls from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { createPodGuard } from '../../../src/proxy/inbound/guard.ts';
import { createSlots } from '../../../src/proxy/slots.ts';
import type { DataPlaneOptions, RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import type { TestAuthority } from '../../support/identities.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';
import { ending, readAll } from '../../support/sockets.ts';
import { clientHello, record, recordTypes } from '../tls/client-hello.ts';

/*
 * Goal: whatever a stranger or a peer does to the port for tunnels, only what is permitted reaches an application, nobody
 * else notices, and nothing is left behind. Method: the data plane in this process, and clients that are not ours: bare
 * TCP, node:tls and node:http2.
 */

const authority = createTestAuthority('cluster.local', { intermediates: 1 });
const identityOf = (serviceAccount: string) => createTestIdentity(authority, { namespace: 'shop', serviceAccount });
const handshakeTimeoutMs = 10_000;

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

async function application(onConnection: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  cleanups.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

const echo = () => application((socket) => socket.pipe(socket));
const unreachable = () =>
  application(() => {
    throw new Error('The application must not be reached');
  });

interface Server {
  readonly plane: RunningDataPlane;
  readonly hbone: number;
  /** The application's address, as peers ask for it. */
  readonly authority: string;
}

async function serve(port: number, options: Partial<DataPlaneOptions> = {}): Promise<Server> {
  const plane = await runDataPlane({
    identity: identityOf('api'),
    deliveries: [{ ip: '127.0.0.1', port }],
    ...options,
  });
  cleanups.push(() => plane.stop());
  return { plane, hbone: plane.addresses.hbone[0]?.port ?? 0, authority: `127.0.0.1:${port}` };
}

async function dial({ hbone }: Server): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port: hbone });
  socket.on('error', () => undefined);
  cleanups.push(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

/** TLS as a peer begins it, with the certificate of `by`, or without any. */
function startTls(socket: Socket, by: TestAuthority | undefined, options: tls.ConnectionOptions = {}): tls.TLSSocket {
  const issued = by?.issue({ id: 'ns/shop/sa/web' });
  const secure = tls.connect({
    socket,
    ...(issued && { key: issued.key.export({ type: 'pkcs8', format: 'pem' }) as string, cert: issued.chainPem }),
    ca: authority.bundlePem,
    ALPNProtocols: ['h2'],
    checkServerIdentity: () => undefined,
    ...options,
  });
  secure.on('error', () => undefined);
  return secure;
}

async function secured(server: Server): Promise<tls.TLSSocket> {
  const secure = startTls(await dial(server), authority);
  await once(secure, 'secureConnect');
  return secure;
}

/** A peer that speaks HTTP/2 with Node.js's own client and our certificates, but with none of our code. */
async function peer(server: Server): Promise<ClientHttp2Session> {
  const secure = await secured(server);
  const session = connectHttp2('https://peer.invalid', { createConnection: () => secure });
  session.on('error', () => undefined);
  cleanups.push(() => session.destroy());
  await once(session, 'remoteSettings');
  return session;
}

function request(session: ClientHttp2Session, headers: OutgoingHttpHeaders, endStream = false): ClientHttp2Stream {
  const stream = session.request(headers, { endStream });
  stream.on('error', () => undefined);
  return stream;
}

const connectTo = (session: ClientHttp2Session, to: string) =>
  request(session, { ':method': 'CONNECT', ':authority': to });

async function answer(stream: ClientHttp2Stream): Promise<IncomingHttpHeaders> {
  const [headers] = (await once(stream, 'response')) as [IncomingHttpHeaders];
  return headers;
}

/** A stream that carries bytes to the application. */
async function carried(session: ClientHttp2Session, { authority: to }: Server): Promise<ClientHttp2Stream> {
  const stream = connectTo(session, to);
  expect(await answer(stream)).toMatchObject({ ':status': 200 });
  return stream;
}

async function exchange(stream: ClientHttp2Stream, text: string): Promise<string> {
  stream.write(text);
  return String((await once(stream, 'data'))[0]);
}

/** The first flight of a client, after which the server waits for the second. */
const hello = () => record(recordTypes.handshake, clientHello());

/** Everything is as it was before the first connection. */
function expectNothingLeft(plane: RunningDataPlane): void {
  expect([...plane.accounts.live()]).toEqual([]);
  expect(plane.drain.size).toBe(0);
}

const failures = ({ observed }: RunningDataPlane) =>
  observed.filter(({ event }) => event === 'handshakeFailed').map(({ args }) => args[1]);

const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('the handshake deadline of the port for tunnels', () => {
  async function withClock(): Promise<{ clock: ReturnType<typeof createFakeClock>; server: Server }> {
    const clock = createFakeClock();
    return { clock, server: await serve(await unreachable(), { clock }) };
  }
  const untilAccepted = async (clock: ReturnType<typeof createFakeClock>, timers: number) => {
    while (clock.pending < timers) await turn();
  };

  it('T12: resets a client that says nothing, as timeout', async () => {
    const { clock, server } = await withClock();
    const seen = ending(await dial(server));
    await untilAccepted(clock, 1);
    await clock.advance(handshakeTimeoutMs - 1);
    expect(server.plane.lines).toEqual([]);
    await clock.advance(1);
    expect(await seen).toBe('reset');
    expect(server.plane.lines).toMatchObject([{ outcome: 'handshake', reason: 'timeout', direction: 'inbound' }]);
    expect(failures(server.plane)).toEqual(['timeout']);
  });

  it('T12: resets a client that finished TLS and never speaks HTTP/2, as timeout', async () => {
    const { clock, server } = await withClock();
    const secure = await secured(server);
    const seen = ending(secure);
    while (!server.plane.observed.some(({ event }) => event === 'handshakeSucceeded')) await turn();
    await clock.advance(handshakeTimeoutMs);
    expect(await seen).toBe('reset');
    expect(server.plane.lines).toMatchObject([{ outcome: 'handshake', reason: 'timeout' }]);
  });

  it('T13: resets a client that sends one byte at a time at the same total deadline', async () => {
    const { clock, server } = await withClock();
    const socket = await dial(server);
    const seen = ending(socket);
    await untilAccepted(clock, 1);
    for (const byte of Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00])) {
      socket.write(Buffer.from([byte]));
      await clock.advance(handshakeTimeoutMs / 5 - 1);
      expect(server.plane.lines).toEqual([]);
    }
    await clock.advance(5);
    expect(await seen).toBe('reset');
    expect(server.plane.lines).toMatchObject([{ outcome: 'handshake', reason: 'timeout' }]);
  });
});

describe('a client that goes away during the handshake', () => {
  const cuts: Record<string, (socket: Socket) => void> = {
    'a FIN before the first byte': (socket) => void socket.end(),
    'a reset before the first byte': (socket) => void socket.resetAndDestroy(),
    'a FIN in the middle of its hello': (socket) => void socket.end(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01])),
    'a reset in the middle of its hello': (socket) =>
      void socket.write(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01]), () => socket.resetAndDestroy()),
    'a FIN behind its hello': (socket) => void socket.end(hello()),
    'a reset behind its hello': (socket) => {
      socket.write(hello());
      socket.once('data', () => socket.resetAndDestroy());
    },
  };
  for (const [name, cut] of Object.entries(cuts)) {
    it(`T14: ${name} is one log line that says reset`, async () => {
      const server = await serve(await unreachable());
      cut(await dial(server));
      await server.plane.line({ outcome: 'handshake', reason: 'reset' });
      await turn();
      expect(server.plane.lines).toHaveLength(1);
      expect(failures(server.plane)).toEqual(['reset']);
    });
  }
});

describe('clients that let the handshake wait', () => {
  const maxHandshakes = 16;
  const firstWords: Record<string, Buffer> = {
    'say nothing': Buffer.alloc(0),
    'begin a hello and never end it': hello().subarray(0, 5),
    'say hello and never answer ours': hello(),
    'say something else than TLS': Buffer.from('GET / HTTP/1.1\r\n\r\n'),
  };
  for (const [name, words] of Object.entries(firstWords)) {
    it(`X1: more of them than places, who ${name}, keep no peer waiting`, async () => {
      // The clock stands still: whoever waited for their deadline would wait for ever.
      const server = await serve(await echo(), { clock: createFakeClock() });
      for (let count = 0; count < maxHandshakes + 20; count += 1) {
        const socket = await dial(server);
        if (words.length > 0) socket.write(words);
      }
      const stream = await carried(await peer(server), server);
      expect(await exchange(stream, 'through')).toBe('through');
    });
  }

  it('X1: those who went away while they waited for a place are told of as reset, and hold none', async () => {
    const server = await serve(await echo(), {
      clock: createFakeClock(),
      adjust: (settings) => ({ ...settings, maxHandshakes: 1 }),
    });
    const strangers = await Promise.all(Array.from({ length: 30 }, () => dial(server)));
    for (const socket of strangers) socket.write(hello(), () => socket.resetAndDestroy());
    const stream = await carried(await peer(server), server);
    expect(await exchange(stream, 'through')).toBe('through');
    while (server.plane.lines.length < strangers.length) await turn();
    expect(new Set(server.plane.lines.map(({ reason }) => reason))).toEqual(new Set(['reset']));
  });
});

describe('a client without a right to be here', () => {
  const mebibyte = Buffer.alloc(1024 * 1024, 'x');

  it.each([
    ['T3: without a certificate', undefined, 'no_client_cert'],
    ['C1: whose root is unknown', createTestAuthority('cluster.local'), 'untrusted'],
  ] as const)('%s, who writes 1 MiB right behind its handshake, reaches nothing', async (_, by, reason) => {
    const server = await serve(await unreachable());
    const secure = startTls(await dial(server), by);
    const seen = ending(secure);
    await once(secure, 'secureConnect');
    secure.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    secure.write(mebibyte);
    expect(await seen).toBe('reset');
    expect(await server.plane.line({ outcome: 'handshake' })).toMatchObject({ reason, level: 'warn' });
    expect(server.plane.observed.map(({ event }) => event)).toEqual(['handshakeFailed']);
    expectNothingLeft(server.plane);
  });

  it('T28: a peer that no policy permits, who sends 1 MiB behind its request, reaches nothing', async () => {
    const server = await serve(await unreachable(), { allowedPeers: [] });
    const session = await peer(server);
    const stream = connectTo(session, server.authority);
    stream.write(mebibyte);
    expect(await answer(stream)).toMatchObject({ ':status': 403, 'remora-reason': 'default_deny' });
    await server.plane.line({ outcome: 'denied', reason: 'default_deny' });
    expectNothingLeft(server.plane);
  });
});

describe('requests of a peer', () => {
  it('are refused with connection_limit when every place is taken, and taken again when one is free', async () => {
    const connections = createSlots(2);
    const server = await serve(await echo(), { parts: { connections } });
    const session = await peer(server);
    const [first] = [await carried(session, server), await carried(session, server)];
    expect(await answer(connectTo(session, server.authority))).toMatchObject({
      ':status': 403,
      'remora-reason': 'connection_limit',
    });
    expect(await server.plane.line({ outcome: 'denied' })).toMatchObject({
      reason: 'connection_limit',
      detail: '2 of at most 2 connections are open',
    });
    first?.close(constants.NGHTTP2_CANCEL);
    await server.plane.line({ outcome: 'closed', reason: 'reset' });
    while (connections.inUse > 1) await turn();
    expect(await exchange(await carried(session, server), 'again')).toBe('again');
  });

  const notConnects: Record<string, OutgoingHttpHeaders> = {
    GET: { ':method': 'GET', ':path': '/', ':scheme': 'https', ':authority': '127.0.0.1:80' },
    POST: { ':method': 'POST', ':path': '/', ':scheme': 'http', ':authority': '127.0.0.1:80' },
    'CONNECT to a name': { ':method': 'CONNECT', ':authority': 'localhost:80' },
    'CONNECT without a port': { ':method': 'CONNECT', ':authority': '127.0.0.1' },
    'CONNECT to port 0': { ':method': 'CONNECT', ':authority': '127.0.0.1:0' },
    'CONNECT to an address in octal': { ':method': 'CONNECT', ':authority': '0177.0.0.1:80' },
  };

  it.each(Object.entries(notConnects))('L13: %s is refused as bad_authority', async (_, headers) => {
    const server = await serve(await unreachable());
    const session = await peer(server);
    const reply = await answer(request(session, headers, headers[':method'] === 'GET'));
    expect(reply).toMatchObject({ ':status': 403, 'remora-reason': 'bad_authority' });
    const line = await server.plane.line({ outcome: 'denied', reason: 'bad_authority' });
    expect(reply['remora-connection-id']).toBe(line.id);
    expect(session.closed).toBe(false);
  });

  it.each(['127.0.0.1:80/admin', 'root@127.0.0.1:80'])('L13: CONNECT to %s is refused by HTTP/2 alone', async (to) => {
    const server = await serve(await unreachable());
    const session = await peer(server);
    const stream = connectTo(session, to);
    if (!stream.closed) await new Promise((resolve) => stream.once('close', resolve));
    expect(stream.rstCode).toBe(constants.NGHTTP2_PROTOCOL_ERROR);
    expect(session.closed).toBe(false);
  });

  it.each([
    ['another host', '192.0.2.7:80', 'not_this_pod'],
    ['loopback', '127.0.0.1:80', 'not_this_pod'],
    ['loopback in IPv6', '[::1]:80', 'not_this_pod'],
    ['loopback mapped into IPv6', '[::ffff:127.0.0.1]:80', 'not_this_pod'],
    ['every address', '0.0.0.0:80', 'not_this_pod'],
    ['the source of deliveries', '127.0.0.6:80', 'not_this_pod'],
    ['the admin port on the address of the pod', '10.0.0.7:15000', 'reserved_port'],
    ['the port for tunnels itself', '10.0.0.7:15008', 'reserved_port'],
  ])('L2: a pod with capture refuses a request for %s', async (_, to, reason) => {
    const guard = createPodGuard({ has: (ip) => ip === '10.0.0.7' }, new Set([15000, 15008]));
    const server = await serve(await unreachable(), { parts: { guard } });
    const session = await peer(server);
    expect(await answer(connectTo(session, to))).toMatchObject({ ':status': 403, 'remora-reason': reason });
    expect(await server.plane.line({ outcome: 'denied' })).toMatchObject({
      reason,
      originalDestination: expect.any(String),
    });
  });

  it('N1: a port that nobody listens on is answered with 503 and upstream_refused', async () => {
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address() as AddressInfo;
    await once(closed.close(), 'close');
    const server = await serve(port);
    expect(await answer(connectTo(await peer(server), server.authority))).toMatchObject({
      ':status': 503,
      'remora-reason': 'upstream_refused',
    });
  });

  it('carry an id of ours when the peer sends one that could forge a log line', async () => {
    const server = await serve(await unreachable(), { allowedPeers: [] });
    const session = await peer(server);
    const reply = await answer(
      request(session, {
        ':method': 'CONNECT',
        ':authority': server.authority,
        'remora-connection-id': 'x","outcome":"closed',
      }),
    );
    expect(reply['remora-connection-id']).toMatch(/^[a-z0-9-]+$/);
  });
});

describe('neighbours in one tunnel', () => {
  it('N23: 2,000 requests that are given up at once end none of the others', async () => {
    const connections = createSlots(10_000);
    const server = await serve(await echo(), { parts: { connections } });
    const session = await peer(server);
    const running = await carried(session, server);
    for (let round = 0; round < 20; round += 1) {
      const streams = Array.from({ length: 100 }, () => connectTo(session, server.authority));
      for (const [index, stream] of streams.entries()) {
        if (index % 2 === 0) stream.close(constants.NGHTTP2_CANCEL);
        else stream.once('response', () => stream.close(constants.NGHTTP2_CANCEL));
      }
      await Promise.all(streams.map((stream) => stream.closed || once(stream, 'close')));
      expect(await exchange(running, `round ${round}`)).toBe(`round ${round}`);
    }
    running.end();
    await once(running, 'end');
    while (server.plane.drain.size > 0 || connections.inUse > 0) await turn();
    expectNothingLeft(server.plane);
  });

  it('N23: one that is not read does not stall the others', async () => {
    const server = await serve(await application((socket) => void endless(socket)));
    const session = await peer(server);
    const stalled = await carried(session, server);
    stalled.pause();
    for (let number = 0; number < 20; number += 1) {
      const stream = await carried(session, server);
      let bytes = 0;
      while (bytes < 1024 * 1024) bytes += ((await once(stream, 'data')) as [Buffer])[0].length;
      stream.close(constants.NGHTTP2_CANCEL);
    }
    expect(stalled.destroyed).toBe(false);
    let bytes = 0;
    stalled.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    stalled.resume();
    while (bytes < 1024 * 1024) await once(stalled, 'data');
  });
});

describe('sockets for which there is no descriptor', () => {
  it('are reset at once as descriptor_limit, and taken again when one has closed', async () => {
    const descriptors = createSlots(2);
    const server = await serve(await echo(), { parts: { descriptors } });
    const [silent, session] = [await dial(server), await peer(server)];
    // The reset may come before the client hears that it is connected.
    expect(await ending(connect(server.hbone, '127.0.0.1'))).toBe('reset');
    expect(await server.plane.line({ outcome: 'denied' })).toMatchObject({ reason: 'descriptor_limit' });
    const stream = await carried(session, server);
    stream.end('still served');
    expect((await readAll(stream)).toString()).toBe('still served');
    silent.destroy();
    while (descriptors.inUse > 1) await turn();
    await carried(await peer(server), server);
  });
});

describe('after everything', () => {
  it('X6: nothing is left of connections that ended in each of the ways', async () => {
    const connections = createSlots(10_000);
    const descriptors = createSlots(10_000);
    const server = await serve(await echo(), { parts: { connections, descriptors } });
    const { plane } = server;
    const session = await peer(server);
    for (let round = 0; round < 10; round += 1) {
      const ended = await carried(session, server);
      ended.end('to the end');
      expect((await readAll(ended)).toString()).toBe('to the end');
      (await carried(session, server)).close(constants.NGHTTP2_CANCEL);
      (await carried(session, server)).destroy(new Error('cut'));
      connectTo(session, server.authority).close(constants.NGHTTP2_CANCEL);
      await answer(connectTo(session, '192.0.2.7:1'));
      const refused = startTls(await dial(server), undefined);
      await ending(refused);
      const broken = await peer(server);
      await carried(broken, server);
      broken.destroy();
    }
    session.close();
    await once(session, 'close');
    const tunnels = (event: string) => plane.observed.filter((seen) => seen.event === event).length;
    while (plane.drain.size > 0 || connections.inUse > 0 || tunnels('tunnelClosed') < tunnels('tunnelOpened'))
      await turn();
    while (descriptors.inUse > 0) await turn();
    expectNothingLeft(plane);
    const opened = plane.observed.filter(({ event }) => event === 'connectionOpened').length;
    expect(plane.observed.filter(({ event }) => event === 'connectionClosed')).toHaveLength(opened);
    expect(tunnels('tunnelOpened')).toBe(11);
  });
});

/** Sends for as long as somebody reads. */
async function endless(socket: Socket): Promise<void> {
  const block = Buffer.alloc(64 * 1024);
  while (!socket.destroyed) {
    if (!socket.write(block)) await new Promise((resolve) => socket.once('drain', resolve).once('close', resolve));
  }
}
