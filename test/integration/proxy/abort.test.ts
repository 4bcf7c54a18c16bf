import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import { resetSocket, socketLeg } from '../../../src/proxy/leg.ts';
import type { Relay } from '../../../src/proxy/relay.ts';
import { relay } from '../../../src/proxy/relay.ts';
import { serveBareTunnel, startBareTunnel } from '../../support/bare-tunnel.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { createLateReader } from '../../support/late-reader.ts';
import type { RawPeer } from '../../support/raw-http2.ts';
import { createRawPeer, endStream, frameType } from '../../support/raw-http2.ts';
import { ending, socketPair } from '../../support/sockets.ts';

const relayLimits = { idleTimeoutMs: Number.POSITIVE_INFINITY, halfCloseTimeoutMs: 60_000 };

const open: Socket[] = [];
afterEach(() => {
  for (const socket of open.splice(0)) socket.destroy();
});

async function pair(allowHalfOpen: boolean): Promise<[Socket, Socket]> {
  const ends = await socketPair(allowHalfOpen);
  open.push(...ends);
  return ends;
}

interface Scene {
  /** The application of this side. */
  readonly application: Socket;
  readonly relay: Relay;
  readonly peer: RawPeer;
  /** The far end of the tunnel's connection. */
  readonly wire: Socket;
}

/** The client end of a tunnel whose peer is made of frames. The connection is established and has moved bytes both ways. */
async function clientScene(): Promise<Scene> {
  const [near, wire] = await pair(false);
  const peer = createRawPeer(wire, 'server');
  const signal = new AbortController().signal;
  const tunnel = await startBareTunnel(near, { clock: systemClock }, signal);
  const opening = tunnel.open({ ip: '10.0.0.7', port: 80 }, 'test-1', signal);
  await peer.frame(({ type }) => type === frameType.headers);
  peer.accept(1);
  const [application, downstream] = await pair(true);
  return established({
    application,
    relay: relay(socketLeg(downstream), await opening, relayLimits, systemClock),
    peer,
    wire,
  });
}

/** The server end, the peer being the client. */
async function serverScene(): Promise<Scene> {
  const [near, wire] = await pair(false);
  const peer = createRawPeer(wire, 'client');
  const [application, upstream] = await pair(true);
  const { promise, resolve } = Promise.withResolvers<Relay>();
  await serveBareTunnel(
    near,
    systemClock,
    (request) => resolve(relay(request.accept(), socketLeg(upstream), relayLimits, systemClock)),
    new AbortController().signal,
  );
  peer.connect(1, '10.0.0.7:80');
  return established({ application, relay: await promise, peer, wire });
}

async function established(scene: Scene): Promise<Scene> {
  scene.application.write('from the application');
  await scene.peer.frame(({ type, payload }) => type === frameType.data && payload.includes('from the application'));
  scene.peer.send(frameType.data, 0, 1, Buffer.from('from the peer'));
  await once(scene.application, 'readable');
  return scene;
}

const faults: Record<string, (scene: Scene) => void> = {
  'RST_STREAM with code 0': ({ peer }) => peer.reset(1, 0),
  'RST_STREAM with code 8': ({ peer }) => peer.reset(1, 8),
  'RST_STREAM with code 10': ({ peer }) => peer.reset(1, 10),
  'data and RST_STREAM with code 0 at once': ({ peer }) => {
    peer.send(frameType.data, 0, 1, Buffer.alloc(1000));
    peer.reset(1, 0);
  },
  'the end of the tunnel by FIN': ({ wire }) => void wire.end(),
  'the reset of the tunnel': ({ wire }) => resetSocket(wire),
  'GOAWAY and FIN': ({ peer, wire }) => {
    peer.send(frameType.goaway, 0, 0, Buffer.from([0, 0, 0, 1, 0, 0, 0, 0]));
    wire.end();
  },
  'a connection error': ({ peer }) => peer.send(frameType.data, 0, 0, Buffer.from('data on stream 0')),
};

describe.each([
  ['the client end', clientScene],
  ['the server end', serverScene],
] as const)('%s of a tunnel', (_end, scene) => {
  for (const [fault, inject] of Object.entries(faults)) {
    it(`N21: shows ${fault} in mid-transfer to the application as a reset`, async () => {
      const running = await scene();
      const seen = ending(running.application);
      inject(running);
      expect(await seen).toBe('reset');
      expect(await running.relay.closed).toBe('reset');
    });

    it(`N21: shows ${fault} as a reset when the application has already finished`, async () => {
      const running = await scene();
      const seen = ending(running.application);
      running.application.end();
      await running.peer.frame(({ type, flags }) => type === frameType.data && (flags & endStream) !== 0);
      inject(running);
      expect(await seen).toBe('reset');
    });
  }

  for (const code of [0, 5, 8, 10]) {
    it(`N21: shows RST_STREAM with code ${code} right behind the end of the peer as a reset`, async () => {
      const running = await scene();
      const seen = ending(running.application);
      running.wire.cork();
      running.peer.send(frameType.data, endStream, 1, Buffer.from('the last'));
      running.peer.reset(1, code);
      running.wire.uncork();
      expect(await running.relay.closed).toBe('reset');
      running.application.write('nobody hears it');
      await seen;
    });
  }

  it('N21: passes an end that the peer sends on as an end', async () => {
    const running = await scene();
    const seen = ending(running.application);
    running.peer.send(frameType.data, endStream, 1, Buffer.from('the last'));
    running.application.end();
    expect(await seen).toBe('end');
    expect(await running.relay.closed).toBe('eof');
  });

  it('N21: tells the peer of an application that was cut with RST_STREAM and never with an end', async () => {
    const running = await scene();
    resetSocket(running.application);
    await running.peer.frame(({ type }) => type === frameType.rstStream);
    expect(running.peer.received.filter(({ type, flags }) => type === frameType.data && flags & endStream)).toEqual([]);
  });

  it('N21: tells the peer of a connection that we cut with RST_STREAM and never with an end', async () => {
    const running = await scene();
    running.relay.abort('drain_deadline');
    await running.peer.frame(({ type }) => type === frameType.rstStream);
    expect(running.peer.received.filter(({ type, flags }) => type === frameType.data && flags & endStream)).toEqual([]);
    expect(await running.relay.closed).toBe('drain_deadline');
  });
});

