import { once } from 'node:events';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import { http2Peer } from '../../support/http2-peer.ts';
import { apiId, meshAuthority, meshIdentity, startApplication, until } from '../../support/loopback-mesh.ts';
import type { Frame, RawPeer } from '../../support/raw-http2.ts';
import { frameType } from '../../support/raw-http2.ts';
import type { RawTunnel } from '../../support/raw-sidecar.ts';
import { dialRawTunnel, startRawServer } from '../../support/raw-sidecar.ts';
import { ending } from '../../support/sockets.ts';

/*
 * Goal: a peer that opens more streams than it may, or takes fewer than we would like, harms nobody but itself. Method: the
 * data plane in this process, and at the other end of its tunnel a peer that sends the frames that it is told to.
 */

const maxStreams = 4;
const ack = 0x1;
const refusedStream = 7;
const protocolError = 1;

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

async function echo() {
  const application = await startApplication((socket) => socket.pipe(socket));
  cleanups.push(() => application.close());
  return application;
}

async function serve(port: number): Promise<RunningDataPlane> {
  const plane = await runDataPlane({
    identity: meshIdentity('api'),
    deliveries: [{ ip: '127.0.0.1', port }],
    adjust: (settings) => ({ ...settings, inbound: { ...settings.inbound, maxStreams } }),
  });
  cleanups.push(() => plane.stop());
  return plane;
}

/** A client that has agreed to our settings, or never does. */
async function rawClient(plane: RunningDataPlane, isAgreeing: boolean): Promise<RawTunnel> {
  const tunnel = await dialRawTunnel(plane.addresses.hbone[0]?.port ?? 0, { isAgreeing });
  cleanups.push(() => tunnel.wire.destroy());
  await tunnel.peer.frame(({ type, flags }) => type === frameType.settings && (flags & ack) === 0);
  return tunnel;
}

const stream = (index: number) => 1 + 2 * index;
const isAnswer = (frame: Frame, index: number) => frame.type === frameType.headers && frame.streamId === stream(index);

describe('a peer that opens more streams than it may', () => {
  const extra = 200;

  it('has them refused one by one while it has not agreed to the number, and its others go on', async () => {
    const application = await echo();
    const plane = await serve(application.port);
    const { peer } = await rawClient(plane, false);
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
    expect(application.connections).toHaveLength(maxStreams);
  });

  it('loses its tunnel when it has agreed, and no tunnel of another is harmed', async () => {
    const application = await echo();
    const plane = await serve(application.port);
    const other = await http2Peer(connect(plane.addresses.hbone[0]?.port ?? 0, '127.0.0.1'), meshAuthority, 'web');
    cleanups.push(() => other.destroy());
    const carried = other.request(
      { ':method': 'CONNECT', ':authority': `127.0.0.1:${application.port}` },
      { endStream: false },
    );
    await once(carried, 'response');
    const { peer, wire } = await rawClient(plane, true);
    for (let index = 0; index < maxStreams; index += 1) {
      peer.connect(stream(index), `127.0.0.1:${application.port}`);
      await peer.frame((frame) => isAnswer(frame, index));
    }
    const closed = until(() => wire.closed);
    for (let index = maxStreams; index < maxStreams + extra; index += 1)
      peer.connect(stream(index), `127.0.0.1:${application.port}`);
    const { payload } = await peer.frame(({ type }) => type === frameType.goaway);
    expect(payload.readUInt32BE(4)).toBe(protocolError);
    await closed;
    await until(() => plane.observed.filter(({ event }) => event === 'connectionClosed').length === maxStreams);
    expect(plane.lines.map(({ reason }) => reason)).toEqual(Array(maxStreams).fill('reset'));
    expect(application.connections).toHaveLength(maxStreams + 1);
    carried.write('ping');
    expect(String((await once(carried, 'data'))[0])).toBe('ping');
  });
});

/** A sidecar whose peer takes as many streams as its SETTINGS say. */
async function callerOf(allowed: number) {
  const peers: RawPeer[] = [];
  const server = await startRawServer(({ peer }) => void peers.push(peer), { settings: maxConcurrentStreams(allowed) });
  cleanups.push(() => server.close());
  const web = await runDataPlane({
    identity: meshIdentity('web'),
    declared: [{ target: { ip: '127.0.0.1', port: 80 }, peer: apiId }],
    hbonePort: server.port,
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
