import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { ConnectionError, DeniedError, HandshakeError } from '../../../src/errors.ts';
import { createLog } from '../../../src/log.ts';
import type { AccessLog } from '../../../src/logging.ts';
import { closedReasons, deniedReasons, handshakeReasons } from '../../../src/outcomes.ts';
import type { Observer } from '../../../src/proxy/account.ts';
import { createAccounts, outcomeOf } from '../../../src/proxy/account.ts';
import { createRefusalLines } from '../../../src/proxy/refusal-lines.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

function scene(accessLog?: AccessLog) {
  const lines: Record<string, unknown>[] = [];
  const events: unknown[][] = [];
  const output = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(JSON.parse(chunk.toString()));
      done();
    },
  });
  const observer = new Proxy({} as Observer, {
    get:
      (_target, event) =>
      (...args: unknown[]) => {
        events.push([event, ...args]);
      },
  });
  const clock = createFakeClock(Date.parse('2026-01-02T03:04:05Z'));
  const log = createLog('info', output);
  const refusals = createRefusalLines({ counter: observer, log, clock });
  return {
    accounts: createAccounts({
      observer,
      refusals,
      log,
      clock,
      clockSkewMs: () => -90_000,
      ...(accessLog && { accessLog: () => accessLog }),
    }),
    lines,
    events,
    clock,
  };
}

const from = (port: number) => ({ ip: '10.0.0.9', port });

const facts = {
  transport: 'hbone',
  security: 'mutual_tls',
  originalDestination: { ip: 'fd00::7', port: 80 },
  peerId: 'spiffe://cluster.local/ns/shop/sa/web',
} as const;

