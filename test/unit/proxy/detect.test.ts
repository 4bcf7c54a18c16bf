import type { Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import { detect } from '../../../src/proxy/inbound/detect.ts';
import { createHelloRoom } from '../../../src/proxy/inbound/hello-room.ts';
import { clientHello, extension, record, recordTypes, tls13Extensions } from '../../integration/tls/client-hello.ts';

/*
 * Goal: a client that dribbles its hello pays for it, and not the sidecar. Method: a stream in the place of a socket, so that each
 * piece is read alone.
 */

/** CPU time, milliseconds, of a hello with so much padding in records of one byte that come one at a time. */
async function cpuMsOf(padding: number): Promise<number> {
  const hello = clientHello({ extensions: [...tls13Extensions(), extension(21, Buffer.alloc(padding))] });
  const socket = new PassThrough();
  const detected = detect(socket as unknown as Socket, new AbortController().signal, createHelloRoom());
  const before = process.cpuUsage();
  for (const byte of hello) {
    socket.write(record(recordTypes.handshake, Buffer.of(byte)));
    await new Promise((soon) => setImmediate(soon));
  }
  expect(await detected).toEqual({ kind: 'other_tls' });
  const { user, system } = process.cpuUsage(before);
  expect(socket.readableLength).toBe(6 * hello.length);
  return (user + system) / 1000;
}

it('T9: reads a hello that comes in pieces of six bytes in a time that grows as its length does', async () => {
  await cpuMsOf(1000);
  const short = await cpuMsOf(5000);
  // Eight times the length: 64 times the work if each piece led to looking at those before it.
  expect(await cpuMsOf(40_000)).toBeLessThan(8 * 4 * short);
});
