import { createHash, randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { LiveConnection } from '../../../src/proxy/account.ts';
import type { DataPlaneSettings } from '../../../src/proxy/data-plane.ts';
import type { RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import { apiId, meshIdentity, startApplication, startLoopbackMesh, turns, until } from '../../support/loopback-mesh.ts';
import { frameType } from '../../support/raw-http2.ts';
import type { RawTunnel } from '../../support/raw-sidecar.ts';
import { dialRawTunnel, startRawServer } from '../../support/raw-sidecar.ts';
import { readAll } from '../../support/sockets.ts';

/*
 * Goal: what a sidecar holds of a connection is bounded, whoever is slow, and a slow one holds up nobody else. Method: a
 * peer made of frames that opens no window counts exactly what has left the sidecar; the accounts count what has come in.
 */

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

const [web, api] = [meshIdentity('web'), meshIdentity('api')];
const kibibyte = 1024;
const streamWindow = 65_535;
const blocked = 1000;
/** What every source has to say: more than the window and what a sidecar may hold besides. */
const said = Buffer.alloc(300 * kibibyte, 'said ');

const many = (settings: DataPlaneSettings): DataPlaneSettings => ({
  ...settings,
  inbound: { ...settings.inbound, maxStreams: 2 * blocked },
  tunnels: { ...settings.tunnels, maxStreams: 2 * blocked },
});

const windowUpdate = ({ peer }: RawTunnel, streamId: number, bytes: number) => {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(bytes);
  peer.send(frameType.windowUpdate, 0, streamId, payload);
};

/** Bytes of application data that a peer got, by stream. */
function countData({ wire, peer }: RawTunnel): Map<number, number> {
  const got = new Map<number, number>();
  let seen = 0;
  wire.on('data', () => {
    for (; seen < peer.received.length; seen += 1) {
      const { type, streamId, payload } = peer.received[seen] as (typeof peer.received)[number];
      if (type === frameType.data) got.set(streamId, (got.get(streamId) ?? 0) + payload.length);
    }
  });
  return got;
}

interface Crowd {
  readonly plane: RunningDataPlane;
  readonly tunnel: RawTunnel;
  readonly got: ReadonlyMap<number, number>;
  /** Opens one more connection, whose application says the same; resolves with its stream. */
  more(): Promise<number>;
  taken(connection: LiveConnection): number;
}

/** Applications that send through the client's sidecar, all in one tunnel whose peer opens no stream's window. */
async function senders(): Promise<Crowd> {
  const counts: Map<number, number>[] = [];
  const server = await startRawServer((tunnel) => {
    counts.push(countData(tunnel));
    windowUpdate(tunnel, 0, 1 << 30);
    let answered = 0;
    tunnel.wire.on('data', () => {
      const requests = tunnel.peer.received.filter(({ type }) => type === frameType.headers);
      for (; answered < requests.length; answered += 1) tunnel.peer.accept(requests[answered]?.streamId ?? 0);
    });
  });
  const target = { ip: '127.0.0.1', port: 80 };
  const declared = [{ target, peer: apiId }];
  const plane = await runDataPlane({ identity: web, declared, hbonePort: server.port, adjust: many });
  cleanups.push(
    () => server.close(),
    () => plane.stop(),
  );
  let opened = 0;
  const more = async () => {
    const client = connect({ host: '127.0.0.1', port: plane.addresses.declared[0]?.port ?? 0 });
    client.on('error', () => undefined);
    cleanups.push(() => client.destroy());
    opened += 1;
    await until(() => [...plane.accounts.live()].length === opened);
    client.write(said);
    return 2 * opened - 1;
  };
  const first = await more();
  expect(first).toBe(1);
  return {
    plane,
    tunnel: server.tunnels[0] as RawTunnel,
    got: counts[0] as Map<number, number>,
    more,
    taken: ({ bytes }) => bytes.bytesSent,
  };
}

/** Applications that answer through the server's sidecar, to a peer that opens no stream's window. */
async function answerers(): Promise<Crowd> {
  const application = await startApplication((socket) => void socket.write(said));
  const target = { ip: '127.0.0.1', port: application.port };
  const plane = await runDataPlane({ identity: api, deliveries: [target], adjust: many });
  cleanups.push(
    () => application.close(),
    () => plane.stop(),
  );
  const tunnel = await dialRawTunnel(plane.addresses.hbone[0]?.port ?? 0);
  cleanups.push(() => tunnel.wire.destroy());
  windowUpdate(tunnel, 0, 1 << 30);
  let opened = 0;
  const more = async () => {
    opened += 1;
    tunnel.peer.connect(2 * opened - 1, `127.0.0.1:${application.port}`);
    await until(() => [...plane.accounts.live()].length === opened);
    return 2 * opened - 1;
  };
  const got = countData(tunnel);
  await more();
  return { plane, tunnel, got, more, taken: ({ bytes }) => bytes.bytesReceived };
}

describe.each([
  ["the client's sidecar", senders],
  ["the server's sidecar", answerers],
] as const)('1,000 connections that are blocked in one tunnel of %s', (_whose, crowd) => {
  it('N23: hold less than 128 KiB each there that have not been sent, and hold up no other (X3)', async () => {
    const { plane, tunnel, got, more, taken } = await crowd();
    for (let count = 1; count < blocked; count += 1) await more();
    await until(() => [...got.values()].filter((bytes) => bytes === streamWindow).length === blocked);
    await turns(200);
    const held = [...plane.accounts.live()].map((connection) => taken(connection) - streamWindow);
    expect(held).toHaveLength(blocked);
    expect(Math.max(...held)).toBeLessThan(128 * kibibyte);
    const free = await more();
    windowUpdate(tunnel, free, 1 << 20);
    await until(() => got.get(free) === said.length);
    windowUpdate(tunnel, 1, 1 << 20);
    await until(() => got.get(1) === said.length);
    expect([...got.values()].filter((bytes) => bytes === streamWindow)).toHaveLength(blocked - 1);
  });
});

/** The socket of this process that is connected to that port of the other one. */
function socketTo(port: number, where: 'localPort' | 'remotePort', other: number): Socket {
  const handles = (process as unknown as { _getActiveHandles(): Socket[] })._getActiveHandles();
  const opposite = where === 'localPort' ? 'remotePort' : 'localPort';
  return handles.find((handle) => handle[where] === port && handle[opposite] === other) as Socket;
}

describe('a connection through two sidecars whose one side is fast and whose other reads nothing', () => {
  it.each(['client', 'server'] as const)(
    'X3: holds a bounded number of bytes in each, the %s being fast',
    async (fast) => {
      const application = await startApplication((socket) => void socket.pause());
      const mesh = await startLoopbackMesh(application.port);
      cleanups.push(
        () => mesh.stop(),
        () => application.close(),
      );
      const client = mesh.dial();
      await until(() => application.connections.length === 1 && [...mesh.web.accounts.live()].length === 1);
      const server = application.connections[0] as Socket;
      const webSide = socketTo(mesh.web.addresses.declared[0]?.port ?? 0, 'localPort', client.localPort ?? 0);
      const apiSide = socketTo(application.port, 'remotePort', server.remotePort ?? 0);
      const bytes = Buffer.alloc(64 * kibibyte * kibibyte);
      (fast === 'client' ? client : server).write(bytes);
      await turns(3000);
      const [near] = mesh.web.accounts.live();
      const [far] = mesh.api.accounts.live();
      const [source, reader] = fast === 'client' ? [webSide, apiSide] : [apiSide, webSide];
      const which = fast === 'client' ? 'bytesSent' : 'bytesReceived';
      const between = Math.abs((near?.bytes[which] ?? 0) - (far?.bytes[which] ?? 0));
      expect(source.isPaused()).toBe(true);
      expect(source.readableLength).toBeLessThan(128 * kibibyte);
      // The sending one's 128 KiB, and the window of the receiving one.
      expect(between).toBeLessThan(192 * kibibyte);
      expect(reader.writableLength).toBeLessThan(128 * kibibyte);
    },
  );
});

it('N14: 24 MiB each way at once in each of five connections arrive with equal hashes', async () => {
  const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
  const payload = () => randomBytes(24 * kibibyte * kibibyte);
  const answers: Buffer[] = [];
  const uploads: Promise<Buffer>[] = [];
  const application = await startApplication((socket) => {
    const answer = payload();
    answers.push(answer);
    uploads.push(readAll(socket));
    socket.end(answer);
  });
  const mesh = await startLoopbackMesh(application.port);
  cleanups.push(
    () => mesh.stop(),
    () => application.close(),
  );
  const sent = Array.from({ length: 5 }, payload);
  const received = await Promise.all(
    sent.map((upload) => {
      const client = mesh.dial();
      client.end(upload);
      return readAll(client);
    }),
  );
  expect(received.map(sha256).sort()).toEqual(answers.map(sha256).sort());
  expect((await Promise.all(uploads)).map(sha256).sort()).toEqual(sent.map(sha256).sort());
});
