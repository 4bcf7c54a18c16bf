import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { resetSocket, socketLeg } from '../../../src/proxy/leg.ts';
import type { Relay, RelayLimits } from '../../../src/proxy/relay.ts';
import { relay } from '../../../src/proxy/relay.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { ending, readAll, socketPair } from '../../support/sockets.ts';

const open: Socket[] = [];
afterEach(() => {
  for (const socket of open.splice(0)) socket.destroy();
});

async function pair(): Promise<[Socket, Socket]> {
  const ends = await socketPair(true);
  open.push(...ends);
  return ends;
}

interface Scene {
  readonly client: Socket;
  readonly server: Socket;
  readonly relay: Relay;
  readonly clock: FakeClock;
}

const never = Number.POSITIVE_INFINITY;

async function scene(limits: Partial<RelayLimits> = {}): Promise<Scene> {
  const [client, downstream] = await pair();
  const [server, upstream] = await pair();
  const clock = createFakeClock();
  const running = relay(
    socketLeg(downstream),
    socketLeg(upstream),
    { idleTimeoutMs: never, halfCloseTimeoutMs: never, ...limits },
    clock,
  );
  return { client, server, relay: running, clock };
}

describe('the relay', () => {
  it('N5: passes the end of the request on, and delivers a long reply after it byte for byte', async () => {
    const { client, server, relay: running } = await scene();
    const reply = Buffer.alloc(8 * 1024 * 1024, 'reply ');
    client.end('request');
    expect((await readAll(server)).toString()).toBe('request');
    server.end(reply);
    expect((await readAll(client)).equals(reply)).toBe(true);
    expect(await running.closed).toBe('eof');
    expect(running.bytes).toEqual({ bytesSent: 7, bytesReceived: reply.length });
  });

  it('N25: leaves with the kernel what a reader that has finished has not taken yet', async () => {
    const { client, server, relay: running } = await scene();
    // More than the client's kernel takes at once, and no more than ours does.
    const reply = Buffer.alloc(160 * 1024, 'reply ');
    client.end('request');
    await readAll(server);
    server.end(reply);
    expect(await running.closed).toBe('eof');
    await settled();
    expect((await readAll(client)).equals(reply)).toBe(true);
  });

  it('N6: delivers an upload that goes on after the server has finished', async () => {
    const { client, server, relay: running } = await scene();
    const upload = Buffer.alloc(8 * 1024 * 1024, 'upload ');
    server.end('done');
    expect((await readAll(client)).toString()).toBe('done');
    client.end(upload);
    expect((await readAll(server)).equals(upload)).toBe(true);
    expect(await running.closed).toBe('eof');
  });

  it('N4: resets the server when the client resets in mid-transfer', async () => {
    const { client, server, relay: running } = await scene();
    client.write('some');
    await once(server, 'readable');
    const seen = ending(server);
    resetSocket(client);
    expect(await seen).toBe('reset');
    expect(await running.closed).toBe('reset');
  });

  it('N3: resets the client when the server resets in mid-transfer', async () => {
    const { client, server, relay: running } = await scene();
    server.write('some');
    await once(client, 'readable');
    const seen = ending(client);
    resetSocket(server);
    expect(await seen).toBe('reset');
    expect(await running.closed).toBe('reset');
  });

  it('stops reading a fast source while its reader is slow', async () => {
    const { client, server, relay: running } = await scene();
    const block = Buffer.alloc(1024 * 1024);
    let isDrained = true;
    // The reader never reads: what the two sockets and their kernel buffers take is bounded.
    for (let written = 0; written < 64 && isDrained; written += 1) {
      client.write(block);
      isDrained = await Promise.race([once(client, 'drain').then(() => true), settled().then(() => false)]);
    }
    expect(isDrained).toBe(false);
    expect(running.bytes.bytesSent).toBeLessThan(32 * 1024 * 1024);
    client.end();
    expect((await readAll(server)).length % block.length).toBe(0);
  });

  it('resets both sides when it is aborted, with the reason', async () => {
    const { client, server, relay: running } = await scene();
    const seen = Promise.all([ending(client), ending(server)]);
    running.abort('drain_deadline');
    running.abort('internal');
    expect(await seen).toEqual(['reset', 'reset']);
    expect(await running.closed).toBe('drain_deadline');
  });

  it('resets a connection that is idle for too long, and only then', async () => {
    const { client, server, relay: running, clock } = await scene({ idleTimeoutMs: 1000 });
    await clock.advance(900);
    client.write('alive');
    await once(server, 'readable');
    await clock.advance(900);
    const seen = ending(client);
    await clock.advance(1000);
    expect(await running.closed).toBe('idle');
    expect(await seen).toBe('reset');
  });

  it('resets a connection of which one half has ended and the other moves nothing for too long', async () => {
    const { client, server, relay: running, clock } = await scene({ halfCloseTimeoutMs: 1000 });
    client.end('request');
    await readAll(server);
    server.write('some');
    await once(client, 'readable');
    await clock.advance(1000);
    await clock.advance(1000);
    expect(await running.closed).toBe('half_close_timeout');
  });

  it('ends at once when a side has gone before it began', async () => {
    const [client, downstream] = await pair();
    const [, upstream] = await pair();
    upstream.destroy();
    const seen = ending(client);
    const running = relay(
      socketLeg(downstream),
      socketLeg(upstream),
      { idleTimeoutMs: 1000, halfCloseTimeoutMs: 1000 },
      createFakeClock(),
    );
    expect(await running.closed).toBe('reset');
    expect(await seen).toBe('reset');
  });
});

/** Several turns of the event loop in which nothing more could be written. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 200; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
