import type { Socket } from 'node:net';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Clock } from '../../../src/clock.ts';
import { systemClock } from '../../../src/clock.ts';
import { resetSocket } from '../../../src/proxy/leg.ts';
import type { DataPlaneOptions } from '../../support/data-plane.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import type { LoopbackMesh } from '../../support/loopback-mesh.ts';
import { startApplication, startLoopbackMesh, turns, until } from '../../support/loopback-mesh.ts';
import { ending } from '../../support/sockets.ts';
import type { Cut } from '../../support/wire.ts';
import { cuts } from '../../support/wire.ts';

/*
 * Goal: an application sees a clean end if and only if the other one sent its end, behind all its bytes, and all of them
 * were delivered; whatever else happens, it sees a reset. Method: two sidecars with real TLS in this process, a few
 * connections in one tunnel, and scenes at random. fast-check prints the seed of one that fails.
 */

/** One application's end of a connection, and what it did and saw. */
interface Side {
  readonly socket: Socket;
  readonly sent: Buffer[];
  readonly got: Buffer[];
  hasEnded: boolean;
  hasReset: boolean;
  sawEnd: boolean;
}

interface Connection {
  readonly id: string;
  readonly client: Side;
  readonly server: Side;
}

type Who = 'client' | 'server';
type Step =
  | { readonly do: 'write'; readonly connection: number; readonly who: Who; readonly kilobytes: number }
  | { readonly do: 'end' | 'reset' | 'pause' | 'resume'; readonly connection: number; readonly who: Who }
  | { readonly do: 'retire'; readonly who: Who }
  | { readonly do: 'cut'; readonly how: Cut }
  | { readonly do: 'destroy' | 'drain'; readonly who: Who }
  | { readonly do: 'wait'; readonly turns: number };

const connectionCount = 3;
const connection = fc.nat(connectionCount - 1);
const who = fc.constantFrom<Who>('client', 'server');
const ofApplications: fc.WeightedArbitrary<Step>[] = [
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('write' as const),
      connection,
      who,
      kilobytes: fc.constantFrom(0.01, 1, 16, 70, 300, 2000),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('end' as const), connection, who }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('pause' as const), connection, who }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('resume' as const), connection, who }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('wait' as const), turns: fc.integer({ min: 1, max: 40 }) }) },
];
const reset: fc.WeightedArbitrary<Step> = {
  weight: 1,
  arbitrary: fc.record({ do: fc.constant('reset' as const), connection, who }),
};
const retire: fc.WeightedArbitrary<Step> = {
  weight: 1,
  arbitrary: fc.record({ do: fc.constant('retire' as const), who }),
};
const loss = fc.oneof<fc.Arbitrary<Step>[]>(
  fc.record({ do: fc.constant('cut' as const), how: fc.constantFrom(...cuts) }),
  fc.record({ do: fc.constantFrom('destroy' as const, 'drain' as const), who }),
);
const steps = (...kinds: fc.WeightedArbitrary<Step>[]) =>
  fc.array(fc.oneof(...ofApplications, ...kinds), { minLength: 2, maxLength: 30 });

function sideOf(socket: Socket): Side {
  const side: Side = { socket, sent: [], got: [], hasEnded: false, hasReset: false, sawEnd: false };
  socket.on('data', (chunk: Buffer) => side.got.push(chunk));
  socket.once('end', () => {
    side.sawEnd = true;
  });
  return side;
}

/** What a sidecar finds out by asking from time to time is found out fifty times sooner. */
const haste = 50;
const clock: Clock = { ...systemClock, after: (delayMs, callback) => systemClock.after(delayMs / haste, callback) };
const unhurried = {
  connectTimeoutMs: 5_000 * haste,
  handshakeTimeoutMs: 10_000 * haste,
  halfCloseTimeoutMs: 60_000 * haste,
};
const hasty: Partial<DataPlaneOptions> = {
  clock,
  adjust: ({ inbound, outbound, tunnels, ...rest }) => ({
    ...rest,
    inbound: { ...inbound, ...unhurried },
    outbound: { ...outbound, ...unhurried },
    tunnels: { ...tunnels, ...unhurried, openTimeoutMs: 10_000 * haste },
  }),
};

/** A tunnel that carries as many connections as a scene has. */
async function scene() {
  const application = await startApplication(() => undefined);
  const mesh = await startLoopbackMesh(application.port, { web: hasty, api: hasty });
  const connections: Connection[] = [];
  for (let number = 0; number < connectionCount; number += 1) {
    const client = sideOf(mesh.dial());
    await until(() => [...mesh.web.accounts.live()].length > number && application.connections.length > number);
    const id = [...mesh.web.accounts.live()][number]?.id ?? '';
    connections.push({ id, client, server: sideOf(application.connections[number] as Socket) });
  }
  return { application, mesh, connections };
}

let written = 0;
function write({ socket, sent, hasEnded, hasReset }: Side, kilobytes: number): void {
  if (hasEnded || hasReset || socket.destroyed) return;
  written += 1;
  const bytes = Buffer.alloc(Math.ceil(kilobytes * 1024), `${written} `);
  sent.push(bytes);
  socket.write(bytes);
}

function act(side: Side, step: 'end' | 'reset' | 'pause' | 'resume'): void {
  const { socket } = side;
  if (socket.destroyed) return;
  switch (step) {
    case 'end':
      side.hasEnded = true;
      socket.end();
      return;
    case 'reset':
      side.hasReset = true;
      resetSocket(socket);
      return;
    case 'pause':
    case 'resume':
      socket[step]();
      return;
    default:
      step satisfies never;
  }
}

