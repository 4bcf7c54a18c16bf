import { once } from 'node:events';
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import type { Clock } from '../../../src/clock.ts';
import type { DataPlaneSettings } from '../../../src/proxy/data-plane.ts';
import { leastIdleMs } from '../../../src/proxy/inbound/tunnel.ts';
import type { Slots } from '../../../src/proxy/slots.ts';
import { createSlots } from '../../../src/proxy/slots.ts';
import type { RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { http2Peer } from '../../support/http2-peer.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';
import { ending } from '../../support/sockets.ts';
import { clientHello, record, recordTypes } from '../tls/client-hello.ts';

/*
 * Goal: however many come at once, or come to stay, whoever has work gets it done. Method: the data plane in this process
 * with few places, strangers that say nothing, and peers that are not ours.
 */

const hello = record(recordTypes.handshake, clientHello());
const handshakeTimeoutMs = 10_000;
const authority = createTestAuthority('cluster.local', { intermediates: 1 });

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

interface Stage {
  readonly plane: RunningDataPlane;
  /** One for each socket that was accepted. */
  readonly descriptors: Slots;
  dial(): Promise<Socket>;
  tunnel(): Promise<ClientHttp2Session>;
  /** A stream to an application that answers with what it gets. */
  echo(session: ClientHttp2Session): Promise<ClientHttp2Stream>;
}

interface StageOptions extends Partial<DataPlaneSettings> {
  readonly places?: number;
  readonly clock?: Clock;
}

async function stage({ places = 10_000, clock, ...changed }: StageOptions): Promise<Stage> {
  const server = createServer((socket) => void socket.on('error', () => undefined).pipe(socket));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const descriptors = createSlots(10_000);
  const plane = await runDataPlane({
    identity: createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'api' }),
    deliveries: [{ ip: '127.0.0.1', port }],
    parts: { connections: createSlots(places), descriptors },
    ...(clock && { clock }),
    adjust: (settings) => ({ ...settings, ...changed }),
  });
  cleanups.push(
    () => server.close(),
    () => plane.stop(),
  );
  const dial = async () => {
    const socket = connect(plane.addresses.hbone[0]?.port ?? 0, '127.0.0.1').on('error', () => undefined);
    cleanups.push(() => socket.destroy());
    // It may be refused before it has seen itself connected.
    await Promise.race([once(socket, 'connect'), once(socket, 'close')]).catch(() => undefined);
    return socket;
  };
  return {
    plane,
    descriptors,
    dial,
    async tunnel() {
      const session = await http2Peer(await dial(), authority, 'web');
      cleanups.push(() => session.destroy());
      return session;
    },
    async echo(session) {
      const headers = { ':method': 'CONNECT', ':authority': `127.0.0.1:${port}` };
      const stream = session.request(headers, { endStream: false });
      stream.on('error', () => undefined);
      expect((await once(stream, 'response'))[0]).toMatchObject({ ':status': 200 });
      return stream;
    },
  };
}

async function roundTrip(stream: ClientHttp2Stream): Promise<void> {
  stream.write('ping');
  expect(String((await once(stream, 'data'))[0])).toBe('ping');
}

