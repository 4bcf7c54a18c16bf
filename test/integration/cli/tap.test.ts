import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { openTap } from '../../../src/cli/demo/tap.ts';
import { createWireCount } from '../../../src/cli/demo/wire-count.ts';

const marker = 'what-is-said-on-the-wire';
const cleaning: (() => void)[] = [];
afterEach(() => {
  for (const clean of cleaning.splice(0)) clean();
});

/** A tap in front of a server that treats each connection with `serve`. */
async function tapped(serve: Parameters<typeof createServer>[1]) {
  const server = createServer({ allowHalfOpen: true }, serve).listen(0, '127.0.0.1');
  cleaning.push(() => server.close());
  await once(server, 'listening');
  const count = createWireCount({ markers: { mesh: marker }, tunnelPort: 15_008 });
  const target = { ip: '127.0.0.1', port: (server.address() as AddressInfo).port };
  const tap = await openTap(target, count, 'tunnels', 15_008);
  cleaning.push(tap.close);
  const client = connect({ host: tap.address.ip, port: tap.address.port, allowHalfOpen: true });
  client.on('error', () => undefined);
  return { client, count };
}

describe('a wire that is looked at', () => {
  it('passes bytes and the end of each direction on, and sees what both sides say', async () => {
    const { client, count } = await tapped((socket) => {
      socket.on('end', () => socket.end(`and ${marker} back`));
      socket.resume();
    });
    client.end(`${marker} forth`);
    let received = '';
    client.on('data', (chunk) => (received += chunk));
    await once(client, 'end');
    expect(received).toBe(`and ${marker} back`);
    expect(count.totals()).toMatchObject({ clearBytes: { mesh: 2 * marker.length } });
    expect(count.totals().tunnelFrames).toBeGreaterThanOrEqual(2);
  });

  it('sees what comes in pieces', async () => {
    const { client, count } = await tapped((socket) => void socket.pipe(socket));
    let received = '';
    client.on('data', (chunk) => (received += chunk));
    for (const letter of marker) {
      const before = received.length;
      client.write(letter);
      while (received.length === before) await once(client, 'data');
    }
    expect(count.totals().clearBytes.mesh).toBe(2 * marker.length);
  });

  it('passes a reset on as a reset', async () => {
    const { client } = await tapped((socket) => socket.once('data', () => socket.resetAndDestroy()));
    client.write('x');
    const [error] = await once(client, 'error');
    expect(error).toMatchObject({ code: 'ECONNRESET' });
  });
});
