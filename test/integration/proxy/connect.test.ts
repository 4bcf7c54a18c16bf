import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { createServer } from 'node:net';
import { expect, it } from 'vitest';
import { ConnectionError } from '../../../src/errors.ts';
import { permitInbound } from '../../../src/policy/permit.ts';
import { deliver } from '../../../src/proxy/inbound/deliver.ts';
import { createDials } from '../../../src/proxy/inbound/dials.ts';
import { createSlots } from '../../../src/proxy/slots.ts';
import { openSocket } from '../../../src/proxy/transport/connect.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { ending as endingOf } from '../../support/sockets.ts';

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

it.each(['loopback', 'unbound'] as const)(
  'delivers in such a way (%s) that a sidecar that is killed before it has answered shows as a reset to its application',
  async (deliverFrom) => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const clock = createFakeClock();
    const parts = { clock, connections: createSlots(1), dials: createDials(1) };
    const settings = { deliverFrom, connectTimeoutMs: 5_000, keepAliveMs: 0 };
    const ending = new Promise((resolve) => server.once('connection', (accepted) => resolve(endingOf(accepted))));
    const { application } = await deliver(
      permitInbound(
        { destination: { ip: '127.0.0.1', port }, principal: undefined },
        { kind: 'permitted', by: 'mode' },
      ),
      parts as unknown as Parameters<typeof deliver>[1],
      settings,
      new AbortController().signal,
    );
    // As the kernel does with the sockets of a process that is gone.
    application.destroy();
    expect(await ending).toBe('reset');
    server.close();
  },
);
