import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { createSlots } from '../../../src/proxy/slots.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';
import { ending } from '../../support/sockets.ts';

/*
 * Goal: a resolver that is slow, or has no answer, costs those who wait for it, and no one else. Method: two data planes
 * in this process, with a resolver that answers when it is told to.
 */

const authority = createTestAuthority('cluster.local', { intermediates: 1 });
const connectTimeoutMs = 5000;

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

/** Tunnels to an application that echoes: to `fast.test`, which is found at once, and to `slow.test`. */
async function stage() {
  const clock = createFakeClock();
  const server = createServer((socket) => void socket.on('error', () => undefined).pipe(socket));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const lookups: { name: string; answer(found: { address: string }): void; fail(error: Error): void }[] = [];
  const lookupName = (name: string) => {
    const { promise, resolve, reject } = Promise.withResolvers<{ address: string }>();
    lookups.push({ name, answer: resolve, fail: reject });
    if (name === 'fast.test') resolve({ address: '127.0.0.1' });
    return promise;
  };
  const api = await runDataPlane({
    identity: createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'api' }),
    deliveries: [{ ip: '127.0.0.1', port }],
    clock,
  });
  const connections = createSlots(100);
  const peer = 'spiffe://cluster.local/ns/shop/sa/api';
  const web = await runDataPlane({
    identity: createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'web' }),
    declared: ['fast.test', 'slow.test'].map((ip) => ({ target: { ip, port }, peer })),
    hbonePort: api.addresses.hbone[0]?.port ?? 0,
    parts: { lookupName, connections },
    clock,
  });
  cleanups.push(
    () => server.close(),
    () => api.stop(),
    () => web.stop(),
  );
  const dial = async (index: 0 | 1) => {
    const socket = connect(web.addresses.declared[index]?.port ?? 0, '127.0.0.1').on('error', () => undefined);
    cleanups.push(() => socket.destroy());
    await Promise.race([once(socket, 'connect'), once(socket, 'close')]).catch(() => undefined);
    return socket;
  };
  const slow = () => lookups.filter(({ name }) => name === 'slow.test');
  /** So many connections whose name is being looked up. */
  const waiting = async (count: number) => {
    const before = connections.inUse;
    const sockets = await Promise.all(Array.from({ length: count }, () => dial(1)));
    while (connections.inUse < before + count) await setImmediate();
    return sockets;
  };
  return { clock, web, connections, lookups, slow, waiting, toFast: () => dial(0), toSlow: () => dial(1) };
}

async function echoes(socket: Socket): Promise<void> {
  socket.write('ping');
  expect(String((await once(socket, 'data'))[0])).toBe('ping');
}

describe('a resolver that does not answer', () => {
  it('N16: fails those who wait at the connect deadline as upstream_timeout, and nothing happens to others', async () => {
    const { clock, web, connections, waiting, toFast } = await stage();
    const before = await toFast();
    await echoes(before);
    const endings = (await waiting(50)).map(ending);
    await echoes(before);
    const during = await toFast();
    await echoes(during);
    await clock.advance(connectTimeoutMs);
    expect(new Set(await Promise.all(endings))).toEqual(new Set(['reset']));
    expect(await web.line({ reason: 'upstream_timeout' })).toMatchObject({
      detail: 'The name slow.test was not looked up in time',
    });
    expect(web.observed.filter(({ args }) => args[1] === 'upstream_timeout')).toHaveLength(50);
    expect(connections.inUse).toBe(2);
    await echoes(before);
  });

  it('N16: is asked once at a time for a name, for however many connections, also after their deadline', async () => {
    const { clock, slow, waiting } = await stage();
    await waiting(50);
    await clock.advance(connectTimeoutMs);
    const [last] = await waiting(1);
    expect(slow()).toHaveLength(1);
    slow()[0]?.answer({ address: '127.0.0.1' });
    await echoes(last as Socket);
  });
});

describe('a name', () => {
  it('N16: that is not found is upstream_unreachable, and is found by the next connection when it is there', async () => {
    const { web, slow, toSlow, waiting } = await stage();
    const [lost] = await waiting(1);
    slow()[0]?.fail(Object.assign(new Error('getaddrinfo ENOTFOUND slow.test'), { code: 'ENOTFOUND' }));
    expect(await ending(lost as Socket)).toBe('reset');
    expect(await web.line({ reason: 'upstream_unreachable' })).toMatchObject({ outcome: 'closed' });
    const next = await toSlow();
    while (slow().length < 2) await setImmediate();
    slow()[1]?.answer({ address: '127.0.0.1' });
    await echoes(next);
  });

  it('N16: is looked up at each connection', async () => {
    const { lookups, toFast } = await stage();
    await echoes(await toFast());
    await echoes(await toFast());
    expect(lookups).toHaveLength(2);
  });
});
