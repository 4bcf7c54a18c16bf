import { once } from 'node:events';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { resetSocket } from '../../../src/proxy/leg.ts';
import type { RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import { apiId, meshIdentity, startApplication, startLoopbackMesh, until } from '../../support/loopback-mesh.ts';
import type { Frame } from '../../support/raw-http2.ts';
import { endStream, frameType } from '../../support/raw-http2.ts';
import type { RawTunnel } from '../../support/raw-sidecar.ts';
import { dialRawTunnel, startRawServer } from '../../support/raw-sidecar.ts';
import { ending } from '../../support/sockets.ts';
import { cuts } from '../../support/wire.ts';

/*
 * Goal: every way in which a peer can end a stream or a tunnel, at every moment of a connection, is an end for the
 * application only if it was one. Method: one real sidecar with real TLS, and a peer that sends the frames it is told to.
 */

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

const [web, api] = [meshIdentity('web'), meshIdentity('api')];

/** A connection through one real sidecar: its application, and the peer of its tunnel. */
interface Scene {
  readonly plane: RunningDataPlane;
  readonly application: Socket;
  readonly tunnel: RawTunnel;
}

function planeUntilEnd(plane: RunningDataPlane): RunningDataPlane {
  cleanups.push(() => plane.stop());
  return plane;
}

async function clientSidecar(hbonePort: number) {
  const target = { ip: '127.0.0.1', port: 80 };
  const plane = planeUntilEnd(await runDataPlane({ identity: web, declared: [{ target, peer: apiId }], hbonePort }));
  const dial = (): Socket => {
    const { port = 0 } = plane.addresses.declared[0] ?? {};
    const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
    socket.on('error', () => undefined);
    cleanups.push(() => socket.destroy());
    return socket;
  };
  return { plane, dial };
}

const isRequest = ({ type }: Frame) => type === frameType.headers;
const isEnd = ({ type, flags }: Frame) => type === frameType.data && (flags & endStream) !== 0;

/** The client's sidecar is real; `atAnswer` is sent in one segment with the 200. */
async function clientScene(atAnswer: (tunnel: RawTunnel) => void = () => undefined): Promise<Scene> {
  const server = await startRawServer(({ peer, wire }) => {
    void peer.frame(isRequest).then(({ streamId }) => {
      wire.cork();
      peer.accept(streamId);
      atAnswer({ peer, wire });
      wire.uncork();
    });
  });
  cleanups.push(() => server.close());
  const { plane, dial } = await clientSidecar(server.port);
  const application = dial();
  await until(() => server.tunnels[0] !== undefined);
  const tunnel = server.tunnels[0] as RawTunnel;
  await tunnel.peer.frame(isRequest);
  await until(() => [...plane.accounts.live()].length > 0 || application.closed || plane.lines.length > 0);
  return { plane, application, tunnel };
}

/** The server's sidecar is real. */
async function serverScene(atRequest: (tunnel: RawTunnel) => void = () => undefined): Promise<Scene> {
  const application = await startApplication((socket) => void socket);
  cleanups.push(() => application.close());
  const target = { ip: '127.0.0.1', port: application.port };
  const plane = planeUntilEnd(await runDataPlane({ identity: api, deliveries: [target] }));
  const tunnel = await dialRawTunnel(plane.addresses.hbone[0]?.port ?? 0);
  cleanups.push(() => tunnel.wire.destroy());
  tunnel.wire.cork();
  tunnel.peer.connect(1, `127.0.0.1:${application.port}`);
  atRequest(tunnel);
  tunnel.wire.uncork();
  await until(() => application.connections.length > 0 || plane.lines.length > 0);
  return { plane, application: application.connections[0] as Socket, tunnel };
}

const goaway = ({ peer }: RawTunnel, lastStreamId: number, code = 0) => {
  const payload = Buffer.alloc(8);
  payload.writeUInt32BE(lastStreamId);
  payload.writeUInt32BE(code, 4);
  peer.send(frameType.goaway, 0, 0, payload);
};
const data = ({ peer }: RawTunnel, bytes: number, flags = 0) =>
  peer.send(frameType.data, flags, 1, Buffer.alloc(bytes, 'd'));

const resets = Object.fromEntries(
  [0, 2, 5, 7, 8, 10].map((code) => [`RST_STREAM ${code}`, ({ peer }: RawTunnel) => peer.reset(1, code)]),
);
const faults: Record<string, (tunnel: RawTunnel) => void> = {
  ...resets,
  'GOAWAY that leaves the stream out': (tunnel) => {
    goaway(tunnel, 0);
    tunnel.wire.end();
  },
  'GOAWAY with an error': (tunnel) => goaway(tunnel, 1, 2),
  'GOAWAY and FIN': (tunnel) => {
    goaway(tunnel, 1);
    tunnel.wire.end();
  },
  'two GOAWAYs and FIN': (tunnel) => {
    goaway(tunnel, 2 ** 31 - 1);
    goaway(tunnel, 1);
    tunnel.wire.end();
  },
  FIN: ({ wire }) => void wire.end(),
  RST: ({ wire }) => resetSocket(wire),
  'a frame that breaks the connection': ({ peer }) => peer.send(frameType.data, 0, 0, Buffer.from('stream 0')),
};

/** What has happened by the time of the fault. The peer has sent `sent` bytes, and its end if `hasEnded`. */
interface Moment {
  readonly sent: number;
  readonly hasEnded: boolean;
  prepare(scene: Scene): Promise<void>;
}

const window = 65_535;
const moments: Record<string, Moment> = {
  'before any byte': { sent: 0, hasEnded: false, prepare: async () => undefined },
  'in mid-transfer': {
    sent: 1000,
    hasEnded: false,
    async prepare({ application, tunnel }) {
      application.write('from the application');
      await tunnel.peer.frame(({ type }) => type === frameType.data);
      data(tunnel, 1000);
    },
  },
  'after our own end': {
    sent: 1000,
    hasEnded: false,
    async prepare({ application, tunnel }) {
      application.end('all');
      await tunnel.peer.frame(isEnd);
      data(tunnel, 1000);
    },
  },
  'when we have ended, with bytes that the window holds back': {
    sent: 1000,
    hasEnded: false,
    async prepare({ application, tunnel }) {
      application.end(Buffer.alloc(window + 5_000));
      await until(() => sentTo(tunnel) >= window);
      data(tunnel, 1000);
    },
  },
  "after the peer's end": {
    sent: 1000,
    hasEnded: true,
    prepare: async ({ tunnel }) => data(tunnel, 1000, endStream),
  },
  "after the peer's end, with bytes of ours that the window holds back behind our end": {
    sent: 1000,
    hasEnded: true,
    async prepare({ application, tunnel }) {
      application.end(Buffer.alloc(window + 5_000));
      await until(() => sentTo(tunnel) >= window);
      data(tunnel, 1000, endStream);
    },
  },
  'while the application reads nothing, with the window full': {
    sent: 60_000,
    hasEnded: false,
    async prepare({ application, tunnel }) {
      application.pause();
      for (let count = 0; count < 4; count += 1) data(tunnel, 15_000);
    },
  },
  "while the application reads nothing, after the peer's end": {
    sent: 60_000,
    hasEnded: true,
    async prepare({ application, tunnel }) {
      application.pause();
      for (let count = 0; count < 4; count += 1) data(tunnel, 15_000, count === 3 ? endStream : 0);
    },
  },
};

const sentTo = ({ peer }: RawTunnel) =>
  peer.received.filter(({ type }) => type === frameType.data).reduce((sum, { payload }) => sum + payload.length, 0);

/** Looks at how the application's connection ends; reads from the next turn on. */
function watch(application: Socket) {
  const got: Buffer[] = [];
  application.on('data', (chunk: Buffer) => got.push(chunk));
  return { seen: ending(application), length: () => Buffer.concat(got).length };
}

const ends = [
  ['the client end', clientScene],
  ['the server end', serverScene],
] as const;

describe.each(ends)('at %s of a tunnel', (_end, scene) => {
  for (const [fault, inject] of Object.entries(faults)) {
    it.each(Object.entries(moments))(`N21: ${fault} %s is no end that the peer did not send`, async (_when, moment) => {
      const running = await scene();
      await moment.prepare(running);
      inject(running.tunnel);
      const { application, plane } = running;
      const { seen, length } = watch(application);
      const line = await plane.line({ outcome: 'closed' });
      // At none of the moments have both sides come to their end.
      expect(line.reason).not.toBe('eof');
      application.end();
      const how = await seen;
      if (how === 'end') expect([moment.hasEnded, length()]).toEqual([true, moment.sent]);
      else expect(length()).toBeLessThanOrEqual(moment.sent);
      expect(plane.lines.filter(({ msg }) => msg !== 'Tunnel given up')).toHaveLength(1);
    });
  }
});

describe('a request that races a tunnel that retires', () => {
  /** What a server does with the request number `count` of its tunnel number `tunnel`, counted from 0. */
  type Answer = (tunnel: RawTunnel, streamId: number, at: { tunnel: number; count: number }) => void;

  async function serverThatAnswers(answer: Answer) {
    const requests: string[] = [];
    const server = await startRawServer((tunnel, number) => {
      let count = 0;
      tunnel.wire.on('data', () => {
        const streams = tunnel.peer.received.filter(isRequest);
        for (; count < streams.length; count += 1) {
          const { streamId } = streams[count] as Frame;
          requests.push(`stream ${streamId} of tunnel ${number}`);
          answer(tunnel, streamId, { tunnel: number, count });
        }
      });
    });
    cleanups.push(() => server.close());
    return { ...(await clientSidecar(server.port)), requests, tunnels: server.tunnels };
  }

  const announcements: Record<string, (tunnel: RawTunnel) => void> = {
    'the last stream of one GOAWAY': (tunnel) => goaway(tunnel, 1),
    'the last stream of two GOAWAYs': (tunnel) => {
      goaway(tunnel, 2 ** 31 - 1);
      goaway(tunnel, 1);
    },
  };
  it.each(Object.entries(announcements))(
    'N22: goes to a new tunnel once, when %s leaves it out, and the neighbour that it names goes on',
    async (_name, announce) => {
      const { dial, requests, tunnels, plane } = await serverThatAnswers((tunnel, streamId, at) => {
        if (at.tunnel === 0 && at.count === 1) announce(tunnel);
        else tunnel.peer.accept(streamId);
      });
      const neighbour = dial();
      await until(() => [...plane.accounts.live()].length === 1);
      const late = dial();
      late.end('late');
      await until(() => [...plane.accounts.live()].length === 2);
      expect(requests).toEqual(['stream 1 of tunnel 0', 'stream 3 of tunnel 0', 'stream 1 of tunnel 1']);
      neighbour.end('neighbour');
      const dataOf = async (number: number) => {
        await until(() => tunnels[number]?.peer.received.some(isEnd) === true);
        const frames =
          tunnels[number]?.peer.received.filter(({ type, payload }) => type === frameType.data && payload.length > 0) ??
          [];
        return frames.map(({ streamId, payload }) => `${streamId}: ${payload}`).join('');
      };
      expect([await dataOf(0), await dataOf(1)]).toEqual(['1: neighbour', '1: late']);
    },
  );

  it('N22: is given up after three tunnels that refuse it, and each is asked once', async () => {
    const { dial, requests, plane } = await serverThatAnswers(({ peer }, streamId) => peer.reset(streamId, 7));
    expect(await ending(dial())).toBe('reset');
    expect(await plane.line({ outcome: 'closed' })).toMatchObject({ reason: 'tunnel_lost' });
    expect(requests).toEqual([0, 1, 2].map((number) => `stream 1 of tunnel ${number}`));
  });

  it('N22: is not repeated when its peer cancels it on a tunnel that goes on', async () => {
    const { dial, requests } = await serverThatAnswers(({ peer }, streamId) => peer.reset(streamId, 8));
    expect(await ending(dial())).toBe('reset');
    expect(requests).toEqual(['stream 1 of tunnel 0']);
  });
});

describe('a tunnel that is lost before the answer', () => {
  it.each(cuts)(
    'N22: by %s: the request goes to a new one, and the application got no byte of the first',
    async (how) => {
      const got: string[] = [];
      const application = await startApplication((socket) => {
        const number = application.connections.length - 1;
        socket.on('data', (chunk: Buffer) => got.push(`${number}: ${chunk}`));
        socket.on('end', () => got.push(`${number} ends`));
      });
      const mesh = await startLoopbackMesh(application.port);
      cleanups.push(
        () => mesh.stop(),
        () => application.close(),
      );
      const running = mesh.dial();
      await until(() => application.connections.length === 1 && [...mesh.web.accounts.live()].length === 1);
      mesh.wire.links[0]?.hold();
      const late = mesh.dial();
      late.end('late');
      await until(() => application.connections.length === 2);
      const [, first] = application.connections;
      mesh.wire.links[0]?.cut(how);
      expect(await ending(running)).toBe('reset');
      await until(() => first?.closed === true && got.includes('2 ends'));
      expect(got).toEqual(['2: late', '2 ends']);
    },
  );
});

it('N8: a tunnel that ends by FIN without close_notify resets what it carries, at both ends', async () => {
  const application = await startApplication((socket) => socket.pipe(socket));
  const mesh = await startLoopbackMesh(application.port);
  cleanups.push(
    () => mesh.stop(),
    () => application.close(),
  );
  const client = mesh.dial();
  client.write('hello');
  await once(client, 'data');
  const [server] = application.connections;
  const seen = Promise.all([ending(client), ending(server as Socket)]);
  // The wire knows nothing of TLS.
  mesh.wire.links[0]?.cut('end and end');
  expect(await seen).toEqual(['reset', 'reset']);
  for (const plane of [mesh.web, mesh.api])
    expect(await plane.line({ outcome: 'closed' })).toMatchObject({ reason: 'reset' });
  const { tunnel, tunnelFrom, tunnelTo } = await mesh.web.line({ outcome: 'closed' });
  expect(await mesh.web.line({ msg: 'Tunnel given up' })).toMatchObject({
    level: 'warn',
    direction: 'outbound',
    peerId: apiId,
    connections: 1,
    detail: 'it ended, and the other side had not closed it in order',
    remedy: expect.stringContaining('NetworkPolicy'),
    ...{ tunnel, tunnelFrom, tunnelTo },
  });
});