describe('a socket', () => {
  it('N21: is reset although its end is on its way', async () => {
    const [near, far] = await pair(true);
    near.end('the last');
    await new Promise(process.nextTick);
    resetSocket(near);
    await once(near, 'close');
    expect(await ending(far)).toBe('reset');
  });
});

/** A tunnel whose peer answers no PING, with a connection in it. */
async function unanswering() {
  const [near, wire] = await pair(false);
  const peer = createRawPeer(wire, 'server', { isAnswering: false });
  const clock = createFakeClock();
  const signal = new AbortController().signal;
  const givenUp: string[] = [];
  const onGivenUp = (why: string, connections: number) => void givenUp.push(`${connections}: ${why}`);
  const tunnel = await startBareTunnel(near, { clock, onGivenUp }, signal);
  const opening = tunnel.open({ ip: '10.0.0.7', port: 80 }, 'test-1', signal);
  await peer.frame(({ type }) => type === frameType.headers);
  peer.accept(1);
  return { clock, peer, tunnel, givenUp, leg: await opening };
}

describe('a tunnel whose peer stops answering', () => {
  it('N11: takes no new connections after one PING, and resets those it carries after three', async () => {
    const { clock, peer, tunnel, leg, givenUp } = await unanswering();
    const [application, downstream] = await pair(true);
    const running = relay(socketLeg(downstream), leg, relayLimits, clock);
    await clock.advance(10_000);
    await peer.frame(({ type }) => type === frameType.ping);
    expect(tunnel.hasRoom()).toBe(true);
    await clock.advance(10_000);
    expect(tunnel.hasRoom()).toBe(false);
    application.write('still carried');
    await peer.frame(({ type, payload }) => type === frameType.data && payload.includes('still carried'));
    const seen = ending(application);
    await clock.advance(20_000);
    expect(await seen).toBe('reset');
    expect(await running.closed).toBe('tunnel_lost');
    expect(givenUp).toEqual(['1: nothing came from the other side for 30 s, whatever was asked']);
  });

  it('N11: takes no new connections after a request that is not answered in time', async () => {
    const { clock, tunnel, givenUp } = await unanswering();
    const late = tunnel.open({ ip: '10.0.0.7', port: 80 }, 'test-2', new AbortController().signal);
    const refused = expect(late).rejects.toMatchObject({ reason: 'upstream_timeout' });
    await clock.advance(10_000);
    await refused;
    expect(tunnel.hasRoom()).toBe(false);
    expect(givenUp).toEqual(['2: a request for a connection was not answered in time']);
  });

  it('N11: is not given up while it sends anything else, as over a link on which PINGs wait behind bytes', async () => {
    const { clock, peer, tunnel, leg } = await unanswering();
    const { stream } = leg;
    for (let interval = 0; interval < 6; interval += 1) {
      await clock.advance(10_000);
      peer.send(frameType.data, 0, 1, Buffer.from('slow'));
      await once(stream, 'data');
    }
    expect(tunnel.hasRoom()).toBe(true);
    expect(stream.destroyed).toBe(false);
    tunnel.destroy();
  });
});

describe('a tunnel whose peer keeps its half open', () => {
  it('is given up some seconds after it was closed', async () => {
    const [near, wire] = await pair(true);
    createRawPeer(wire, 'server');
    const clock = createFakeClock();
    const closed = Promise.withResolvers<void>();
    const parts = { clock, onClose: closed.resolve };
    const tunnel = await startBareTunnel(near, parts, new AbortController().signal);
    const ended = once(wire, 'end');
    tunnel.retire();
    await ended;
    expect(near.destroyed).toBe(false);
    await clock.advance(10_000);
    await closed.promise;
    expect(near.destroyed).toBe(true);
  });
});

describe('the last bytes of a tunnel', () => {
  it('N25: reach an application that reads late, although the peer closes the tunnel right behind them', async () => {
    const [near, wire] = await pair(false);
    const peer = createRawPeer(wire, 'client');
    const application = createLateReader({ hasFinished: true });
    const { promise, resolve } = Promise.withResolvers<Relay>();
    await serveBareTunnel(
      near,
      systemClock,
      (request) => resolve(relay(request.accept(), application.leg, relayLimits, systemClock)),
      new AbortController().signal,
    );
    peer.connect(1, '10.0.0.7:80');
    const running = await promise;
    await peer.frame(({ type, flags }) => type === frameType.data && (flags & endStream) !== 0);
    peer.send(frameType.data, 0, 1, Buffer.alloc(16_000, 'a'));
    await application.firstWrite;
    const rest = ['b', 'c', 'd', 'e', 'f'].map((letter) => Buffer.alloc(8_000, letter));
    for (const block of rest) peer.send(frameType.data, 0, 1, block);
    peer.send(frameType.data, endStream, 1);
    wire.end();
    await once(near, 'close');
    application.read();
    expect(await running.closed).toBe('eof');
    expect(application.received().toString()).toBe('a'.repeat(16_000) + Buffer.concat(rest).toString());
  });
});
