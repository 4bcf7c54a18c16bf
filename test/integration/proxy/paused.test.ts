import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { peerStateOf } from '../../../src/libc.ts';
import type { Leg } from '../../../src/proxy/leg.ts';
import { resetSocket, socketLeg } from '../../../src/proxy/leg.ts';
import { pausedCheckIntervalMs } from '../../../src/proxy/paused.ts';
import { relay } from '../../../src/proxy/relay.ts';
import { createSlots } from '../../../src/proxy/slots.ts';
import { serveBareTunnel, startBareTunnel } from '../../support/bare-tunnel.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';
import type { LateReader } from '../../support/late-reader.ts';
import { createLateReader } from '../../support/late-reader.ts';
import type { RawPeer } from '../../support/raw-http2.ts';
import { createRawPeer, endStream, frameType } from '../../support/raw-http2.ts';
import { ending, readAll, socketPair } from '../../support/sockets.ts';

const never = { idleTimeoutMs: Number.POSITIVE_INFINITY, halfCloseTimeoutMs: Number.POSITIVE_INFINITY };
const unending = new AbortController().signal;

const open: Socket[] = [];
afterEach(() => {
  for (const socket of open.splice(0)) socket.destroy();
});

async function pair(allowHalfOpen = true): Promise<[Socket, Socket]> {
  const ends = await socketPair(allowHalfOpen);
  open.push(...ends);
  return ends;
}

/** Turns of the event loop until something that the kernel or Node.js does by itself has happened. */
async function until(hasHappened: () => boolean): Promise<void> {
  while (!hasHappened()) await new Promise((resolve) => setImmediate(resolve));
}

