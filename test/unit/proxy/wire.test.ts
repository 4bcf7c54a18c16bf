import type { IncomingHttpHeaders } from 'node:http2';
import { describe, expect, it } from 'vitest';
import { ConnectionError, DeniedError, HandshakeError } from '../../../src/errors.ts';
import { closedReasons, deniedReasons, handshakeReasons } from '../../../src/outcomes.ts';
import {
  connectHeaders,
  connectionIdOf,
  destinationOf,
  PeerFullError,
  refusalFrom,
  refusalHeaders,
} from '../../../src/proxy/transport/hbone/wire.ts';

const request = (authority: string | undefined, over: IncomingHttpHeaders = {}): IncomingHttpHeaders => ({
  ':method': 'CONNECT',
  ':authority': authority,
  ...over,
});

describe('a request for a connection', () => {
  it.each(['10.0.0.7:80', '[fd00::7]:8080'])('names %s and gets it back', (authority) => {
    const address = destinationOf(request(authority));
    expect(connectHeaders(address, 'a-1')[':authority']).toBe(authority);
  });

  it('reads every spelling of an address as the one it means', () => {
    expect(destinationOf(request('[FD00:0:0::7]:80'))).toEqual({ ip: 'fd00::7', port: 80 });
    expect(destinationOf(request('[::ffff:127.0.0.1]:80'))).toEqual({ ip: '127.0.0.1', port: 80 });
    expect(destinationOf(request('[::ffff:7f00:1]:80'))).toEqual({ ip: '127.0.0.1', port: 80 });
  });

  it.each([
    'api.shop:80',
    '10.0.0.7',
    '10.0.0.7:0',
    '10.0.0.7:65536',
    '10.0.0.7:080',
    '10.0.0.7:80x',
    ' 10.0.0.7:80',
    '010.0.0.7:80',
    '10.7:80',
    '0x0a000007:80',
    'fd00::7:80',
    '[fe80::1%eth0]:80',
    '[10.0.0.7]:80:80',
    'user@10.0.0.7:80',
    '',
    undefined,
  ])('N15: is refused for the authority %s', (authority) => {
    expect(() => destinationOf(request(authority))).toThrow(DeniedError);
  });

  it.each([{ ':method': 'GET' }, { ':method': 'connect' }, { ':protocol': 'websocket' }])(
    'L13: is refused with %o',
    (over) => {
      expect(() => destinationOf(request('10.0.0.7:80', over))).toThrow(DeniedError);
    },
  );

  it('carries an id that cannot forge a log line', () => {
    const idOf = (id: string | string[]) => connectionIdOf({ 'remora-connection-id': id });
    expect(idOf('a1b2-3z')).toBe('a1b2-3z');
    for (const id of ['', 'a'.repeat(41), 'A', 'a b', 'a\n{"level":"error"}', 'é', '"'])
      expect(idOf(id)).toBeUndefined();
    expect(idOf(['a', 'b'])).toBeUndefined();
  });
});

describe('a refusal', () => {
  it('says the reason and the id of the connection, and nothing else', () => {
    expect(refusalHeaders(new DeniedError('policy_deny', 'Policy no-batch denies'), 'a-1')).toEqual({
      ':status': 403,
      'remora-reason': 'policy_deny',
      'remora-connection-id': 'a-1',
    });
    expect(refusalHeaders(new ConnectionError('upstream_refused', 'connect ECONNREFUSED'), 'a-1')[':status']).toBe(503);
  });

  it.each(['upstream_refused', 'upstream_timeout', 'upstream_unreachable'] as const)(
    'is the same outcome at the other side for an application that could not be reached: %s',
    (reason) => {
      const error = refusalFrom({ ':status': 503, 'remora-reason': reason });
      expect(error).toMatchObject({
        name: 'ConnectionError',
        reason,
        facts: { other: { outcome: 'closed', reason } },
      });
    },
  );

  it('brings every reason that the other side can have in its log, by the list that it is of', () => {
    const lists = { denied: deniedReasons, handshake: handshakeReasons, closed: closedReasons };
    const errors = { denied: DeniedError, handshake: HandshakeError, closed: ConnectionError };
    for (const outcome of ['denied', 'handshake', 'closed'] as const) {
      for (const reason of Object.keys(lists[outcome])) {
        const error = new errors[outcome](reason as never, 'x');
        const sent = refusalHeaders(error, 'a-1');
        // What failed inside is said without a list: in both it means the same.
        const listed = outcome === 'handshake' && reason === 'internal' ? 'denied' : outcome;
        expect(refusalFrom(sent)).toMatchObject({ facts: { other: { outcome: listed, reason } } });
      }
    }
  });

  it('is never taken for a verdict of ours on the peer', () => {
    for (const reason of [...Object.keys(handshakeReasons), ...Object.keys(deniedReasons)])
      expect(refusalFrom({ ':status': 403, 'remora-reason': reason })).toMatchObject({ reason: 'peer_refused' });
    for (const reason of ['revoked', 'bundle_change', 'draining', 'tunnel_lost', 'eof'])
      expect(refusalFrom({ ':status': 503, 'remora-reason': reason })).toMatchObject({ reason: 'peer_refused' });
  });

  it.each([
    ['connection_limit', true],
    ['memory_pressure', true],
    ['descriptor_limit', true],
    ['stream_limit', true],
    ['default_deny', false],
    ['policy_unavailable', false],
    ['no such reason', false],
  ])('says whether the other side has no room, which is no decision: %s, %s', (reason, isFull) => {
    const error = refusalFrom({ ':status': 403, 'remora-reason': reason });
    expect(error).toMatchObject({ reason: 'peer_refused' });
    expect(error instanceof PeerFullError).toBe(isFull);
  });

  it('is peer_refused for a decision of the other side, with its reason in the words', () => {
    const error = refusalFrom({ ':status': 403, 'remora-reason': 'policy_deny' });
    expect(error).toMatchObject({ name: 'DeniedError', reason: 'peer_refused' });
    expect(error.message).toContain('policy_deny');
  });

  it.each(['x\n{"level":"error"}', 'constructor', '__proto__', ''])(
    'shows nothing of the unknown reason %j',
    (reason) => {
      const error = refusalFrom({ ':status': 403, 'remora-reason': reason });
      expect(error).toMatchObject({ name: 'DeniedError', reason: 'peer_refused' });
      expect(error.message).toBe('The sidecar of the other side answered 403 without a reason');
      expect(error).toMatchObject({ facts: { other: undefined } });
    },
  );
});
