import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { createSlots } from '../../../src/proxy/slots.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';
import { ending } from '../../support/sockets.ts';

/*
 * Goal: an application that writes a byte now and then is served for as long as it likes, for the price of its place; who
 * falls silent meets the idle timeout. Method: two data planes in this process whose clock this test moves.
 */

const authority = createTestAuthority('cluster.local', { intermediates: 1 });
const writers = 200;
const idleTimeoutMs = 10_000;

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

it('X4: 200 connections that write one byte a second hold their places and nothing that grows, and one that stops is closed as idle', async () => {
  const clock = createFakeClock();
  const server = createServer((socket) => void socket.on('error', () => undefined).pipe(socket));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const connections = createSlots(1000);
  const api = await runDataPlane({
    clock,
    identity: createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'api' }),
    deliveries: [{ ip: '127.0.0.1', port }],
  });
  const web = await runDataPlane({
    clock,
    parts: { connections },
    identity: createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'web' }),
    declared: [{ target: { ip: '127.0.0.1', port }, peer: 'spiffe://cluster.local/ns/shop/sa/api' }],
    hbonePort: api.addresses.hbone[0]?.port ?? 0,
    adjust: (settings) => ({ ...settings, outbound: { ...settings.outbound, idleTimeoutMs } }),
  });
  cleanups.push(
    () => server.close(),
    () => api.stop(),
    () => web.stop(),
  );
  const sockets = await Promise.all(
    Array.from({ length: writers }, async () => {
      const socket = connect(web.addresses.declared[0]?.port ?? 0, '127.0.0.1').on('error', () => undefined);
      cleanups.push(() => socket.destroy());
      await once(socket, 'connect');
      return socket;
    }),
  );
  const writeByte = async (socket: Socket) => {
    socket.write('.');
    expect(String((await once(socket, 'data'))[0])).toBe('.');
  };
  const held = () => ({
    places: connections.inUse,
    timers: clock.pending,
    streams: [...web.pool.tunnels()].map((tunnel) => tunnel.streams()),
  });

  await Promise.all(sockets.map(writeByte));
  const first = held();
  for (let second = 0; second < 30; second += 1) {
    await clock.advance(1000);
    await Promise.all(sockets.map(writeByte));
  }
  expect(held()).toEqual(first);
  expect(first).toMatchObject({ places: writers, streams: [writers] });

  const [silent, ...others] = sockets;
  const lost = ending(silent as Socket);
  for (let second = 0; second < 2 * idleTimeoutMs; second += 1000) {
    await clock.advance(1000);
    await Promise.all(others.map(writeByte));
  }
  expect(await lost).toBe('reset');
  expect(await web.line({ outcome: 'closed' })).toMatchObject({ reason: 'idle', bytesSent: 31 });
  expect(connections.inUse).toBe(writers - 1);

  for (const socket of others) socket.destroy();
  while (connections.inUse > 0) await setImmediate();
  expect(web.lines.filter(({ reason }) => reason === 'idle')).toHaveLength(1);
});
