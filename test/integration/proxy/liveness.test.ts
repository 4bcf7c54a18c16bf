import { once } from 'node:events';
import { connect } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { createServer } from 'node:net';
import { expect, it } from 'vitest';
import { watchLiveness } from '../../../src/proxy/transport/hbone/liveness.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

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
