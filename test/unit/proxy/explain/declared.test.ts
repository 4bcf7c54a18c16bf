import { describe, expect, it } from 'vitest';
import { tunnelFor, tunnelThatCarried } from '../../../../src/proxy/explain/declared.ts';

const tunnel = (ip: string, port: number, host: string, targetPort: number) => ({
  listen: { ip, port },
  target: { host, port: targetPort },
  via: undefined,
  peer: 'spiffe://cluster.local/ns/shop/sa/db',
});
const db = tunnel('127.0.0.1', 5432, 'db.internal', 5432);
const cache = tunnel('0.0.0.0', 6379, '10.0.0.9', 6380);
const tunnels = [db, cache];

describe('the tunnel that is meant', () => {
  it.each([
    ['127.0.0.1', 5432, db],
    ['localhost', 5432, db],
    ['db.internal', 5432, db],
    ['127.0.0.2', 5432, undefined],
    ['db.internal', 5433, undefined],
    ['127.0.0.1', 6379, cache],
    ['localhost', 6379, cache],
    ['10.0.0.9', 6380, cache],
    ['10.0.0.9', 6379, undefined],
  ])('by %s and %i', (host, port, expected) => {
    expect(tunnelFor({ host, port }, tunnels)).toBe(expected);
  });

  it('is the one that carried a connection, where only one can be', () => {
    expect(tunnelThatCarried({ ip: '10.0.0.9', port: 6380 }, tunnels)).toBe(cache);
    expect(tunnelThatCarried({ ip: '10.0.0.7', port: 5432 }, tunnels)).toBe(db);
    const other = tunnel('127.0.0.1', 5433, 'other.internal', 5432);
    expect(tunnelThatCarried({ ip: '10.0.0.7', port: 5432 }, [...tunnels, other])).toBe(undefined);
    expect(tunnelThatCarried({ ip: '10.0.0.7', port: 6380 }, tunnels)).toBe(undefined);
  });
});
