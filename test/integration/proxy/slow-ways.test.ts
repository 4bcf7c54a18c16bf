import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { createFakeClock } from '../../support/fake-clock.ts';
import { startApplication, startLoopbackMesh, until } from '../../support/loopback-mesh.ts';
import { ending } from '../../support/sockets.ts';

/*
 * Goal: on a slow way the handshake and the request have a deadline each, ten seconds, so that it is not taken for a silent
 * peer; a silent peer is told by the step at which it fell silent.
 * Method: two data planes in this process, with a wire between them that keeps back what the server sends, and a clock
 * that this test moves.
 */

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

async function scene() {
  const clock = createFakeClock();
  const application = await startApplication((socket) => socket.pipe(socket));
  const mesh = await startLoopbackMesh(application.port, { web: { clock } });
  cleanups.push(application.close, mesh.stop);
  const echoes = async (socket: Socket) => {
    socket.write('hello');
    return String((await once(socket, 'data'))[0]);
  };
  /** A client whose new tunnel has said what begins its handshake, and hears nothing. */
  const heldHandshake = async () => {
    const socket = mesh.dial();
    await until(() => mesh.wire.links.length === 1);
    const link = mesh.wire.links[0] ?? expect.unreachable();
    link.hold();
    await link.request();
    return { socket, link };
  };
  const tunnelIsOpen = () => until(() => mesh.web.observed.some(({ event }) => event === 'tunnelOpened'));
  return { clock, application, mesh, echoes, heldHandshake, tunnelIsOpen };
}

it('N9: a handshake of nine seconds and an answer after nine more open a connection', async () => {
  const { clock, application, echoes, heldHandshake, tunnelIsOpen } = await scene();
  const { socket, link } = await heldHandshake();
  await clock.advance(9_000);
  link.release();
  await tunnelIsOpen();
  link.hold();
  await until(() => application.connections.length === 1);
  await clock.advance(9_000);
  link.release();
  expect(await echoes(socket)).toBe('hello');
});

it('a peer that is silent from the first byte on is told by its handshake', async () => {
  const { clock, mesh, heldHandshake } = await scene();
  const { socket } = await heldHandshake();
  await clock.advance(10_000);
  expect(await ending(socket)).toBe('reset');
  expect(await mesh.web.line({ direction: 'outbound' })).toMatchObject({ outcome: 'handshake', reason: 'timeout' });
});

it('a peer that does not answer a request is upstream_timeout; its tunnel gets nothing new, and carries what it has', async () => {
  const { clock, application, mesh, echoes } = await scene();
  const running = mesh.dial();
  expect(await echoes(running)).toBe('hello');
  const link = mesh.wire.links[0] ?? expect.unreachable();
  link.hold();
  const late = mesh.dial();
  await until(() => application.connections.length === 2);
  await clock.advance(10_000);
  expect(await ending(late)).toBe('reset');
  expect(await mesh.web.line({ outcome: 'closed' })).toMatchObject({ reason: 'upstream_timeout' });
  expect(await echoes(mesh.dial())).toBe('hello');
  expect(mesh.wire.links).toHaveLength(2);
  link.release();
  expect(await echoes(running)).toBe('hello');
});
