import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo, Server, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { afterEach, describe, expect, it } from 'vitest';
import type { RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';

const authority = createTestAuthority('cluster.local', { intermediates: 1 });
const webId = 'spiffe://cluster.local/ns/shop/sa/web';
const apiId = 'spiffe://cluster.local/ns/shop/sa/api';

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

async function application(onConnection: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

interface Mesh {
  readonly web: RunningDataPlane;
  readonly api: RunningDataPlane;
  dial(): Promise<Socket>;
}

/** `web` carries its application's connections to the application behind `api`. */
async function mesh(port: number, options: { peer?: string } = {}): Promise<Mesh> {
  const delivery = { ip: '127.0.0.1', port };
  const api = await runDataPlane({
    identity: createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'api' }),
    deliveries: [delivery],
  });
  const web = await runDataPlane({
    identity: createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'web' }),
    declared: [{ target: delivery, peer: options.peer ?? apiId }],
    hbonePort: api.addresses.hbone[0]?.port ?? 0,
  });
  cleanups.push(
    () => api.stop(),
    () => web.stop(),
  );
  return {
    web,
    api,
    async dial() {
      const socket = connect({ host: '127.0.0.1', port: web.addresses.declared[0]?.port ?? 0, allowHalfOpen: true });
      socket.on('error', () => undefined);
      cleanups.push(() => socket.destroy());
      await once(socket, 'connect');
      return socket;
    },
  };
}

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

describe('a tunnel between two sidecars', () => {
  it('carries bytes both ways and passes each end on as a half-close', async () => {
    const { dial, web, api } = await mesh(
      await application((socket) => void buffer(socket).then((request) => socket.end(`got ${request}`))),
    );
    const client = await dial();
    client.end('hello');
    expect((await buffer(client)).toString()).toBe('got hello');
    const outbound = await web.line({ direction: 'outbound', outcome: 'closed' });
    const inbound = await api.line({ direction: 'inbound', outcome: 'closed' });
    expect(outbound).toMatchObject({
      reason: 'eof',
      peerId: apiId,
      localId: webId,
      bytesSent: 5,
      bytesReceived: 9,
      transport: 'hbone',
      security: 'mutual_tls',
    });
    expect(inbound).toMatchObject({
      reason: 'eof',
      peerId: webId,
      localId: apiId,
      bytesSent: 5,
      bytesReceived: 9,
      id: outbound.id,
    });
  });

  it('carries 64 MiB both ways at once with equal hashes', async () => {
    const up = randomBytes(64 * 1024 * 1024);
    const down = randomBytes(64 * 1024 * 1024);
    let received: Promise<Buffer> | undefined;
    const { dial } = await mesh(
      await application((socket) => {
        received = buffer(socket);
        socket.end(down);
      }),
    );
    const client = await dial();
    client.end(up);
    expect(sha256(await buffer(client))).toBe(sha256(down));
    expect(sha256((await received) as Buffer)).toBe(sha256(up));
  });

  it('shares one tunnel and one handshake among 2,000 short connections', async () => {
    const { dial, web } = await mesh(await application((socket) => socket.pipe(socket)));
    for (let round = 0; round < 40; round += 1) {
      const answers = await Promise.all(
        Array.from({ length: 50 }, async (_, index) => {
          const client = await dial();
          client.end(`ping ${index}`);
          return (await buffer(client)).toString();
        }),
      );
      expect(answers).toEqual(Array.from({ length: 50 }, (_, index) => `ping ${index}`));
    }
    expect(web.observed.filter(({ event }) => event === 'handshakeSucceeded')).toHaveLength(1);
  });
  it('lets the server speak first', async () => {
    const { dial } = await mesh(await application((socket) => socket.end('220 ready\r\n')));
    const client = await dial();
    expect((await buffer(client)).toString()).toBe('220 ready\r\n');
  });

  it('refuses a peer that proves another identity, before a byte is sent', async () => {
    let connections = 0;
    const countConnection = () => {
      connections += 1;
    };
    const { dial, web } = await mesh(await application(countConnection), {
      peer: 'spiffe://cluster.local/ns/shop/sa/other',
    });
    const client = await dial();
    const [error] = await once(client, 'close');
    expect(error).toBe(true);
    expect(await web.line({ direction: 'outbound' })).toMatchObject({ outcome: 'handshake', reason: 'peer_identity' });
    expect(connections).toBe(0);
  });
});