describe('an account', () => {
  it('is one log line with addresses, identities, bytes and duration, and one count at each turn', async () => {
    const { accounts, lines, events, clock } = scene();
    const bytes = { bytesSent: 0, bytesReceived: 0 };
    const account = accounts.open({ direction: 'inbound', peerAddress: from(40112), id: 'abc-1' });
    account.established(facts, bytes);
    expect([...accounts.live()]).toMatchObject([{ id: 'abc-1', facts }]);
    bytes.bytesSent = 5;
    await clock.advance(1500);
    account.close({ kind: 'closed', reason: 'eof' });
    expect([...accounts.live()]).toEqual([]);
    expect(lines).toMatchObject([
      {
        level: 'info',
        msg: 'Connection closed',
        id: 'abc-1',
        direction: 'inbound',
        peerAddress: '10.0.0.9:40112',
        originalDestination: '[fd00::7]:80',
        peerId: facts.peerId,
        bytesSent: 5,
        bytesReceived: 0,
        durationMs: 1500,
        openedAt: '2026-01-02T03:04:05.000Z',
        reason: 'eof',
      },
    ]);
    const carried = { id: 'abc-1', direction: 'inbound', peerAddress: from(40112), facts, bytes };
    expect(events).toMatchObject([
      ['connectionOpened', carried],
      ['connectionClosed', carried, 'eof'],
    ]);
  });

  it('says a refusal in words, with what to do, and counts it once', () => {
    const { accounts, lines, events } = scene();
    accounts
      .open({ direction: 'outbound', peerAddress: from(1) })
      .close(outcomeOf(new DeniedError('self_call', 'it dialled 15001')));
    expect(lines).toMatchObject([
      {
        level: 'warn',
        msg: deniedReasons.self_call.happened,
        remedy: deniedReasons.self_call.remedy,
        reason: 'self_call',
        detail: 'it dialled 15001',
      },
    ]);
    expect(events).toEqual([['connectionDenied', 'outbound', 'self_call']]);
  });

  it('counts a connection that could not be made, but was never carried, as such', () => {
    const { accounts, events } = scene();
    accounts
      .open({ direction: 'outbound', peerAddress: from(1) })
      .close(outcomeOf(new ConnectionError('upstream_refused', 'no')));
    expect(events).toEqual([['connectionFailed', 'outbound', 'upstream_refused']]);
  });

  it('leaves the count of a failed handshake to the handshake', () => {
    const { accounts, events, lines } = scene();
    accounts
      .open({ direction: 'inbound', peerAddress: from(1) })
      .close(outcomeOf(new HandshakeError('expired', 'old')));
    expect(events).toEqual([]);
    expect(lines).toMatchObject([{ outcome: 'handshake', reason: 'expired' }]);
  });

  it('is counted when its line is left out of a flood of refusals, which hides nobody who was carried', () => {
    const { accounts, lines, events } = scene();
    const bytes = { bytesSent: 0, bytesReceived: 0 };
    for (let number = 0; number < 1000; number += 1) {
      accounts
        .open({ direction: 'inbound', peerAddress: from(1) })
        .close(outcomeOf(new ConnectionError('reset', 'gone')));
      const served = accounts.open({ direction: 'inbound', peerAddress: from(2) });
      served.established(facts, bytes);
      served.close({ kind: 'closed', reason: 'reset' });
    }
    expect(lines.filter(({ peerAddress }) => peerAddress === '10.0.0.9:1').length).toBeLessThan(100);
    expect(lines.filter(({ peerAddress }) => peerAddress === '10.0.0.9:2')).toHaveLength(1000);
    expect(events.filter(([event]) => event === 'connectionFailed')).toHaveLength(1000);
  });

  it.each([
    ['all', ['eof', 'reset', 'default_deny']],
    ['failures', ['reset', 'default_deny']],
    ['off', []],
  ] as const)('has its line when the access log is %s, and is counted anyway', (accessLog, reasons) => {
    const { accounts, lines, events } = scene(accessLog);
    for (const reason of ['eof', 'reset'] as const) {
      const carried = accounts.open({ direction: 'inbound', peerAddress: from(1) });
      carried.established(facts, { bytesSent: 0, bytesReceived: 0 });
      carried.close({ kind: 'closed', reason });
    }
    accounts.open({ direction: 'inbound', peerAddress: from(1) }).close({ kind: 'denied', reason: 'default_deny' });
    expect(lines.map(({ reason }) => reason)).toEqual(reasons);
    expect(events.map(([event]) => event)).toEqual(
      expect.arrayContaining(['connectionClosed', 'connectionClosed', 'connectionDenied']),
    );
    expect(events.map(([event]) => event)).not.toContain('logLineSuppressed');
  });

  it('says all that is known of a peer that was refused, and how far off its dates are', () => {
    const { accounts, lines } = scene();
    const presented = {
      ids: ['spiffe://cluster.local/ns/shop/sa/api'],
      serial: '0A',
      issuer: 'CN=Issuer',
      notBeforeMs: Date.parse('2026-01-02T02:00:00Z'),
      notAfterMs: Date.parse('2026-01-02T03:04:00Z'),
    };
    const error = new HandshakeError('expired', 'The server was refused', {
      facts: {
        expectedId: 'spiffe://cluster.local/ns/shop/sa/db',
        presented,
        tunnelFrom: '10.0.0.5:1',
        service: 'db.shop',
      },
    });
    accounts.open({ direction: 'outbound', peerAddress: from(1) }).close(outcomeOf(error));
    expect(lines).toMatchObject([
      {
        outcome: 'handshake',
        reason: 'expired',
        expectedId: 'spiffe://cluster.local/ns/shop/sa/db',
        presentedId: 'spiffe://cluster.local/ns/shop/sa/api',
        presentedSerial: '0A',
        presentedIssuer: 'CN=Issuer',
        presentedNotBefore: '2026-01-02T02:00:00.000Z',
        presentedNotAfter: '2026-01-02T03:04:00.000Z',
        expiredForSeconds: 5,
        clockSkewSeconds: -90,
        tunnelFrom: '10.0.0.5:1',
        service: 'db.shop',
      },
    ]);
    expect(lines[0]).not.toHaveProperty('validInSeconds');
  });

  it('says in whose words the other side refused, and that its application is the one that cannot be reached', () => {
    const { accounts, lines } = scene();
    const refused = new DeniedError('peer_refused', 'It answered', {
      facts: { other: { outcome: 'handshake', reason: 'revoked' } },
    });
    const away = new ConnectionError('upstream_refused', 'It answered', {
      facts: { other: { outcome: 'closed', reason: 'upstream_refused' } },
    });
    const full = new DeniedError('peer_refused', 'It answered', {
      facts: { other: { outcome: 'denied', reason: 'connection_limit' } },
    });
    for (const error of [refused, away, full])
      accounts.open({ direction: 'outbound', peerAddress: from(1) }).close(outcomeOf(error));
    expect(lines).toMatchObject([
      {
        reason: 'peer_refused',
        msg: deniedReasons.peer_refused.happened,
        otherReason: 'revoked',
        otherHappened: handshakeReasons.revoked.happened,
        otherRemedy: handshakeReasons.revoked.remedy,
      },
      {
        reason: 'upstream_refused',
        otherReason: 'upstream_refused',
        msg: expect.stringContaining('the other side'),
        remedy: expect.stringContaining('a line with the same id'),
      },
      { reason: 'peer_refused', msg: 'The sidecar of the other side has no room for the connection' },
    ]);
  });

  it('says that it was a sidecar that could not be reached, and not the application', () => {
    const { accounts, lines } = scene();
    const facts = { tunnelTo: '10.0.0.7:15008' };
    for (const known of [facts, { ...facts, tunnel: 'a1b2c3d4e5f6' }])
      accounts
        .open({ direction: 'outbound', peerAddress: from(1) })
        .close(outcomeOf(new ConnectionError('upstream_timeout', 'late', { facts: known })));
    expect(lines.map(({ msg }) => msg)).toEqual([
      `${closedReasons.upstream_timeout.happened}; it was the sidecar of the other side that was dialled`,
      `${closedReasons.upstream_timeout.happened}; its sidecar did not answer in the tunnel`,
    ]);
    for (const { remedy } of lines) expect(remedy).toContain('NetworkPolicy');
  });

  it('cannot be closed twice', () => {
    const { accounts } = scene();
    const account = accounts.open({ direction: 'inbound', peerAddress: from(1) });
    account.close({ kind: 'closed', reason: 'eof' });
    expect(() => account.close({ kind: 'closed', reason: 'eof' })).toThrow(TypeError);
  });

  it('has an id of its own that no other has', () => {
    const { accounts } = scene();
    const ids = Array.from({ length: 100 }, () => accounts.open({ direction: 'inbound', peerAddress: from(1) }).id);
    expect(new Set(ids).size).toBe(100);
  });

  it('stands for an unexpected error as internal, with its message on one line', () => {
    expect(outcomeOf(new Error('a\nb'))).toEqual({ kind: 'denied', reason: 'internal', detail: 'a b' });
  });
});

