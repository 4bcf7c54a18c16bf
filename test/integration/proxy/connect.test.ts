import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { createServer } from 'node:net';
import { expect, it } from 'vitest';
import { ConnectionError } from '../../../src/errors.ts';
import { openSocket } from '../../../src/proxy/transport/connect.ts';

it('resets a connection that was given up while the kernel had it already, so that its server sees no end', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const controller = new AbortController();
  const address = { ip: '127.0.0.1', port };
  const opening = openSocket(address, { keepAliveMs: 0, allowHalfOpen: true }, controller.signal);
  // Node.js dials in the next tick, and the kernel connects then; Node.js hears of it in a later turn.
  await new Promise((resolve) => process.nextTick(() => process.nextTick(resolve)));
  controller.abort(new ConnectionError('reset', 'The peer gave up'));
  await expect(opening).rejects.toThrow('The peer gave up');
  const [accepted] = (await once(server, 'connection')) as [Socket];
  const ends: string[] = [];
  accepted.on('error', (error: NodeJS.ErrnoException) => ends.push(String(error.code)));
  accepted.on('end', () => ends.push('end'));
  accepted.resume();
  await new Promise((resolve) => accepted.once('close', resolve));
  expect(ends).toEqual(['ECONNRESET']);
  server.close();
});