/** Turns enough to fill every buffer on the way: each moves a block at least, and they hold some hundred. */
async function fillAll(): Promise<void> {
  for (let turn = 0; turn < 2000; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Node.js has read ahead what it will, and has stopped listening to the socket. */
const isUnread = (socket: Socket) => socket.isPaused() && socket.readableLength >= socket.readableHighWaterMark;

interface Scene {
  readonly source: Socket;
  /** The relay's end of the source. */
  readonly leg: Socket;
  /** The relay's end of the reader. */
  readonly slowLeg: Socket;
  readonly reader: Socket;
}

/** A relay whose one side sends faster than the other, which reads nothing, takes. */
async function stalled(from: 'client' | 'server') {
  const [client, downstream] = await pair();
  const [server, upstream] = await pair();
  const clock = createFakeClock();
  const running = relay(socketLeg(downstream), socketLeg(upstream), never, clock);
  const scene: Scene =
    from === 'client'
      ? { source: client, leg: downstream, slowLeg: upstream, reader: server }
      : { source: server, leg: upstream, slowLeg: downstream, reader: client };
  const sent = Buffer.alloc(24 * 1024 * 1024, 'bytes ');
  scene.source.write(sent);
  await fillAll();
  expect(isUnread(scene.leg)).toBe(true);
  return { ...scene, sent, relay: running, clock };
}

describe.each(['client', 'server'] as const)('a %s that is not read because the other side is slow', (from) => {
  it('N4: is found to have reset within a second, and then both sides are reset', async () => {
    const { source, leg, reader, relay: running, clock } = await stalled(from);
    resetSocket(source);
    await once(source, 'close');
    await clock.advance(pausedCheckIntervalMs);
    expect(await running.closed).toBe('reset');
    expect(leg.destroyed).toBe(true);
    expect(await ending(reader)).toBe('reset');
    expect(clock.pending).toBe(0);
  });

  it('X3: has at most 256 KiB of its bytes in the sidecar, half on each side', async () => {
    const { leg, slowLeg } = await stalled(from);
    expect(leg.readableLength).toBeLessThan(128 * 1024);
    expect(slowLeg.writableLength).toBeLessThan(128 * 1024);
  });

  it('N4: keeps nothing but one timer, and that no longer than it is paused', async () => {
    const { source, leg, reader, sent, clock } = await stalled(from);
    for (let seconds = 0; seconds < 5; seconds += 1) {
      await clock.advance(pausedCheckIntervalMs);
      expect(clock.pending).toBe(1);
    }
    source.end();
    expect((await readAll(reader)).length).toBe(sent.length);
    expect(leg.isPaused()).toBe(false);
    await clock.advance(pausedCheckIntervalMs);
    expect(clock.pending).toBe(0);
  });

  it('N25: has every byte delivered that it sent before its end, however late the reader reads', async () => {
    const { source, reader, sent, relay: running, clock } = await stalled(from);
    source.end('the last');
    await clock.advance(60 * pausedCheckIntervalMs);
    const received = await readAll(reader);
    expect(received.equals(Buffer.concat([sent, Buffer.from('the last')]))).toBe(true);
    reader.end();
    expect(await running.closed).toBe('eof');
  });
});

/** More than Node.js reads ahead, and no more than the kernel takes. */
const upload = Buffer.alloc(180_000, 'upload ');

/** A client that has sent `upload` to an application that reads when it is told to. */
async function lateScene(application: LateReader) {
  const [client, leg] = await pair();
  const clock = createFakeClock();
  const running = relay(socketLeg(leg), application.leg, never, clock);
  client.write(upload);
  await until(() => isUnread(leg));
  return { client, leg, clock, relay: running };
}

describe('a client that has ended, and is not read yet', () => {
  it('N25: has every byte delivered although it is gone by then, and refuses what it is sent', async () => {
    const application = createLateReader();
    const { client, leg, clock } = await lateScene(application);
    client.end();
    await until(() => peerStateOf(leg) === 'ended');
    client.destroy();
    await once(client, 'close');
    // To which the kernel of the client answers with a reset.
    application.write(Buffer.from('nobody hears it'));
    await until(() => leg.bytesWritten > 0);
    await clock.advance(60 * pausedCheckIntervalMs);
    expect(leg.destroyed).toBe(false);
    application.read();
    await until(() => application.received().length === upload.length);
    expect(application.received().equals(upload)).toBe(true);
  });

  it('N25: has every byte delivered when the connection to it has ended on both sides', async () => {
    const application = createLateReader({ hasFinished: true });
    const { client, leg, clock, relay: running } = await lateScene(application);
    await until(() => client.readableEnded);
    client.end();
    await until(() => peerStateOf(leg) === 'ended');
    await clock.advance(60 * pausedCheckIntervalMs);
    application.read();
    expect(await running.closed).toBe('eof');
    expect(application.received().equals(upload)).toBe(true);
  });

  it('is not looked at any more', async () => {
    const { client, leg, clock } = await lateScene(createLateReader());
    await clock.advance(pausedCheckIntervalMs);
    expect(clock.pending).toBe(1);
    client.end();
    await until(() => peerStateOf(leg) === 'ended');
    await clock.advance(pausedCheckIntervalMs);
    expect(clock.pending).toBe(0);
  });
});

interface TunnelEnd {
  readonly peer: RawPeer;
  readonly wire: Socket;
  readonly leg: Leg;
}

async function clientEnd(): Promise<TunnelEnd> {
  const [near, wire] = await pair(false);
  const peer = createRawPeer(wire, 'server');
  const tunnel = await startBareTunnel(near, { clock: createFakeClock() }, unending);
  const opening = tunnel.open({ ip: '10.0.0.7', port: 80 }, 'test-1', unending);
  await peer.frame(({ type }) => type === frameType.headers);
  peer.accept(1);
  return { peer, wire, leg: await opening };
}

async function serverEnd(): Promise<TunnelEnd> {
  const [near, wire] = await pair(false);
  const peer = createRawPeer(wire, 'client');
  const { promise, resolve } = Promise.withResolvers<Leg>();
  await serveBareTunnel(near, createFakeClock(), (request) => resolve(request.accept()), unending);
  peer.connect(1, '10.0.0.7:80');
  return { peer, wire, leg: await promise };
}

const faults: Record<string, (end: TunnelEnd) => void> = {
  'RST_STREAM with code 0': ({ peer }) => peer.reset(1, 0),
  'RST_STREAM with code 8': ({ peer }) => peer.reset(1, 8),
  'the reset of the tunnel': ({ wire }) => resetSocket(wire),
  'the end of the tunnel by FIN': ({ wire }) => void wire.end(),
};

describe.each([
  ['the client end', clientEnd],
  ['the server end', serverEnd],
] as const)('a stream that is not read because the other side is slow, at %s of a tunnel', (_end, tunnelEnd) => {
  for (const [fault, inject] of Object.entries(faults)) {
    for (const hasFinished of [false, true]) {
      it(`N21: tells of ${fault} at once${hasFinished ? ', also when the slow side has finished' : ''}`, async () => {
        const end = await tunnelEnd();
        const application = createLateReader({ hasFinished });
        const running = relay(end.leg, application.leg, never, createFakeClock());
        if (hasFinished)
          await end.peer.frame(({ type, flags }) => type === frameType.data && (flags & endStream) !== 0);
        for (let count = 0; count < 3; count += 1) end.peer.send(frameType.data, 0, 1, Buffer.alloc(16_000));
        await until(() => end.leg.stream.isPaused() && end.leg.stream.readableLength > 0);
        inject(end);
        expect(await running.closed).toBe('reset');
        expect(application.leg.stream.destroyed).toBe(true);
      });
    }
  }
});

/** A client, two sidecars and an application that is at `far`, with a place for each connection. */
async function mesh() {
  const authority = createTestAuthority('cluster.local');
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const target = { ip: '127.0.0.1', port: (server.address() as AddressInfo).port };
  const clock = createFakeClock();
  const places = createSlots(10);
  const sidecar = (serviceAccount: string) => ({
    identity: createTestIdentity(authority, { namespace: 'shop', serviceAccount }),
    clock,
    parts: { connections: places },
  });
  const api = await runDataPlane({ ...sidecar('api'), deliveries: [target] });
  const peer = 'spiffe://cluster.local/ns/shop/sa/api';
  const hbonePort = api.addresses.hbone[0]?.port ?? 0;
  const web = await runDataPlane({ ...sidecar('web'), declared: [{ target, peer }], hbonePort });
  const accepted = once(server, 'connection');
  const near = connect({ host: '127.0.0.1', port: web.addresses.declared[0]?.port ?? 0, allowHalfOpen: true });
  const [far] = (await accepted) as [Socket];
  server.close();
  open.push(near, far);
  for (const socket of [near, far]) socket.on('error', () => undefined);
  const stop = () => {
    web.stop();
    api.stop();
  };
  return { near, far, web, api, clock, places, stop };
}

describe.each(['client', 'application'] as const)(
  'a whole mesh whose %s resets while the other side takes nothing',
  (who) => {
    it('N4: closes both accounts, gives both places back and resets the other side', async () => {
      const { near, far, web, api, clock, places, stop } = await mesh();
      const [source, reader] = who === 'client' ? [near, far] : [far, near];
      await until(() => places.inUse === 2);
      // As much as all buffers on the way take, and more.
      source.write(Buffer.alloc(64 * 1024 * 1024));
      await fillAll();
      expect(source.writableLength).toBeGreaterThan(0);
      resetSocket(source);
      await once(source, 'close');
      for (let seconds = 0; seconds < 3; seconds += 1) await clock.advance(pausedCheckIntervalMs);
      expect(await web.line({ direction: 'outbound' })).toMatchObject({ outcome: 'closed', reason: 'reset' });
      expect(await api.line({ direction: 'inbound' })).toMatchObject({ outcome: 'closed', reason: 'reset' });
      await until(() => places.inUse === 0);
      expect(await ending(reader)).toBe('reset');
      stop();
    });
  },
);

describe('the state of a peer', () => {
  it('is open while it may still send, also when we have ended', async () => {
    const [near, far] = await pair();
    expect(peerStateOf(near)).toBe('open');
    near.end();
    far.resume();
    await once(far, 'end');
    expect(peerStateOf(near)).toBe('open');
  });

  it('is ended for a socket that is closed, and never that of another one with its descriptor', async () => {
    const [near] = await pair();
    near.destroy();
    expect(peerStateOf(near)).toBe('ended');
    await once(near, 'close');
    await pair();
    expect(peerStateOf(near)).toBe('ended');
  });

  it('is cut after a reset', async () => {
    const [near, far] = await pair();
    near.pause();
    far.write(Buffer.alloc(200_000));
    await until(() => isUnread(near));
    resetSocket(far);
    await once(far, 'close');
    expect(peerStateOf(near)).toBe('cut');
  });
});
