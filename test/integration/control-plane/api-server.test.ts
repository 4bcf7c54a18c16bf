import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import type { Socket } from 'node:net';
import { connect as connectTcp } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { connect as connectTls } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ApiLimits, ApiServer } from '../../../src/control-plane/api-server.ts';
import { apiLimits, startApiServer } from '../../../src/control-plane/api-server.ts';
import { createAuthority, createRoot } from '../../../src/control-plane/authority.ts';
import { keepServingCertificate } from '../../../src/control-plane/serving-certificate.ts';
import { captureLog } from '../../support/captured-log.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

/* The server with short limits, and clients that keep none of its rules. Real time runs; only the drain is on the clock. */

let clock: FakeClock;
let server: ApiServer | undefined;
const sockets: Socket[] = [];
beforeEach(() => {
  clock = createFakeClock();
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await server?.close();
});

async function start(limits: Partial<ApiLimits>, api: RequestListener = (_, response) => void response.end('ok')) {
  const root = createRoot('cluster.local', clock.now());
  const authority = createAuthority({ root }, clock, {
    trustDomain: 'cluster.local',
    lifetimeMs: 1e6,
    minimumLifetimeMs: 1e4,
  });
  const serving = keepServingCertificate({ authority, clock, log: captureLog().log }, []);
  server = await startApiServer({ clock, serving, api }, { ip: '127.0.0.1', port: 0 }, { ...apiLimits, ...limits });
  return server;
}

const track = <T extends Socket>(socket: T): T => {
  sockets.push(socket.on('error', () => undefined));
  return socket;
};
const dial = ({ address: { ip, port } }: ApiServer) => track(connectTcp(port, ip));
const handshake = async ({ address: { ip, port } }: ApiServer): Promise<TLSSocket> => {
  const socket = track(connectTls({ host: ip, port, rejectUnauthorized: false }));
  await once(socket, 'secureConnect');
  return socket;
};
/** Everything that comes until the end. */
const untilClosed = async (socket: Socket) => {
  let text = '';
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
  });
  await once(socket, 'close');
  return text;
};

describe('a client that', () => {
  it('T12: connects and stays silent is closed at the deadline of the handshake', async () => {
    const socket = dial(await start({ handshakeMs: 200 }));
    expect(await untilClosed(socket)).toBe('');
  });

  it('A7: sends its headers byte by byte is closed at their deadline', async () => {
    const socket = await handshake(await start({ headersMs: 200 }));
    socket.write('GET / HTTP/1.1\r\nHost: a\r\n');
    expect(await untilClosed(socket)).toMatch(/^HTTP\/1\.1 408 /);
  });

  it('A7: never sends the body that it announced is closed at its deadline', async () => {
    const read: RequestListener = (request, response) =>
      void request.on('error', () => undefined).on('end', () => response.end());
    const socket = await handshake(await start({ headersMs: 200, requestMs: 400 }, read));
    socket.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nx');
    expect(await untilClosed(socket)).toMatch(/^HTTP\/1\.1 408 /);
  });

  it('opens one connection too many is turned away, and the others stay', async () => {
    const limited = await start({ connections: 2 });
    const [first] = [await handshake(limited), await handshake(limited)];
    expect(await untilClosed(dial(limited))).toBe('');
    first!.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    expect(await untilClosed(first!)).toMatch(/^HTTP\/1\.1 200 /);
  });
});

describe('close', () => {
  it('lets a request that is under way finish', async () => {
    const { promise: arrived, resolve: arrive } = Promise.withResolvers<() => void>();
    const socket = await handshake(
      await start({}, (_, response) => arrive(() => response.setHeader('connection', 'close').end('late'))),
    );
    socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    const answer = await arrived;
    const closed = server!.close();
    answer();
    expect(await untilClosed(socket)).toMatch(/late/);
    await closed;
  });

  it('cuts what is still open after the drain deadline, handshakes too, and closes once', async () => {
    const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>();
    const limited = await start({ drainMs: 5_000 }, () => arrive());
    const stuck = await handshake(limited);
    const silent = dial(limited);
    await once(silent, 'connect');
    stuck.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await arrived;
    const closed = [limited.close(), limited.close()];
    const cut = Promise.all([untilClosed(stuck), untilClosed(silent)]);
    await clock.advance(5_000);
    expect(await cut).toEqual(['', '']);
    await Promise.all(closed);
  });
});
