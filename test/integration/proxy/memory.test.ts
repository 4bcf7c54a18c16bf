import { once } from 'node:events';
import type { ClientHttp2Session, IncomingHttpHeaders } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { captureProbe } from '../../../src/ports.ts';
import type { RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import { http2Peer } from '../../support/http2-peer.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';
import { ending, readAll } from '../../support/sockets.ts';

/*
 * Goal: while memory is short nothing new is taken, and what is carried goes on. Method: the data plane in this process,
 * told that memory is short and that it is not any more.
 */

const authority = createTestAuthority('cluster.local');
const identity = createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'api' });
const anyPort = { ip: '127.0.0.1', port: 0 };

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

const shortage = 'The container holds 190 of 200 MiB';

async function scene(destination = { ip: '192.0.2.7', port: 80 }) {
  const application = createServer((socket) => socket.on('error', () => undefined).pipe(socket));
  await once(application.listen(0, '127.0.0.1'), 'listening');
  cleanups.push(() => application.close());
  const { port } = application.address() as AddressInfo;
  const memory = { isShort: false, shortage: () => (memory.isShort ? shortage : undefined) };
  const plane = await runDataPlane({
    identity,
    deliveries: [{ ip: '127.0.0.1', port }],
    allowedPeers: ['spiffe://cluster.local/ns/shop/sa/web'],
    parts: { memory, originalDestination: () => destination },
    adjust: (settings) => ({
      ...settings,
      listen: { ...settings.listen, inbound: [anyPort], outbound: [anyPort] },
      outbound: { ...settings.outbound, probeAnswer: 'it is me' },
    }),
  });
  cleanups.push(() => plane.stop());
  return { plane, memory, to: `127.0.0.1:${port}` };
}

function dial(plane: RunningDataPlane, listener: 'hbone' | 'inbound' | 'outbound') {
  const socket = connect({ host: '127.0.0.1', port: plane.addresses[listener][0]?.port ?? 0 });
  cleanups.push(() => socket.destroy());
  return socket;
}

async function open(session: ClientHttp2Session, to: string) {
  const stream = session.request({ ':method': 'CONNECT', ':authority': to }, { endStream: false });
  stream.on('error', () => undefined);
  const [headers] = (await once(stream, 'response')) as [IncomingHttpHeaders];
  return { stream, headers };
}

it('X8: refuses a connection in a tunnel while memory is short, and carries on with what is open', async () => {
  const { plane, memory, to } = await scene();
  const session = await http2Peer(dial(plane, 'hbone'), authority, 'web');
  cleanups.push(() => session.destroy());
  const running = await open(session, to);
  memory.isShort = true;
  const refused = await open(session, to);
  expect(refused.headers).toMatchObject({ ':status': 403, 'remora-reason': 'memory_pressure' });
  expect(await plane.line({ reason: 'memory_pressure' })).toMatchObject({ direction: 'inbound', detail: shortage });
  running.stream.write('on');
  expect(String((await once(running.stream, 'data'))[0])).toBe('on');
  memory.isShort = false;
  expect((await open(session, to)).headers).toMatchObject({ ':status': 200 });
});

it.each(['hbone', 'inbound', 'outbound'] as const)('X8: resets whoever connects to %s meanwhile', async (listener) => {
  const { plane, memory } = await scene();
  memory.isShort = true;
  expect(await ending(dial(plane, listener))).toBe('reset');
  const direction = listener === 'outbound' ? 'outbound' : 'inbound';
  expect(plane.observed).toEqual([{ event: 'connectionDenied', args: [direction, 'memory_pressure'] }]);
});

it('X8: still proves that it captures', async () => {
  const { plane, memory } = await scene({ ip: captureProbe.v4, port: captureProbe.port });
  memory.isShort = true;
  expect(String(await readAll(dial(plane, 'outbound')))).toBe('it is me');
});
