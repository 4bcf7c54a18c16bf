import { once } from 'node:events';
import { afterEach, expect, it } from 'vitest';
import { runDataPlane } from '../../support/data-plane.ts';
import { meshIdentity, startApplication, until } from '../../support/loopback-mesh.ts';
import type { Frame } from '../../support/raw-http2.ts';
import { endStream, frameType } from '../../support/raw-http2.ts';
import type { RawTunnel } from '../../support/raw-sidecar.ts';
import { dialRawTunnel } from '../../support/raw-sidecar.ts';

/*
 * Goal: a peer that breaks HTTP/2, or floods it, loses its own tunnel at most, and takes no memory. Method: a peer with a
 * real identity that sends frames by hand, beside one that behaves.
 */

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

const api = meshIdentity('api');
const continuation = 9;
const priority = 2;

async function scene() {
  const application = await startApplication((socket) => socket.pipe(socket));
  const plane = await runDataPlane({ identity: api, deliveries: [{ ip: '127.0.0.1', port: application.port }] });
  cleanups.push(
    () => application.close(),
    () => plane.stop(),
  );
  const tunnel = async () => {
    const made = await dialRawTunnel(plane.addresses.hbone[0]?.port ?? 0);
    cleanups.push(() => made.wire.destroy());
    made.peer.connect(1, `127.0.0.1:${application.port}`);
    await made.peer.frame(({ type, streamId }) => type === frameType.headers && streamId === 1);
    return made;
  };
  return { plane, honest: await tunnel(), hostile: await tunnel(), authority: `127.0.0.1:${application.port}` };
}

const word = (value: number) => {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(value);
  return payload;
};
const header = (length: number, type: number, flags: number, streamId: number) => {
  const bytes = Buffer.alloc(9);
  bytes.writeUIntBE(length, 0, 3);
  bytes[3] = type;
  bytes[4] = flags;
  bytes.writeUInt32BE(streamId, 5);
  return bytes;
};

/** Resolves when the application's echo of stream 1 is all of this. */
function echoed({ peer }: RawTunnel, text: string): Promise<void> {
  const isData = ({ type, streamId }: Frame) => type === frameType.data && streamId === 1;
  return until(() => Buffer.concat(peer.received.filter(isData).map(({ payload }) => payload)).toString() === text);
}

/** What ends the tunnel that sends it. */
const violations: Record<string, (tunnel: RawTunnel) => void> = {
  'more data than the window': ({ peer }) => {
    // The application's echo is not read, so the window is never opened again.
    for (let count = 0; count < 2000; count += 1) peer.send(frameType.data, 0, 1, Buffer.alloc(16_384));
  },
  'a window beyond 2^31': ({ peer }) => {
    peer.send(frameType.windowUpdate, 0, 0, word(2 ** 31 - 1));
    peer.send(frameType.windowUpdate, 0, 0, word(2 ** 31 - 1));
  },
  'data on stream 0': ({ peer }) => peer.send(frameType.data, 0, 0, Buffer.alloc(10)),
  'an answer instead of a request': ({ peer }) => peer.accept(2),
  'a frame of 1 MiB': ({ wire }) => {
    wire.write(header(1 << 20, frameType.data, 0, 1));
    wire.write(Buffer.alloc(1 << 20));
  },
  'headers that do not decode': ({ peer }) => peer.send(frameType.headers, 0x4, 3, Buffer.alloc(20, 0xff)),
  'headers without end': ({ peer, wire }) => {
    peer.send(frameType.headers, 0, 3, Buffer.from([0x82]));
    const piece = Buffer.concat([header(8000, continuation, 0, 3), Buffer.alloc(8000, 0x82)]);
    for (let count = 0; count < 500; count += 1) wire.write(piece);
  },
  'something else between the headers': ({ peer }) => {
    peer.send(frameType.headers, 0, 3, Buffer.from([0x82]));
    peer.send(frameType.ping, 0, 0, Buffer.alloc(8));
  },
  'a SETTINGS frame of 5 bytes': ({ peer }) => peer.send(frameType.settings, 0, 0, Buffer.alloc(5)),
};

it.each(Object.entries(violations))('P17: %s ends that tunnel, and no other', async (_name, violate) => {
  const { plane, honest, hostile } = await scene();
  violate(hostile);
  await until(() => hostile.wire.closed);
  await plane.line({ outcome: 'closed', reason: 'reset' });
  honest.peer.send(frameType.data, endStream, 1, Buffer.from('still here'));
  await echoed(honest, 'still here');
  await plane.line({ outcome: 'closed', reason: 'eof' });
});

it('N23: 10,000 requests that are aborted in one go end neither the tunnel nor the connection beside them', async () => {
  const { plane, hostile, authority } = await scene();
  hostile.wire.cork();
  for (let streamId = 3; streamId < 20_003; streamId += 2) {
    hostile.peer.connect(streamId, authority);
    hostile.peer.reset(streamId, 8);
  }
  hostile.wire.uncork();
  hostile.peer.send(frameType.data, endStream, 1, Buffer.from('still here'));
  await echoed(hostile, 'still here');
  await plane.line({ outcome: 'closed', reason: 'eof' });
  await until(() => plane.drain.size === 1);
});

/** What costs a peer nothing to send, and us an answer. It reads none of them. */
const floods: Record<string, (tunnel: RawTunnel) => Buffer> = {
  PING: () => Buffer.concat([header(8, frameType.ping, 0, 0), Buffer.alloc(8)]),
  SETTINGS: () => header(0, frameType.settings, 0, 0),
  PRIORITY: () => Buffer.concat([header(5, priority, 0, 1), Buffer.alloc(5)]),
  'an unknown frame': () => Buffer.concat([header(100, 0x7f, 0, 0), Buffer.alloc(100)]),
  'empty DATA': () => header(0, frameType.data, 0, 1),
  WINDOW_UPDATE: () => Buffer.concat([header(4, frameType.windowUpdate, 0, 1), word(1)]),
};

it.each(Object.entries(floods))(
  'P17: a flood of %s takes less than 64 MiB of memory, and no other tunnel notices',
  async (_name, frame) => {
    const { plane, honest, hostile } = await scene();
    hostile.wire.pause();
    const block = Buffer.concat(Array.from({ length: 5000 }, () => frame(hostile)));
    const before = process.memoryUsage().rss;
    // Until the sidecar takes no more, ends the tunnel, or has taken a million.
    for (let count = 0; count < 200 && !hostile.wire.destroyed; count += 1) {
      if (hostile.wire.write(block)) continue;
      const taken = once(hostile.wire, 'drain').then(
        () => true,
        () => false,
      );
      const isTaken = await Promise.race([taken, once(hostile.wire, 'close').then(() => false), idle()]);
      if (!isTaken) break;
    }
    honest.peer.send(frameType.data, endStream, 1, Buffer.from('still here'));
    await plane.line({ outcome: 'closed', reason: 'eof' });
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024);
  },
);

/** Many turns in which nothing more was taken. */
async function idle(): Promise<false> {
  for (let turn = 0; turn < 2000; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  return false;
}
