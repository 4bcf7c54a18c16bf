import { once } from 'node:events';
import type { Http2Session } from 'node:http2';
import { connect } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { createServer } from 'node:net';
import { expect, it } from 'vitest';
import { peerStateOf } from '../../../src/libc.ts';
import { resetSocket } from '../../../src/proxy/leg.ts';
import { watchLiveness } from '../../../src/proxy/transport/hbone/liveness.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { socketPair } from '../../support/sockets.ts';

it('looks no more at a tunnel that is closed and waits for the end of its peer', async () => {
  // A peer that never ends its side.
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  await once(server, 'listening');
  const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const [peer] = await accepted;
  peer.resume();
  await once(session, 'connect');
  const clock = createFakeClock();
  const told: string[] = [];
  watchLiveness(session, clock, { suspect: () => told.push('suspect'), lost: () => told.push('lost') });
  let hasClosed = false;
  session.once('close', () => {
    hasClosed = true;
  });
  session.close();
  await expect.poll(() => session.socket).toBeUndefined();
  expect(hasClosed).toBe(false);
  await clock.advance(60_000);
  expect(told).toEqual([]);
  peer.destroy();
  server.close();
});

it('N11: gives up a tunnel whose reset Node.js does not tell, at the second look, whether or not it sends PINGs', async () => {
  const [socket, peer] = await socketPair(false);
  // As in the middle of a write: nothing is read, so nothing is heard.
  socket.pause();
  const session = { destroyed: false, closed: true, socket } as unknown as Http2Session;
  const clock = createFakeClock();
  const told: string[] = [];
  watchLiveness(session, clock, { suspect: () => told.push('suspect'), lost: () => told.push('lost') });
  await clock.advance(30_000);
  expect(told).toEqual([]);
  resetSocket(peer);
  await expect.poll(() => peerStateOf(socket)).not.toBe('open');
  await clock.advance(10_000);
  expect(told).toEqual([]);
  await clock.advance(10_000);
  expect(told).toEqual(['lost']);
  socket.destroy();
});
