import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import * as tls from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import type { RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import { http2Peer } from '../../support/http2-peer.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';
import type { Frame, RawPeer } from '../../support/raw-http2.ts';
import { createRawPeer, frameType } from '../../support/raw-http2.ts';
import { ending } from '../../support/sockets.ts';

/*
 * Goal: a peer that opens more streams than it may, or takes fewer than we would like, harms nobody but itself. Method: the
 * data plane in this process, and at the other end of its tunnel a peer that sends the frames that it is told to.
 */

const authority = createTestAuthority('cluster.local', { intermediates: 1 });
const maxStreams = 4;
const ack = 0x1;
const refusedStream = 7;
const protocolError = 1;

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

async function echo() {
  let connections = 0;
  const server = createServer((socket) => {
    connections += 1;
    socket.on('error', () => undefined).pipe(socket);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  cleanups.push(() => server.close());
  return { port: (server.address() as AddressInfo).port, connections: () => connections };
}

const certificate = (serviceAccount: string) => {
  const { key, chainPem } = authority.issue({ id: `ns/shop/sa/${serviceAccount}` });
  return { key: key.export({ type: 'pkcs8', format: 'pem' }) as string, cert: chainPem, ca: authority.bundlePem };
};

async function serve(port: number): Promise<RunningDataPlane> {
  const plane = await runDataPlane({
    identity: createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'api' }),
    deliveries: [{ ip: '127.0.0.1', port }],
    adjust: (settings) => ({ ...settings, inbound: { ...settings.inbound, maxStreams } }),
  });
  cleanups.push(() => plane.stop());
  return plane;
}

/** A client that has agreed to our settings, or never does. */
async function rawClient(plane: RunningDataPlane, isAgreeing: boolean): Promise<[RawPeer, tls.TLSSocket]> {
  const socket = tls.connect({
    ...certificate('web'),
    port: plane.addresses.hbone[0]?.port ?? 0,
    host: '127.0.0.1',
    ALPNProtocols: ['h2'],
    checkServerIdentity: () => undefined,
  });
  cleanups.push(() => socket.destroy());
  await once(socket, 'secureConnect');
  const peer = createRawPeer(socket, 'client', { isAgreeing });
  await peer.frame(({ type, flags }) => type === frameType.settings && (flags & ack) === 0);
  return [peer, socket];
}

const stream = (index: number) => 1 + 2 * index;
const isAnswer = (frame: Frame, index: number) => frame.type === frameType.headers && frame.streamId === stream(index);

describe('a peer that opens more streams than it may', () => {
  const extra = 200;

  it('has them refused one by one while it has not agreed to the number, and its others go on', async () => {
    const application = await echo();
    const plane = await serve(application.port);
    const [peer] = await rawClient(plane, false);
    for (let index = 0; index < maxStreams + extra; index += 1)
      peer.connect(stream(index), `127.0.0.1:${application.port}`);
    for (let index = maxStreams; index < maxStreams + extra; index += 1) {
      const { payload } = await peer.frame(
        ({ type, streamId }) => type === frameType.rstStream && streamId === stream(index),
      );
      expect(payload.readUInt32BE()).toBe(refusedStream);
    }
    for (let index = 0; index < maxStreams; index += 1) await peer.frame((frame) => isAnswer(frame, index));
    peer.send(frameType.data, 0, stream(0), Buffer.from('ping'));
    await peer.frame(
      ({ type, streamId, payload }) =>
        type === frameType.data && streamId === stream(0) && payload.toString() === 'ping',
    );
    expect(application.connections()).toBe(maxStreams);
  });

  it('loses its tunnel when it has agreed, and no tunnel of another is harmed', async () => {
    const application = await echo();
    const plane = await serve(application.port);
    const other = await http2Peer(connect(plane.addresses.hbone[0]?.port ?? 0, '127.0.0.1'), authority, 'web');
    cleanups.push(() => other.destroy());
    const carried = other.request(
      { ':method': 'CONNECT', ':authority': `127.0.0.1:${application.port}` },
      { endStream: false },
    );
    await once(carried, 'response');
    const [peer, socket] = await rawClient(plane, true);
    for (let index = 0; index < maxStreams; index += 1) {
      peer.connect(stream(index), `127.0.0.1:${application.port}`);
      await peer.frame((frame) => isAnswer(frame, index));
    }
    const closed = once(socket, 'close').catch(() => undefined);
    for (let index = maxStreams; index < maxStreams + extra; index += 1)
      peer.connect(stream(index), `127.0.0.1:${application.port}`);
    const { payload } = await peer.frame(({ type }) => type === frameType.goaway);
    expect(payload.readUInt32BE(4)).toBe(protocolError);
    await closed;
    while (plane.observed.filter(({ event }) => event === 'connectionClosed').length < maxStreams) await setImmediate();
    expect(plane.lines.map(({ reason }) => reason)).toEqual(Array(maxStreams).fill('reset'));
    expect(application.connections()).toBe(maxStreams + 1);
    carried.write('ping');
    expect(String((await once(carried, 'data'))[0])).toBe('ping');
  });
});

/** A sidecar whose peer takes as many streams as its SETTINGS say. */
async function callerOf(allowed: number) {
  const peers: RawPeer[] = [];
  const server = tls.createServer({ ...certificate('api'), requestCert: true, ALPNProtocols: ['h2'] }, (socket) => {
    cleanups.push(() => socket.destroy());
    peers.push(createRawPeer(socket, 'server', { settings: maxConcurrentStreams(allowed) }));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  cleanups.push(() => server.close());
  const web = await runDataPlane({
    identity: createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'web' }),
    declared: [{ target: { ip: '127.0.0.1', port: 80 }, peer: 'spiffe://cluster.local/ns/shop/sa/api' }],
    hbonePort: (server.address() as AddressInfo).port,
  });
  cleanups.push(() => web.stop());
  const dial = (): Socket => {
    const socket = connect(web.addresses.declared[0]?.port ?? 0, '127.0.0.1').on('error', () => undefined);
    cleanups.push(() => socket.destroy());
    return socket;
  };
  return { web, peers, dial };
}

/** As a setting, RFC 9113 §6.5.2. */
function maxConcurrentStreams(streams: number): Buffer {
  const setting = Buffer.alloc(6);
  setting.writeUInt16BE(3);
  setting.writeUInt32BE(streams, 2);
  return setting;
}

const requests = (peer: RawPeer) => peer.received.filter(({ type }) => type === frameType.headers);

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await setImmediate();
}

