import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo, Server, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { Clock } from '../../../src/clock.ts';
import type { RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { bundlesOf, createTestAuthority, createTestIdentity } from '../../support/identities.ts';
import { ending, readAll } from '../../support/sockets.ts';

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
async function mesh(port: number, options: { peer?: string; clock?: Clock } = {}): Promise<Mesh> {
  const delivery = { ip: '127.0.0.1', port };
  const api = await runDataPlane({
    identity: createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'api' }),
    deliveries: [delivery],
  });
  const web = await runDataPlane({
    identity: createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'web' }),
    declared: [{ target: delivery, peer: options.peer ?? apiId }],
    hbonePort: api.addresses.hbone[0]?.port ?? 0,
    ...(options.clock && { clock: options.clock }),
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
      // It may be refused before it has seen itself connected.
      await Promise.race([once(socket, 'connect'), once(socket, 'close')]).catch(() => undefined);
      return socket;
    },
  };
}

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

describe('a tunnel between two sidecars', () => {
  it('carries bytes both ways and passes each end on as a half-close', async () => {
    const { dial, web, api } = await mesh(
      await application((socket) => void readAll(socket).then((request) => socket.end(`got ${request}`))),
    );
    const client = await dial();
    client.end('hello');
    expect((await readAll(client)).toString()).toBe('got hello');
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
        received = readAll(socket);
        socket.end(down);
      }),
    );
    const client = await dial();
    client.end(up);
    expect(sha256(await readAll(client))).toBe(sha256(down));
    expect(sha256((await received) as Buffer)).toBe(sha256(up));
  });

  it('shares one tunnel and one handshake among 2,000 short connections', async () => {
    const { dial, web } = await mesh(await application((socket) => socket.pipe(socket)));
    for (let round = 0; round < 40; round += 1) {
      const answers = await Promise.all(
        Array.from({ length: 50 }, async (_, index) => {
          const client = await dial();
          client.end(`ping ${index}`);
          return (await readAll(client)).toString();
        }),
      );
      expect(answers).toEqual(Array.from({ length: 50 }, (_, index) => `ping ${index}`));
    }
    expect(web.observed.filter(({ event }) => event === 'handshakeSucceeded')).toHaveLength(1);
  });
  it('passes the end of a client on that never says a word', async () => {
    const { dial, web, api } = await mesh(
      await application((socket) => void readAll(socket).then(() => socket.end('bye'))),
    );
    const client = await dial();
    client.end();
    expect((await readAll(client)).toString()).toBe('bye');
    expect(await web.line({ direction: 'outbound' })).toMatchObject({ reason: 'eof', bytesSent: 0, bytesReceived: 3 });
    expect(await api.line({ direction: 'inbound' })).toMatchObject({ reason: 'eof' });
  });

  it('lets the server speak first', async () => {
    const { dial } = await mesh(await application((socket) => socket.end('220 ready\r\n')));
    const client = await dial();
    expect((await readAll(client)).toString()).toBe('220 ready\r\n');
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
    expect(await ending(client)).toBe('reset');
    expect(await web.line({ direction: 'outbound' })).toMatchObject({ outcome: 'handshake', reason: 'peer_identity' });
    expect(connections).toBe(0);
  });

  it('tells both logs the same story under the same id when the application refuses', async () => {
    const closedPort = await application(() => undefined);
    for (const cleanup of cleanups.splice(0)) cleanup();
    const { dial, web, api } = await mesh(closedPort);
    expect(await ending(await dial())).toBe('reset');
    const inbound = await api.line({ direction: 'inbound' });
    expect(inbound).toMatchObject({ outcome: 'closed', reason: 'upstream_refused', peerId: webId });
    expect(await web.line({ direction: 'outbound' })).toMatchObject({
      outcome: 'closed',
      reason: 'upstream_refused',
      id: inbound.id,
    });
  });

  it('tells both logs the same story under the same id when the other side denies', async () => {
    const { dial, web, api } = await mesh(await application((socket) => socket.end('secret')));
    api.policy = undefined;
    const client = await dial();
    expect(await ending(client)).toBe('reset');
    const inbound = await api.line({ direction: 'inbound' });
    expect(inbound).toMatchObject({ outcome: 'denied', reason: 'policy_unavailable' });
    const outbound = await web.line({ direction: 'outbound' });
    expect(outbound).toMatchObject({ outcome: 'denied', reason: 'peer_refused', id: inbound.id });
    expect(outbound.detail).toContain('policy_unavailable');
  });

  it('N25: delivers every byte to a slow reader when the tunnel retires under it, and opens the next connection on another', async () => {
    const reply = randomBytes(16 * 1024 * 1024);
    const { dial, web, api } = await mesh(await application((socket) => socket.end(reply)));
    const slow = await dial();
    await once(slow, 'readable');
    const [tunnel] = web.pool.tunnels();
    tunnel?.retire();
    const second = await dial();
    second.end();
    expect(sha256(await readAll(second))).toBe(sha256(reply));
    expect(web.observed.filter(({ event }) => event === 'handshakeSucceeded')).toHaveLength(2);
    slow.end();
    expect(sha256(await readAll(slow))).toBe(sha256(reply));
    await api.line({ outcome: 'closed', reason: 'eof' });
  });

  it('N25: delivers every byte to an application that reads slowly when the tunnel retires and closes under it', async () => {
    const upload = randomBytes(4 * 1024 * 1024);
    const { promise: accepted, resolve } = Promise.withResolvers<Socket>();
    // It answers and finishes first, and reads only when it is told to.
    const { dial, web } = await mesh(
      await application((socket) => {
        socket.pause();
        socket.end('ok');
        resolve(socket);
      }),
    );
    const client = await dial();
    client.end(upload);
    expect((await readAll(client)).toString()).toBe('ok');
    const slow = await accepted;
    const [tunnel] = web.pool.tunnels();
    tunnel?.retire();
    const got = await readAll(slow);
    expect(sha256(got)).toBe(sha256(upload));
  });

  it('N22: carries connections on while the server retires its tunnels again and again', async () => {
    const { dial, web, api } = await mesh(await application((socket) => socket.pipe(socket)));
    const answers: string[] = [];
    for (let round = 0; round < 20; round += 1) {
      const clients = Array.from({ length: 10 }, async (_, index) => {
        const client = await dial();
        client.end(`ping ${round} ${index}`);
        return (await readAll(client)).toString();
      });
      // The client's end retires too, in the middle of the requests.
      for (const tunnel of web.pool.tunnels()) tunnel.retire();
      answers.push(...(await Promise.all(clients)));
    }
    const expected = Array.from({ length: 20 }, (_, round) =>
      Array.from({ length: 10 }, (_, index) => `ping ${round} ${index}`),
    );
    expect(answers).toEqual(expected.flat());
    expect(web.lines.filter(({ reason }) => reason !== 'eof')).toEqual([]);
    expect(api.lines.filter(({ reason }) => reason !== 'eof')).toEqual([]);
  });

  it('shows a new certificate on new tunnels and lets the running connections go on', async () => {
    const { dial, web, api } = await mesh(await application((socket) => socket.pipe(socket)));
    const running = await dial();
    running.write('before');
    expect(String(await once(running, 'data'))).toBe('before');
    web.identity = createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'web', generation: 2 });
    web.pool.retireOthersThan(web.identity);
    const next = await dial();
    next.end('after');
    expect((await readAll(next)).toString()).toBe('after');
    expect(api.observed.filter(({ event }) => event === 'tunnelOpened')).toHaveLength(2);
    running.end('still here');
    expect((await readAll(running)).toString()).toBe('still here');
  });

  it('keeps a retired tunnel alive for as long as a connection needs it', async () => {
    const clock = createFakeClock();
    const { dial, web } = await mesh(await application((socket) => socket.pipe(socket)), { clock });
    const running = await dial();
    const exchange = async (text: string) => {
      running.write(text);
      return String((await once(running, 'data'))[0]);
    };
    expect(await exchange('before')).toBe('before');
    const [tunnel] = web.pool.tunnels();
    tunnel?.retire();
    // PINGs go out every 10 s; the bytes that follow one come back behind its answer.
    for (let tick = 0; tick < 8; tick += 1) {
      await clock.advance(10_000);
      expect(await exchange(`tick ${tick}`)).toBe(`tick ${tick}`);
    }
  });

  it('serves a burst on a cold pool with as many tunnels as it takes, and none beyond its capacity', async () => {
    const { dial, web } = await mesh(await application((socket) => socket.pipe(socket)));
    const clients = await Promise.all(Array.from({ length: 600 }, dial));
    const answers = await Promise.all(
      clients.map(async (client) => {
        client.write('hello');
        return String((await once(client, 'data'))[0]);
      }),
    );
    expect(answers).toEqual(clients.map(() => 'hello'));
    const streams = [...web.pool.tunnels()].map((tunnel) => tunnel.streams());
    expect(streams.reduce((sum, count) => sum + count, 0)).toBe(600);
    expect(Math.max(...streams)).toBeLessThanOrEqual(256);
  });

  it('opens nothing new on a tunnel whose peer has expired or whose root was removed, and lets the running go on', async () => {
    const { dial, web } = await mesh(await application((socket) => socket.pipe(socket)));
    const running = await dial();
    running.write('before');
    await once(running, 'data');
    const stranger = createTestAuthority('cluster.local');
    web.identity = { ...web.identity, bundles: bundlesOf(stranger) };
    expect(await ending(await dial())).toBe('reset');
    expect(await web.line({ outcome: 'handshake' })).toMatchObject({ reason: 'untrusted' });
    running.end('still here');
    expect((await readAll(running)).toString()).toBe('still here');
  });

  it('carries nothing new for a peer whose root was removed, on a tunnel that is open', async () => {
    const { dial, api } = await mesh(await application((socket) => socket.pipe(socket)));
    const running = await dial();
    running.write('before');
    await once(running, 'data');
    api.identity = { ...api.identity, bundles: bundlesOf(createTestAuthority('cluster.local')) };
    expect(await ending(await dial())).toBe('reset');
    expect(await api.line({ outcome: 'handshake' })).toMatchObject({ reason: 'untrusted', peerId: webId });
  });

  it('R3: refuses outbound and inbound with identity_expired once its own certificate has ended', async () => {
    const { dial, web, api } = await mesh(await application((socket) => socket.end('secret')));
    const ended = { notAfterMs: Date.now() - 1 };
    web.identity = { ...web.identity, ...ended };
    expect(await ending(await dial())).toBe('reset');
    expect(await web.line({ direction: 'outbound' })).toMatchObject({ outcome: 'denied', reason: 'identity_expired' });
    web.identity = createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'web' });
    api.identity = { ...api.identity, ...ended };
    expect(await ending(await dial())).toBe('reset');
    expect(await api.line({ direction: 'inbound' })).toMatchObject({ outcome: 'denied', reason: 'identity_expired' });
  });

  it('resets what is still open at the drain deadline and counts it as drain_deadline', async () => {
    const { dial, web, api } = await mesh(await application((socket) => socket.pipe(socket)));
    const client = await dial();
    client.write('stuck');
    await once(client, 'data');
    const seen = ending(client);
    expect(await api.drain.finish(0)).toBe(1);
    expect(await seen).toBe('reset');
    expect(await api.line({ direction: 'inbound' })).toMatchObject({ reason: 'drain_deadline' });
    expect(await web.line({ direction: 'outbound' })).toMatchObject({ reason: 'reset' });
  });

  it('N21: resets the application when the peer process of its tunnel is gone', async () => {
    const { dial, web, api } = await mesh(await application((socket) => socket.pipe(socket)));
    const client = await dial();
    client.write('hello');
    await once(client, 'data');
    const seen = ending(client);
    api.stop();
    expect(await seen).toBe('reset');
    expect(await web.line({ direction: 'outbound' })).toMatchObject({ outcome: 'closed', reason: 'reset' });
  });
});
