import { describe, expect, it } from 'vitest';
import type { Identity } from '../../../src/identity/identity.ts';
import { noRevocations } from '../../../src/identity/revocations.ts';
import { parseSpiffeId } from '../../../src/identity/spiffe-id.ts';
import type { Leg } from '../../../src/proxy/leg.ts';
import type { TunnelKey } from '../../../src/proxy/transport/hbone/pool.ts';
import { createTunnelPool } from '../../../src/proxy/transport/hbone/pool.ts';
import type { Tunnel } from '../../../src/proxy/transport/hbone/tunnel.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

const parsed = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/api');
if (parsed.kind === 'invalid') throw new TypeError(parsed.why);
const expectedId = parsed.id;
const clock = createFakeClock();
const local = {
  leaf: { fingerprint256: 'AA' },
  bundles: { domains: new Map([['cluster.local', [{ fingerprint: 'root' }]]]) },
} as unknown as Identity;
const key: TunnelKey = { address: { ip: '10.0.0.7', port: 15008 }, expectedId, local };
const request = { destination: { ip: '10.0.0.7', port: 80 }, connectionId: 'test-1' };
const never = new AbortController().signal;

/** A tunnel with so many places, that counts a stream when it is asked for it, as the real one does. */
function tunnelWithRoom(places: number, order = 1): Tunnel {
  let streams = 0;
  const peer = {
    spiffeId: expectedId,
    notAfterMs: clock.now() + 60_000,
    rootFingerprint: 'root',
    certificates: [],
    path: [],
  };
  return {
    name: 'a1b2c3',
    key,
    mutualTls: { peer, local } as unknown as Tunnel['mutualTls'],
    proof: { peer, end: { order } } as unknown as Tunnel['proof'],
    openedAtMs: clock.now(),
    closed: Promise.resolve(),
    streams: () => streams,
    isRetiring: () => false,
    hasRoom: () => streams < places,
    async open() {
      streams += 1;
      return {} as Leg;
    },
    prove: () => Promise.reject(new Error('must not prove')),
    retire: () => undefined,
    destroy: () => undefined,
  };
}

const parts = { clock, identity: { current: () => local }, revocations: { current: () => noRevocations } };

describe('the tunnel pool', () => {
  it('gives a burst that waits for a cold tunnel no more places than each tunnel has', async () => {
    const made: Tunnel[] = [];
    const dial = async () => {
      const tunnel = tunnelWithRoom(8);
      made.push(tunnel);
      return tunnel;
    };
    const pool = createTunnelPool(dial, parts);
    await Promise.all(Array.from({ length: 40 }, () => pool.open(key, request, never)));
    expect(made.map((tunnel) => tunnel.streams())).toEqual([8, 8, 8, 8, 8]);
  });

  it('makes one tunnel for a peer that takes no stream at all, and gives up', async () => {
    let dialled = 0;
    const dial = async () => {
      dialled += 1;
      return tunnelWithRoom(0);
    };
    await expect(createTunnelPool(dial, parts).open(key, request, never)).rejects.toMatchObject({
      reason: 'tunnel_lost',
    });
    expect(dialled).toBe(1);
  });

  it('carries nothing over a tunnel whose root was removed while it was made', async () => {
    let current = local;
    const tunnel = tunnelWithRoom(8);
    const dial = async () => {
      current = { ...local, bundles: { domains: new Map() } };
      return tunnel;
    };
    const pool = createTunnelPool(dial, { ...parts, identity: { current: () => current } });
    await expect(pool.open(key, request, never)).rejects.toMatchObject({ reason: 'tunnel_lost' });
    expect(tunnel.streams()).toBe(0);
  });

  it('makes a newer tunnel beside one that serves, and retires that one only then', async () => {
    const made: Tunnel[] = [];
    const retired = new Set<Tunnel>();
    let isReachable = true;
    const dial = async () => {
      if (!isReachable) throw new Error('unreachable');
      const tunnel = tunnelWithRoom(8, made.length + 1);
      made.push(tunnel);
      return Object.assign(tunnel, { retire: () => void retired.add(tunnel) });
    };
    const pool = createTunnelPool(dial, parts);
    await pool.open(key, request, never);
    isReachable = false;
    await expect(pool.newerThan(key, 1, never)).rejects.toThrow('unreachable');
    expect(retired.size).toBe(0);
    isReachable = true;
    expect(await pool.newerThan(key, 1, never)).toBe(made[1]);
    expect([...retired]).toEqual(made.slice(0, 1));
    expect(await pool.newerThan(key, 1, never)).toBe(made[1]);
    expect(made).toHaveLength(2);
    await pool.close();
    await expect(pool.newerThan(key, 1, never)).rejects.toMatchObject({ reason: 'draining' });
  });

  it('opens nothing once it is closed', async () => {
    const pool = createTunnelPool(() => Promise.reject(new Error('must not dial')), parts);
    await pool.close();
    await expect(pool.open(key, request, never)).rejects.toMatchObject({ reason: 'draining' });
  });
});