describe('a peer that takes few streams', () => {
  it('gets a tunnel for each connection when that is one', async () => {
    const { peers, dial } = await callerOf(1);
    for (let index = 0; index < 8; index += 1) dial();
    await until(() => peers.filter((peer) => requests(peer).length > 0).length === 8);
    expect(peers.map((peer) => requests(peer).length)).toEqual(Array(8).fill(1));
  });

  it('is given up as tunnel_lost when that is none', async () => {
    const { web, peers, dial } = await callerOf(0);
    expect(await ending(dial())).toBe('reset');
    expect(await web.line({ outcome: 'closed' })).toMatchObject({ reason: 'tunnel_lost' });
    expect(peers.flatMap(requests)).toEqual([]);
  });

  it('gets no further stream in a tunnel where it has lowered the number, and what is open goes on', async () => {
    const { web, peers, dial } = await callerOf(100);
    const first = dial();
    await until(() => peers[0] !== undefined && requests(peers[0]).length === 1);
    const [old] = peers as [RawPeer];
    old.accept(1);
    old.send(frameType.settings, 0, 0, maxConcurrentStreams(1));
    const [tunnel] = web.pool.tunnels();
    await until(() => tunnel?.hasRoom() === false);
    dial();
    await until(() => peers[1] !== undefined && requests(peers[1]).length === 1);
    expect(requests(old)).toHaveLength(1);
    old.send(frameType.data, 0, 1, Buffer.from('still here'));
    expect(String((await once(first, 'data'))[0])).toBe('still here');
  });
});
