import { once } from 'node:events';
import type { AddressInfo, Server, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Channel } from '../../../soak/apps/channel.ts';
import { createChannel } from '../../../soak/apps/channel.ts';
import { patternOf } from '../../../soak/apps/pattern.ts';

const bytes = 300_000;
const pattern = patternOf('web-1/down');

function wholePattern(): Buffer {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes; at += 65_536) pieces.push(pattern.at(at, Math.min(65_536, bytes - at)));
  return Buffer.concat(pieces);
}

describe('an application that checks every byte', () => {
  let server: Server;
  let socket: Socket;
  let channel: Channel;
  let far: Socket;

  beforeEach(async () => {
    server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const accepted = once(server, 'connection');
    socket = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
    channel = createChannel(socket);
    [far] = (await accepted) as [Socket];
    far.on('error', () => undefined);
  });
  afterEach(() => {
    socket.destroy();
    far.destroy();
    server.close();
  });

  /** The symptom of a transfer of which `sent` came, and then an end. */
  const symptomOf = async (sent: Buffer) => {
    far.end(sent);
    const transfer = async () => {
      await channel.receive(pattern, bytes);
      await channel.receiveEnd();
    };
    return transfer().then(
      () => 'none',
      (error) => error.symptom,
    );
  };

  it('is content with the right bytes and the end', async () => {
    expect(await symptomOf(wholePattern())).toBe('none');
  });

  it.each([0, 1, 65_520, 65_521, 65_536, bytes - 1])('sees a wrong byte at %i', async (at) => {
    const sent = wholePattern();
    sent[at] = ~(sent[at] ?? 0);
    expect(await symptomOf(sent)).toBe('wrong-byte');
  });

  it.each([16_384, 65_536, 65_521 - 1])('sees %i bytes that were left out, or came twice', async (hole) => {
    const sent = wholePattern();
    expect(await symptomOf(Buffer.concat([sent.subarray(0, 100_000), sent.subarray(100_000 + hole), sent]))).toBe(
      'wrong-byte',
    );
  });

  it('sees one byte too many', async () => {
    expect(await symptomOf(Buffer.concat([wholePattern(), Buffer.from('x')]))).toBe('wrong-byte');
  });

  it.each([0, 1, bytes - 1])('sees a clean end after %i bytes', async (length) => {
    expect(await symptomOf(wholePattern().subarray(0, length))).toBe('early-end');
  });

  it('sees a cut', async () => {
    const received = channel.receive(pattern, bytes);
    far.write(wholePattern().subarray(0, 1000), () => far.resetAndDestroy());
    await expect(received).rejects.toMatchObject({ symptom: 'reset' });
  });

  it('sees a cut and an end while it pauses, and not only afterwards', async () => {
    const paused = channel.pause(60_000);
    far.resetAndDestroy();
    await expect(paused).rejects.toMatchObject({ symptom: 'reset' });
  });

  it('sees an end while it pauses', async () => {
    const paused = channel.pause(60_000);
    far.end();
    await expect(paused).rejects.toMatchObject({ symptom: 'early-end' });
  });

  it('reads a line and leaves what follows it', async () => {
    far.write(Buffer.concat([Buffer.from('db\n'), wholePattern()]));
    expect(await channel.readLine()).toBe('db');
    await channel.receive(pattern, bytes);
    far.end();
    await channel.receiveEnd();
  });
});

it('gives two connections, and both directions of one, other bytes', () => {
  const streams = ['web-1/up', 'web-1/down', 'web-2/up', 'api-1/up'].map((name) => patternOf(name).at(0, 1000));
  for (const [index, stream] of streams.entries()) {
    for (const other of streams.slice(0, index)) expect(stream.equals(other)).toBe(false);
  }
});
