import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { expect, it } from 'vitest';
import { runDataPlane } from '../../support/data-plane.ts';
import { apiId, meshIdentity, startApplication } from '../../support/loopback-mesh.ts';

/*
 * Goal: connections of one tunnel that are busy both ways never wait for each other for ever. Method: more bytes each way
 * than all buffers between the two sidecars hold, at once.
 */

const connections = 240;
const bytesEach = 512 * 1024;

/** Sends, and resolves with the bytes that came back; rejects when it is cut. */
function exchange(socket: Socket): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let received = 0;
  socket.on('data', (chunk: Buffer) => {
    received += chunk.length;
  });
  socket.once('end', () => resolve(received));
  socket.once('error', reject);
  socket.end(Buffer.alloc(bytesEach, 'x'));
  return promise;
}

it('N23: connections of one tunnel that are all busy both ways do not block it', { timeout: 120_000 }, async () => {
  const application = await startApplication((socket) => socket.pipe(socket));
  const target = { ip: '127.0.0.1', port: application.port };
  const api = await runDataPlane({ identity: meshIdentity('api'), deliveries: [target] });
  const web = await runDataPlane({
    identity: meshIdentity('web'),
    declared: [{ target, peer: apiId }],
    hbonePort: api.addresses.hbone[0]?.port ?? 0,
  });
  const { port = 0 } = web.addresses.declared[0] ?? {};
  const sockets = Array.from({ length: connections }, () => connect({ host: '127.0.0.1', port, allowHalfOpen: true }));
  try {
    const received = await Promise.all(sockets.map(exchange));
    expect(new Set(received)).toEqual(new Set([bytesEach]));
  } finally {
    for (const socket of sockets) socket.destroy();
    web.stop();
    api.stop();
    application.close();
  }
});
