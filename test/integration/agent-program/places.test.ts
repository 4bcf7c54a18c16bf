import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import type { Agent } from './agent-program.ts';
import { freePorts, killPrograms, page, readyAgent } from './agent-program.ts';
import { idOf, useFolder, writeIdentity } from './identity-files.ts';

/*
 * Goal: a sidecar carries as many connections as it may and not one more, and a place is free again with the connection
 * that had it. Method: the real program as the two ends of a static tunnel, one of them with few places.
 */

useFolder();

const closing: (() => void)[] = [];
afterEach(() => {
  killPrograms();
  for (const close of closing.splice(0)) close();
});

const places = 20;

async function ends(limited: 'client' | 'server') {
  const application = createServer((socket) => socket.on('error', () => undefined).pipe(socket));
  await once(application.listen(0, '127.0.0.1'), 'listening');
  closing.push(() => application.close());
  const { port } = application.address() as AddressInfo;
  const [listen = 0] = await freePorts(1);
  const limit = (side: 'client' | 'server') => (side === limited ? { maxConnections: String(places) } : {});
  const deliver = { deliver: `127.0.0.1:${port}`, allowPeers: idOf('web') };
  const server = await readyAgent({ ...writeIdentity('db'), ...deliver, ...limit('server') });
  const client = await readyAgent({
    ...writeIdentity('web'),
    listen: `127.0.0.1:${listen}`,
    target: `127.0.0.1:${port}`,
    peer: idOf('db'),
    via: `127.0.0.1:${server.ports.hbone}`,
    ...limit('client'),
  });
  return { listen, short: limited === 'client' ? client : server };
}

/** A connection that carries both ways; undefined when it was refused. */
async function dial(port: number): Promise<Socket | undefined> {
  const socket = connect(port, '127.0.0.1').on('error', () => undefined);
  closing.push(() => socket.destroy());
  socket.write('hello');
  const isCarried = await new Promise((resolve) => {
    socket.once('data', () => resolve(true));
    socket.once('close', () => resolve(false));
  });
  return isCarried ? socket : undefined;
}

async function metric({ ports }: Agent, pattern: RegExp): Promise<number> {
  const { text } = await page(ports.metrics, '/metrics');
  return Number(pattern.exec(text)?.[1] ?? 0);
}

it.each([
  ['client', 'outbound'],
  ['server', 'inbound'],
] as const)(
  'X2: the %s end carries maxConnections, refuses the rest as connection_limit, and uses a place again',
  async (limited, direction) => {
    const { listen, short } = await ends(limited);
    const denied = new RegExp(
      `^remora_connections_denied_total\\{direction="${direction}",reason="connection_limit"\\} (\\d+)$`,
      'm',
    );
    const open = new RegExp(`^remora_connections_open\\{direction="${direction}"\\} (\\d+)$`, 'm');

    const dialled = await Promise.all(Array.from({ length: places + 15 }, () => dial(listen)));
    const carried = dialled.filter((socket) => socket !== undefined);
    expect(carried).toHaveLength(places);
    expect(await metric(short, open)).toBe(places);
    expect(await metric(short, denied)).toBe(15);

    for (const socket of carried.slice(0, 5)) socket.destroy();
    await expect.poll(() => metric(short, open)).toBe(places - 5);
    const next = await Promise.all(Array.from({ length: 8 }, () => dial(listen)));
    expect(next.filter((socket) => socket !== undefined)).toHaveLength(5);
    expect(await metric(short, denied)).toBe(18);
  },
);