function loseTunnel({ web, api, wire }: LoopbackMesh, step: Step): void {
  if (step.do === 'cut') for (const link of wire.links) link.cut(step.how);
  if (step.do === 'drain') void (step.who === 'client' ? web : api).drain.finish(0);
  if (step.do === 'destroy') (step.who === 'client' ? web : api).destroy();
}

/** Plays the steps, ends every side that has not ended, and waits until every connection is closed at both ends. */
async function play(script: readonly Step[], lossAtEnd: Step | undefined) {
  const { application, mesh, connections } = await scene();
  for (const step of script) {
    if (step.do === 'wait') await turns(step.turns);
    else if (step.do === 'retire' && step.who === 'server') mesh.api.retireInbound();
    else if (step.do === 'retire') for (const tunnel of mesh.web.pool.tunnels()) tunnel.retire();
    else if ('connection' in step) {
      const side = (connections[step.connection] as Connection)[step.who];
      if (step.do === 'write') write(side, step.kilobytes);
      else act(side, step.do);
    }
  }
  const sides = connections.flatMap(({ client, server }) => [client, server]);
  const endedBefore = new Set(sides.filter(({ hasEnded }) => hasEnded));
  if (lossAtEnd !== undefined) loseTunnel(mesh, lossAtEnd);
  for (const side of sides) {
    act(side, 'resume');
    if (!side.hasEnded) act(side, 'end');
  }
  await until(() => sides.every(({ socket }) => socket.closed));
  await until(() => mesh.places.inUse === 0 && mesh.web.drain.size === 0 && mesh.api.drain.size === 0);
  const reasonsOf = ({ id }: Connection) =>
    [mesh.web, mesh.api].map(({ lines }) => lines.filter((line) => line.id === id).map(({ reason }) => reason));
  const played = connections.map((one) => ({ ...one, reasons: reasonsOf(one) }));
  const dialled = application.connections.length;
  mesh.stop();
  application.close();
  return { played, endedBefore, dialled };
}

const bytesOf = (chunks: readonly Buffer[]) => Buffer.concat(chunks);

/** What `to` saw of `from`. */
function expectTruth(from: Side, to: Side, mustArrive: boolean, mayEnd: boolean): void {
  const [sent, got] = [bytesOf(from.sent), bytesOf(to.got)];
  expect(sent.subarray(0, got.length).equals(got), 'what arrives is the beginning of what was sent').toBe(true);
  if (to.sawEnd) expect({ mayEnd, length: got.length }).toEqual({ mayEnd: true, length: sent.length });
  if (mustArrive) expect({ sawEnd: to.sawEnd, length: got.length }).toEqual({ sawEnd: true, length: sent.length });
}

const runs = { numRuns: 60 };

it('N21: connections that nobody cuts arrive whole, with both ends, also while their tunnel retires and they are paused', async () => {
  await fc.assert(
    fc.asyncProperty(steps(retire), async (script) => {
      const { played, dialled } = await play(script, undefined);
      for (const { client, server, reasons } of played) {
        expectTruth(client, server, true, true);
        expectTruth(server, client, true, true);
        expect(reasons).toEqual([['eof'], ['eof']]);
      }
      expect(dialled).toBe(connectionCount);
    }),
    runs,
  );
});

it('N21: an application that resets at any moment never looks like one that has ended, and its neighbours arrive whole', async () => {
  await fc.assert(
    fc.asyncProperty(steps(reset, retire), async (script) => {
      const { played } = await play(script, undefined);
      for (const { client, server, reasons } of played) {
        const isWhole = !client.hasReset && !server.hasReset;
        expectTruth(client, server, isWhole, client.hasEnded);
        expectTruth(server, client, isWhole, server.hasEnded);
        expect(reasons.map((seen) => seen.length)).toEqual([1, 1]);
        if (isWhole) expect(reasons).toEqual([['eof'], ['eof']]);
      }
    }),
    runs,
  );
});

it('N21: a tunnel that is lost in any way and at any moment never looks like the end of a connection in it', async () => {
  await fc.assert(
    fc.asyncProperty(steps(reset, retire), loss, async (script, lost) => {
      const { played, endedBefore } = await play(script, lost);
      for (const { client, server, reasons } of played) {
        // A stop forces what is open some turns later.
        const mayEnd = (side: Side) => lost.do === 'drain' || endedBefore.has(side);
        expectTruth(client, server, false, mayEnd(client));
        expectTruth(server, client, false, mayEnd(server));
        expect(reasons.map((seen) => seen.length)).toEqual([1, 1]);
      }
    }),
    runs,
  );
});

it('N11: a tunnel that is reset in the middle of a write is given up, also when it retires and nobody pings any more', async () => {
  for (let count = 0; count < 20; count += 1) {
    const clock = createFakeClock();
    const application = await startApplication((socket) => socket.resume());
    const mesh = await startLoopbackMesh(application.port, { web: { clock } });
    const client = mesh.dial();
    await until(() => [...mesh.web.accounts.live()].length > 0);
    mesh.api.retireInbound();
    await turns(20);
    client.write(Buffer.alloc(2_000_000));
    await turns(count);
    mesh.wire.links[0]?.cut('reset and end');
    const seen = ending(client);
    for (let look = 0; look < 10 && !client.closed; look += 1) await clock.advance(10_000);
    expect(await seen).toBe('reset');
    await until(() => mesh.places.inUse === 0);
    expect([...mesh.web.pool.tunnels()]).toEqual([]);
    mesh.stop();
    application.close();
  }
});