/** Long enough for what is in the kernel to have been read. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await setImmediate();
}

const count = ({ observed }: RunningDataPlane, name: string) => observed.filter(({ event }) => event === name).length;

describe('handshakes', () => {
  it('X13: that 200 peers begin at once are answered a few in each turn, and what is carried goes on between them', async () => {
    const { dial, tunnel, echo, descriptors } = await stage({ maxHandshakes: 4 });
    const stream = await echo(await tunnel());
    const peers = await Promise.all(Array.from({ length: 200 }, dial));
    const answered = new Set<Socket>();
    for (const socket of peers) socket.on('data', () => answered.add(socket));
    // Node.js accepts one connection in each turn; here they are all accepted when they begin to speak.
    while (descriptors.inUse <= peers.length) await roundTrip(stream);
    for (const socket of peers) socket.write(hello);
    const steps = new Set<number>();
    while (answered.size < peers.length) {
      await roundTrip(stream);
      steps.add(answered.size);
    }
    expect(steps.size).toBeGreaterThan(5);
  });

  it('X13: wait for their turn in a bounded number, and a newcomer beyond it is refused', async () => {
    const clock = createFakeClock();
    const { plane, dial } = await stage({ places: 8, maxHandshakes: 0, clock });
    const send = async () => {
      const socket = await dial();
      socket.write(hello);
      return socket;
    };
    const waiting = [await send(), await send(), await send(), await send()];
    await turns();
    expect(await ending(await send())).toBe('reset');
    expect(await plane.line({ reason: 'handshake_limit' })).toMatchObject({ outcome: 'denied' });
    expect(waiting.map(({ closed }) => closed)).toEqual([false, false, false, false]);
    const endings = waiting.map(ending);
    await clock.advance(handshakeTimeoutMs);
    expect(new Set(await Promise.all(endings))).toEqual(new Set(['reset']));
    await send();
    await turns();
    expect(count(plane, 'connectionDenied')).toBe(1);
  });

  it.each([
    ['say nothing', ''],
    ['say hello and never answer ours', hello],
  ])('X1: of peers who %s give way to a newcomer, the longest first', async (_, words) => {
    const { plane, dial, tunnel, echo } = await stage({ places: 8 });
    const silent: Socket[] = [];
    for (let index = 0; index < 4; index += 1) {
      const socket = await dial();
      silent.push(socket);
      if (words === '') continue;
      socket.write(words);
      await once(socket, 'data');
    }
    await roundTrip(await echo(await tunnel()));
    const [first, ...others] = silent;
    expect(await ending(first as Socket)).toBe('reset');
    expect(await plane.line({ outcome: 'denied' })).toMatchObject({ reason: 'handshake_limit' });
    expect(plane.observed).toContainEqual({ event: 'connectionDenied', args: ['inbound', 'handshake_limit'] });
    expect(others.map(({ closed }) => closed)).toEqual([false, false, false]);
    expect(count(plane, 'connectionDenied')).toBe(1);
  });
});

describe('tunnels without connections', () => {
  it('X2: give way when places are short, the one that is idle longest first, so that there is one for each newcomer', async () => {
    const places = 16;
    const clock = createFakeClock();
    const { plane, tunnel, echo } = await stage({ places, clock });
    const open = () => count(plane, 'tunnelOpened') - count(plane, 'tunnelClosed');
    const busy = await echo(await tunnel());
    const used = await tunnel();
    const idle = await tunnel();
    await clock.advance(1);
    await roundTrip(await echo(used));
    const hoard: ClientHttp2Session[] = [];
    for (let index = 0; index < 3 * places; index += 1) {
      await clock.advance(leastIdleMs);
      hoard.push(await tunnel());
      expect(open()).toBeLessThanOrEqual(places);
    }
    expect(idle.closed).toBe(true);
    expect(hoard.findLastIndex(({ closed }) => closed)).toBeLessThan(3 * places - 4);
    expect(used.closed).toBe(false);
    await roundTrip(busy);
    await roundTrip(await echo(await tunnel()));
    expect(count(plane, 'connectionDenied')).toBe(0);
  });

  it('X2: do not give way for another before they have had the time to ask for something', async () => {
    const clock = createFakeClock();
    const { tunnel, echo } = await stage({ places: 16, clock });
    const sessions: ClientHttp2Session[] = [];
    for (let index = 0; index < 15; index += 1) sessions.push(await tunnel());
    for (const session of sessions) await roundTrip(await echo(session));
    expect(sessions.filter(({ closed }) => closed)).toEqual([]);
  });

  it('stay while there are places', async () => {
    const { tunnel } = await stage({ places: 16 });
    const sessions: ClientHttp2Session[] = [];
    for (let index = 0; index < 13; index += 1) sessions.push(await tunnel());
    await Promise.all(sessions.map((session) => new Promise((resolve) => session.ping(resolve))));
    expect(sessions.filter(({ closed }) => closed)).toEqual([]);
  });
});
