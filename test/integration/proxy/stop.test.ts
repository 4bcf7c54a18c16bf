import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';
import { ending, readAll } from '../../support/sockets.ts';

/*
 * Goal: a sidecar that stops loses nothing of what it carries, whichever side it is on.
 * Method: `web` reaches a Service of two pods with a sidecar each; then one of them, or `web`, takes the steps of a stop.
 */
const authority = createTestAuthority('cluster.local', { intermediates: 1 });
const identityOf = (serviceAccount: string) => createTestIdentity(authority, { namespace: 'shop', serviceAccount });
const service = { ip: '10.96.0.10', port: 80 };
const replicaIps = ['127.0.0.2', '127.0.0.3'] as const;
const patienceMs = 60_000;

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

async function listen(ip: string, port: number, onConnection: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    cleanups.push(() => socket.destroy());
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  server.listen(port, ip);
  await once(server, 'listening');
  cleanups.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

interface Replicated {
  readonly web: RunningDataPlane;
  readonly replicas: readonly [RunningDataPlane, RunningDataPlane];
  dial(): Promise<Socket>;
}

/** Both pods run the same application. */
async function replicated(onConnection: (socket: Socket) => void): Promise<Replicated> {
  const [first, second] = replicaIps;
  const port = await listen(first, 0, onConnection);
  await listen(second, port, onConnection);
  const run = async (ip: string, hbonePort: number) => {
    const plane = await runDataPlane({
      identity: identityOf('api'),
      deliveries: [{ ip, port }],
      adjust: (settings) => ({ ...settings, listen: { ...settings.listen, hbone: [{ ip, port: hbonePort }] } }),
    });
    cleanups.push(() => plane.stop());
    return plane;
  };
  const one = await run(first, 0);
  const hbonePort = one.addresses.hbone[0]?.port ?? 0;
  const replicas = [one, await run(second, hbonePort)] as const;
  const endpoints = replicaIps.map((ip) => ({
    address: `${ip}:${port}`,
    spiffeId: 'spiffe://cluster.local/ns/shop/sa/api',
    transport: 'hbone' as const,
    ready: true,
    terminating: false,
  }));
  const destination = { address: '10.96.0.10:80', service: 'api.shop', known: true, ttlSeconds: 60, endpoints };
  const web = await runDataPlane({
    identity: identityOf('web'),
    hbonePort,
    parts: {
      originalDestination: () => service,
      registry: { lookup: async () => ({ kind: 'known', destination }) },
    },
    adjust: (settings) => ({
      ...settings,
      listen: { ...settings.listen, outbound: [{ ip: '127.0.0.1', port: 0 }] },
      outbound: { ...settings.outbound, meshNetworks: { has: () => true } },
    }),
  });
  cleanups.push(() => web.stop());
  return {
    web,
    replicas,
    async dial() {
      const socket = connect({ host: '127.0.0.1', port: web.addresses.outbound[0]?.port ?? 0, allowHalfOpen: true });
      socket.on('error', () => undefined);
      cleanups.push(() => socket.destroy());
      await once(socket, 'connect');
      return socket;
    },
  };
}

/** The steps of a stop from GOAWAY on; resolves with how many connections were reset. */
async function stop(plane: RunningDataPlane, deadlineMs: number): Promise<number> {
  plane.retireInbound();
  const forced = await plane.drain.finish(deadlineMs);
  plane.retireOutbound();
  await plane.close(5000);
  return forced;
}

/** The replica that carries the connection. */
const carrying = ({ replicas }: Replicated) => replicas.filter((replica) => [...replica.accounts.live()].length > 0);

describe('a sidecar that stops', () => {
  it('K2: has sent the last byte before it ends, to clients that finished first', async () => {
    const reply = randomBytes(16 * 1024 * 1024);
    const mesh = await replicated((socket) => socket.resume().end(reply));
    for (let round = 0; round < 2; round += 1) {
      const client = await mesh.dial();
      client.end();
      const received = readAll(client);
      await once(client, 'readable');
      const [carrier] = carrying(mesh);
      expect(carrier && (await stop(carrier, patienceMs))).toBe(0);
      expect(sha256(await received)).toBe(sha256(reply));
    }
  });

  it('K2: has sent the last byte before it ends, to servers that finished first', async () => {
    const received: Promise<string>[] = [];
    const { web, dial } = await replicated((socket) => {
      socket.end();
      received.push(readAll(socket).then(sha256, String));
    });
    const uploads = Array.from({ length: 8 }, () => randomBytes(4 * 1024 * 1024));
    const clients = await Promise.all(uploads.map(dial));
    const answers = clients.map(readAll);
    for (const [index, upload] of uploads.entries()) clients[index]?.end(upload);
    await Promise.all(answers);
    expect(await stop(web, patienceMs)).toBe(0);
    expect((await Promise.all(received)).toSorted()).toEqual(uploads.map(sha256).toSorted());
  });

  it('K2: carries 64 MiB each way to their ends while both sides stop', async () => {
    const [up, down] = [randomBytes(64 * 1024 * 1024), randomBytes(64 * 1024 * 1024)];
    const { promise: received, resolve } = Promise.withResolvers<Buffer>();
    const { web, replicas, dial } = await replicated((socket) => {
      socket.end(down);
      readAll(socket).then(resolve, (error) => resolve(Buffer.from(String(error))));
    });
    const client = await dial();
    client.end(up);
    await once(client, 'readable');
    const stopped = Promise.all([web, ...replicas].map((plane) => stop(plane, patienceMs)));
    expect(sha256(await readAll(client))).toBe(sha256(down));
    expect(sha256(await received)).toBe(sha256(up));
    expect(await stopped).toEqual([0, 0, 0]);
  });

  it('N22: hands the requests that race its GOAWAY to the other endpoint, each delivered once', async () => {
    const delivered: string[] = [];
    const { web, replicas, dial } = await replicated((socket) => {
      void readAll(socket).then((request) => {
        delivered.push(String(request));
        socket.end(`got ${request}`);
      });
    });
    const ask = async (name: string) => {
      const client = await dial();
      client.end(name);
      return (await readAll(client)).toString();
    };
    const names = Array.from({ length: 40 }, (_, round) =>
      Array.from({ length: 20 }, (_, index) => `${round}-${index}`),
    );
    const stopped: Promise<number>[] = [];
    for (const [round, group] of names.entries()) {
      const answers = group.map(ask);
      // In the middle of the requests: some are answered, some are on their way, some have not been sent.
      if (round === 20) {
        await Promise.race(answers);
        stopped.push(stop(replicas[0], patienceMs));
      }
      expect(await Promise.all(answers)).toEqual(group.map((name) => `got ${name}`));
    }
    expect(await Promise.all(stopped)).toEqual([0]);
    expect(delivered.toSorted()).toEqual(names.flat().toSorted());
    expect(replicas[0].lines.length).toBeGreaterThan(0);
    // That the endpoint which stopped is set aside is no line of a connection.
    const connections = [web, ...replicas].flatMap(({ lines }) => lines.filter(({ direction }) => direction));
    expect(connections.filter(({ reason }) => reason !== 'eof')).toEqual([]);
  });

  it('K3: resets a reader that is too slow for the deadline, and lets it see no end', async () => {
    const mesh = await replicated((socket) => socket.resume().end(Buffer.alloc(64 * 1024 * 1024)));
    const slow = await mesh.dial();
    slow.end();
    await once(slow, 'readable');
    const [carrier] = carrying(mesh);
    expect(carrier && (await stop(carrier, 0))).toBe(1);
    expect(await carrier?.line({ direction: 'inbound' })).toMatchObject({ reason: 'drain_deadline' });
    expect(await ending(slow)).toBe('reset');
  });

  it('K3: says of a connection that was still being opened at the deadline that this ended it', async () => {
    const { promise: asked, resolve } = Promise.withResolvers<Socket>();
    // Takes the connection and never shakes hands.
    const silentPort = await listen('127.0.0.1', 0, resolve);
    const peer = 'spiffe://cluster.local/ns/shop/sa/api';
    const target = { ip: '127.0.0.1', port: 1 };
    const web = await runDataPlane({
      identity: identityOf('web'),
      declared: [{ target, peer }],
      hbonePort: silentPort,
    });
    cleanups.push(() => web.stop());
    const client = connect({ host: '127.0.0.1', port: web.addresses.declared[0]?.port ?? 0 });
    const seen = ending(client);
    await asked;
    expect(await stop(web, 0)).toBe(1);
    expect(await web.line({ direction: 'outbound' })).toMatchObject({ outcome: 'closed', reason: 'drain_deadline' });
    expect(await seen).toBe('reset');
  });
});
