import { once } from 'node:events';
import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { createSlots } from '../../../src/proxy/slots.ts';
import type { RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { http2Peer } from '../../support/http2-peer.ts';
import type { HungApplication } from '../../support/hung-application.ts';
import { hungApplication } from '../../support/hung-application.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';

/*
 * Goal: an application that does not answer costs its own callers their deadline, and nobody else anything. Method: the
 * data plane in this process, in front of a process that is stopped and of one that is not; the kernel counts the dials.
 */

const authority = createTestAuthority('cluster.local', { intermediates: 1 });
const connectTimeoutMs = 5000;
const places = 20;
const most = places / 2;

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

async function echo(): Promise<number> {
  const server = createServer((socket) => void socket.on('error', () => undefined).pipe(socket));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  cleanups.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

interface Stage {
  readonly plane: RunningDataPlane;
  readonly clock: FakeClock;
  readonly hung: HungApplication;
  readonly healthy: number;
  tunnel(): Promise<ClientHttp2Session>;
}

async function stage(): Promise<Stage> {
  const clock = createFakeClock();
  const [hung, healthy] = await Promise.all([hungApplication(), echo()]);
  const plane = await runDataPlane({
    identity: createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'api' }),
    clock,
    deliveries: [hung.port, healthy].map((port) => ({ ip: '127.0.0.1', port })),
    parts: { connections: createSlots(places) },
  });
  cleanups.push(
    () => hung.kill(),
    () => plane.stop(),
  );
  return {
    plane,
    clock,
    hung,
    healthy,
    async tunnel() {
      const session = await http2Peer(connect(plane.addresses.hbone[0]?.port ?? 0, '127.0.0.1'), authority, 'web');
      cleanups.push(() => session.destroy());
      return session;
    },
  };
}

function request(session: ClientHttp2Session, port: number): ClientHttp2Stream {
  const stream = session.request({ ':method': 'CONNECT', ':authority': `127.0.0.1:${port}` }, { endStream: false });
  stream.on('error', () => undefined);
  return stream;
}

async function answer(stream: ClientHttp2Stream): Promise<unknown> {
  const [headers] = (await once(stream, 'response')) as [IncomingHttpHeaders];
  return headers['remora-reason'] ?? headers[':status'];
}

/** Many requests in each of two tunnels, so that as many are dialled as may be, and the others wait. */
async function crowd({ hung, tunnel }: Stage): Promise<ClientHttp2Stream[]> {
  const tunnels = [await tunnel(), await tunnel()];
  const streams = tunnels.flatMap((session) => Array.from({ length: 20 }, () => request(session, hung.port)));
  await Promise.all(tunnels.map((session) => new Promise((resolve) => session.ping(resolve))));
  while (hung.dialled() < most) await setImmediate();
  return streams;
}

describe('an application that does not answer', () => {
  it('N2: is dialled for as many connections as one destination may have, over all tunnels, and the others wait', async () => {
    const here = await stage();
    await crowd(here);
    expect(here.hung.dialled()).toBe(most);
    expect(here.plane.observed.filter(({ event }) => event === 'connectionDenied')).toEqual([]);
  });

  it('N2: takes no place and no time from another port of the pod', async () => {
    const here = await stage();
    await crowd(here);
    const other = await here.tunnel();
    const streams = Array.from({ length: places - most }, () => request(other, here.healthy));
    expect(new Set(await Promise.all(streams.map(answer)))).toEqual(new Set([200]));
  });

  it('N2: fails each that was dialled or waited as upstream_timeout at one deadline, and leaves nothing', async () => {
    const here = await stage();
    const answers = (await crowd(here)).map(answer);
    await here.clock.advance(connectTimeoutMs);
    expect(new Set(await Promise.all(answers))).toEqual(new Set(['upstream_timeout']));
    expect(here.hung.dialled()).toBe(0);
  });

  it('N2: gives the turn of one that is given up to the next that waits', async () => {
    const here = await stage();
    const streams = await crowd(here);
    for (const stream of streams.slice(0, -3)) stream.destroy(new Error('given up'));
    while (here.hung.dialled() !== 3) await setImmediate();
    const last = streams.slice(-3).map(answer);
    await here.clock.advance(connectTimeoutMs);
    expect(await Promise.all(last)).toEqual(Array(3).fill('upstream_timeout'));
  });
});