describe('what policies say of a connection', () => {
  const bytes = { bytesSent: 0, bytesReceived: 0 };
  const audited = { audited: ['shop/watch'] };

  it('is that of the last decision, so that the line of one that was cut names the policy that cut it', () => {
    const { accounts, lines } = scene();
    for (const decision of [{ policy: 'shop/deny' }, undefined]) {
      const account = accounts.open({ direction: 'inbound', peerAddress: from(1) });
      account.established({ ...facts, decision: { policy: 'shop/allow' } }, bytes);
      account.close({ kind: 'closed', reason: 'policy_change', facts: { decision } });
    }
    expect(lines.map(({ policy }) => policy)).toEqual(['shop/deny', 'shop/allow']);
  });

  it('is counted once: when it is carried, or when it is refused', () => {
    const { accounts, events } = scene();
    const carried = accounts.open({ direction: 'inbound', peerAddress: from(1) });
    carried.established({ ...facts, decision: audited }, bytes);
    carried.close({ kind: 'closed', reason: 'policy_change', facts: { decision: audited } });
    const refused = accounts.open({ direction: 'inbound', peerAddress: from(2) });
    refused.close({ kind: 'denied', reason: 'policy_deny', facts: { decision: audited } });
    accounts.open({ direction: 'inbound', peerAddress: from(3) }).close({ kind: 'denied', reason: 'draining' });
    expect(events.filter(([event]) => event === 'connectionJudged')).toEqual([
      ['connectionJudged', audited, 'allowed'],
      ['connectionJudged', audited, 'denied'],
    ]);
  });

  it.each([
    ['all', 2],
    ['failures', 1],
    ['off', 0],
  ] as const)('has its line when it is audited, unless the access log is off: %s, %i lines', (accessLog, count) => {
    const { accounts, lines } = scene(accessLog);
    for (const decision of [audited, undefined]) {
      const account = accounts.open({ direction: 'inbound', peerAddress: from(1) });
      account.established({ ...facts, decision }, bytes);
      account.close({ kind: 'closed', reason: 'eof' });
    }
    expect(lines).toHaveLength(count);
  });
});
