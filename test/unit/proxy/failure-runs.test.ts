import { describe, expect, it } from 'vitest';
import type { Address } from '../../../src/addresses.ts';
import type { Direction } from '../../../src/outcomes.ts';
import type { Outcome } from '../../../src/proxy/account.ts';
import type { Ended } from '../../../src/proxy/connection-line.ts';
import { createFailureRuns } from '../../../src/proxy/failure-runs.ts';

const service: Address = { ip: '10.96.0.10', port: 80 };
const pod: Address = { ip: '10.0.0.7', port: 8080 };
const web = 'spiffe://cluster.local/ns/shop/sa/web';
const refused: Outcome = { kind: 'closed', reason: 'upstream_refused', facts: { endpoint: pod } };

const failed = (nowMs: number, outcome: Outcome = refused, over: Partial<Ended> = {}): Ended => ({
  id: `a-${nowMs}`,
  direction: 'outbound',
  peerAddress: { ip: '127.0.0.1', port: 40112 },
  openedAtMs: nowMs,
  durationMs: 5,
  known: { originalDestination: service },
  bytes: undefined,
  outcome,
  nowMs,
  clockSkewMs: undefined,
  ...over,
});
const carried = (
  direction: Direction,
  originalDestination: Address,
  over: { endpoint?: Address; peerId?: string } = {},
) => ({
  direction,
  facts: { transport: 'hbone', security: 'mutual_tls', originalDestination, ...over } as const,
});

describe('a run of failures', () => {
  it('is counted for the destination and for the endpoint, from the first of them', () => {
    const runs = createFailureRuns();
    for (const nowMs of [1000, 2000, 3000]) runs.failed(failed(nowMs));
    for (const address of [service, pod])
      expect(runs.of({ kind: 'to', address })).toMatchObject({ failures: 3, sinceMs: 1000, last: { nowMs: 3000 } });
    expect(runs.of({ kind: 'to', address: { ...pod, port: 81 } })).toBeUndefined();
  });

  it('is over for the destination as soon as another endpoint takes a connection, and goes on for its own', () => {
    const runs = createFailureRuns();
    runs.failed(failed(1000));
    runs.carried(carried('outbound', service, { endpoint: { ip: '10.0.0.8', port: 8080 } }));
    expect(runs.of({ kind: 'to', address: service })).toBeUndefined();
    expect(runs.of({ kind: 'to', address: pod })).toMatchObject({ failures: 1 });
    runs.carried(carried('outbound', service, { endpoint: pod }));
    expect(runs.of({ kind: 'to', address: pod })).toBeUndefined();
  });

  it.each<[string, Outcome, Partial<Ended>]>([
    [
      'was carried before it failed',
      { kind: 'closed', reason: 'tunnel_lost' },
      { bytes: { sent: 0, received: 0 } as never },
    ],
    ['the application gave up', { kind: 'closed', reason: 'reset' }, {}],
    ['this sidecar refused by what it knows', { kind: 'denied', reason: 'mtls_required' }, {}],
    ['no bundle is there for', { kind: 'handshake', reason: 'trust_domain' }, {}],
  ])('has none that %s', (_name, outcome, over) => {
    const runs = createFailureRuns();
    runs.failed(failed(1000, outcome, over));
    expect(runs.of({ kind: 'to', address: service })).toBeUndefined();
  });

  it('is counted inbound for the port whose application does not answer, and for the identity that was presented', () => {
    const runs = createFailureRuns();
    runs.failed(
      failed(
        1000,
        { kind: 'closed', reason: 'upstream_refused' },
        { direction: 'inbound', known: { originalDestination: pod } },
      ),
    );
    const presented = { ids: [web], serial: '0A', issuer: 'CN=root', notBeforeMs: 0, notAfterMs: 1 };
    runs.failed(
      failed(2000, { kind: 'handshake', reason: 'expired', facts: { presented } }, { direction: 'inbound', known: {} }),
    );
    expect(runs.of({ kind: 'port', port: 8080 })).toMatchObject({ sinceMs: 1000 });
    expect(runs.of({ kind: 'from', id: web })).toMatchObject({ sinceMs: 2000 });
    expect(runs.of({ kind: 'to', address: pod })).toBeUndefined();
    runs.carried(carried('inbound', pod, { peerId: web }));
    expect(runs.of({ kind: 'port', port: 8080 })).toBeUndefined();
    expect(runs.of({ kind: 'from', id: web })).toBeUndefined();
  });

  it('is forgotten when too many others came since, of its own direction alone', () => {
    const runs = createFailureRuns(2);
    runs.failed(failed(1000, { kind: 'closed', reason: 'upstream_timeout' }));
    for (let port = 1; port < 100; port += 1)
      runs.failed(failed(2000, refused, { direction: 'inbound', known: { originalDestination: { ...pod, port } } }));
    expect(runs.of({ kind: 'to', address: service })).toMatchObject({ failures: 1 });
    expect(runs.of({ kind: 'port', port: 1 })).toBeUndefined();
    expect(runs.of({ kind: 'port', port: 99 })).toMatchObject({ failures: 1 });
  });
});
