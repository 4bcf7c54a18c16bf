import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import type { Address } from '../../../src/addresses.ts';
import type { Destination } from '../../../src/control-api.ts';
import { ConnectionError, DeniedError, HandshakeError } from '../../../src/errors.ts';
import type { Identity } from '../../../src/identity/identity.ts';
import { admit } from '../../../src/policy/admit.ts';
import type { Leg } from '../../../src/proxy/leg.ts';
import { createAffinities } from '../../../src/proxy/outbound/affinities.ts';
import { createEndpointBook } from '../../../src/proxy/outbound/endpoint-book.ts';
import type { OpenParts } from '../../../src/proxy/outbound/open.ts';
import { maxEndpointsTried, open } from '../../../src/proxy/outbound/open.ts';
import type { TunnelPool } from '../../../src/proxy/transport/hbone/pool.ts';
import type { Tunnel } from '../../../src/proxy/transport/hbone/tunnel.ts';
import { PeerFullError } from '../../../src/proxy/transport/hbone/wire.ts';
import { captureLog } from '../../support/captured-log.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

const original = { ip: '10.96.0.10', port: 80 };
const rules = {
  policy: 'ALLOW_ANY',
  minimum: 'plaintext',
  self: { isOwnAddress: () => false, spiffeId: () => '' },
} as const;

/** A Service with endpoints 10.0.0.1, 10.0.0.2 and so on. */
function serviceOf(endpoints: number, over: Partial<Destination> = {}): Destination {
  return {
    address: '10.96.0.10:80',
    service: 'api.shop',
    ttlSeconds: 30,
    known: true,
    endpoints: Array.from({ length: endpoints }, (_, i) => ({
      address: `10.0.0.${i + 1}:80`,
      spiffeId: 'spiffe://cluster.local/ns/shop/sa/api',
      transport: 'hbone' as const,
      ready: true,
      terminating: false,
    })),
    ...over,
  };
}

/** Only what is dialled directly needs them, and nothing here is. */
const unreached = {} as Pick<OpenParts, 'observer' | 'revocations' | 'proofs'>;

const lost = () => new ConnectionError('upstream_refused', 'Nobody listens');

/** `open` in front of tunnels that are made of nothing: `errors` says by the last part of an address what becomes of them. */
function opening(errors: Record<string, () => unknown> = {}, makeStream = () => new PassThrough()) {
  const clock = createFakeClock(Date.now(), () => 0);
  const { log, lines } = captureLog();
  const dialled: string[] = [];
  const streams: PassThrough[] = [];
  const legOf = (stream: PassThrough): Leg => ({
    stream,
    endedCleanly: () => true,
    mustBeEmptied: () => false,
    closedCleanly: () => true,
    abort: () => void stream.destroy(),
    gathersWrites: false,
  });
  const id = { spiffeId: { uri: 'spiffe://cluster.local/ns/shop/sa/any' } };
  const tunnel = { mutualTls: { peer: id, local: id } } as unknown as Tunnel;
  const poolOpen = async ({ address }: { readonly address: Address }) => {
    const name = address.ip.split('.').at(-1) ?? '';
    dialled.push(name);
    const failure = await errors[name]?.();
    if (failure !== undefined) throw failure;
    const stream = makeStream();
    streams.push(stream);
    return { leg: legOf(stream), tunnel };
  };
  const endpoints = createEndpointBook({ clock, log, counter: { logLineSuppressed: () => undefined } });
  const parts = {
    clock,
    identity: { current: () => ({ notAfterMs: Number.POSITIVE_INFINITY }) as Identity },
    pool: { open: poolOpen } as unknown as TunnelPool,
    endpoints,
    affinities: createAffinities(clock),
    ...unreached,
  };
  const settings = { keepAliveMs: 0, connectTimeoutMs: 5000, handshakeTimeoutMs: 5000, hbonePort: 15008 };
  const connect = (destination: Destination, signal = new AbortController().signal) =>
    open(admit(original, { kind: 'known', destination }, rules), 'id', parts, settings, signal);
  /** Where one connection goes; the text of the failure when it goes nowhere. */
  const goes = async (destination: Destination) => {
    const before = dialled.length;
    const end = await connect(destination).then(
      () => 'open',
      (error: Error) => error.message,
    );
    return [...dialled.slice(before), end].join(' ');
  };
  return { clock, connect, goes, dialled, errors, streams, endpoints, lines };
}

describe('what becomes of an endpoint that a connection was not opened to', () => {
  const cause = (code: string, errno: number) => Object.assign(new Error(code), { code, errno });
  const unreachable = (code: string, errno: number) =>
    new ConnectionError('upstream_unreachable', code, { cause: cause(code, errno) });

  it.each<[string, unknown]>([
    ['nobody listens', lost()],
    ['it does not answer', new ConnectionError('upstream_timeout', 'x')],
    ['there is no way to it', unreachable('EHOSTUNREACH', -113)],
    ['its tunnel is lost before the answer', new ConnectionError('tunnel_lost', 'x')],
    ['the handshake is cut', new HandshakeError('reset', 'x')],
    ['the handshake takes too long', new HandshakeError('timeout', 'x')],
    ['somebody else is there', new HandshakeError('peer_identity', 'x')],
    ['its sidecar has no room', new PeerFullError('peer_refused', 'x')],
  ])('it is set aside, and another one is tried, when %s', async (_, error) => {
    const { goes, errors, endpoints } = opening({ 1: () => error });
    expect(await goes(serviceOf(2))).toBe('1 2 open');
    expect(endpoints.countSetAside()).toBe(1);
    expect(await goes(serviceOf(2))).toBe('2 open');
    delete errors['1'];
    expect(await goes(serviceOf(2))).toBe('2 open');
  });

  it.each<[string, unknown]>([
    ['this process has no descriptor left', unreachable('EMFILE', -24)],
    ['this host has no source port left', unreachable('EADDRNOTAVAIL', -99)],
    ['the handshake fails inside of this sidecar', new HandshakeError('internal', 'x')],
  ])('it is not set aside, though another one is tried, when %s', async (_, error) => {
    const { goes, endpoints } = opening({ 1: () => error });
    expect(await goes(serviceOf(2))).toBe('1 2 open');
    expect(endpoints.countSetAside()).toBe(0);
  });

  it.each<[string, unknown]>([
    ['its sidecar has decided against the connection', new DeniedError('peer_refused', 'x')],
    ['our own identity has expired', new DeniedError('identity_expired', 'x')],
    ['a limit of our own is reached', new DeniedError('connection_limit', 'x')],
    ['the sidecar stops', new DeniedError('draining', 'x')],
    ['the client gave up', new ConnectionError('reset', 'x')],
    ['something is broken', new TypeError('x')],
  ])('it is not set aside, and no other is tried, when %s', async (_, error) => {
    const { goes, endpoints } = opening({ 1: () => error });
    expect(await goes(serviceOf(2))).toBe('1 x');
    expect(endpoints.countSetAside()).toBe(0);
  });

  it('is never more than three endpoints for one connection', async () => {
    const { goes } = opening(Object.fromEntries(['1', '2', '3', '4', '5'].map((name) => [name, lost])));
    expect(maxEndpointsTried).toBe(3);
    expect(await goes(serviceOf(5))).toBe('1 2 3 Nobody listens');
  });

  it('tries first those that are not set aside, and all others after them', async () => {
    const { goes, errors } = opening({ 1: lost, 2: lost, 3: lost });
    expect(await goes(serviceOf(4))).toBe('1 2 3 Nobody listens');
    delete errors['1'];
    errors['4'] = lost;
    expect(await goes(serviceOf(4))).toBe('4 1 open');
  });

  it('goes on after the client gave up only with what it has begun', async () => {
    const gone = new AbortController();
    const { connect, endpoints } = opening({
      1: () => {
        gone.abort();
        return lost();
      },
    });
    await expect(connect(serviceOf(2), gone.signal)).rejects.toThrow('Nobody listens');
    expect(endpoints.countSetAside()).toBe(1);
  });
});

describe('a client that gives up before anybody has answered', () => {
  const gaveUp = new ConnectionError('reset', 'The client gave up');
  /** An endpoint that does not answer, and a client that waits for so long. */
  async function patience(ms: number) {
    const gone = new AbortController();
    const stage = opening({
      1: () => new Promise((resolve) => gone.signal.addEventListener('abort', () => resolve(gaveUp))),
    });
    const service = serviceOf(2, { affinitySeconds: 60 });
    const ended = expect(stage.connect(service, gone.signal)).rejects.toThrow('The client gave up');
    await stage.clock.advance(ms);
    gone.abort();
    await ended;
    return { ...stage, service };
  }

  it('says after a second that the endpoint cannot be reached, so that the next connection goes elsewhere', async () => {
    const { goes, endpoints, lines, service } = await patience(1000);
    expect(endpoints.countSetAside()).toBe(1);
    expect(lines).toMatchObject([{ outcome: 'closed', reason: 'upstream_timeout', failures: 1 }]);
    expect(await goes(service)).toBe('2 open');
  });

  it('says nothing of the endpoint before', async () => {
    const { endpoints } = await patience(999);
    expect(endpoints.countSetAside()).toBe(0);
  });
});

describe('an endpoint that is leaving and still serves', () => {
  /** The last one of three leaves. */
  const rolling = (over: (i: number) => object = () => ({})) =>
    serviceOf(3, {
      endpoints: serviceOf(3).endpoints.map((one, i) => ({ ...one, terminating: i === 2, ...over(i) })),
    });

  it('is used when none that stays can be reached, and from then on before them', async () => {
    const { goes, errors } = opening({ 1: lost, 2: lost });
    expect(await goes(rolling())).toBe('1 2 3 open');
    expect(await goes(rolling())).toBe('3 open');
    errors['3'] = lost;
    expect(await goes(rolling())).toBe('3 1 2 Nobody listens');
    delete errors['2'];
    expect(await goes(rolling())).toBe('1 2 open');
  });

  it('is not used while one that stays can be reached', async () => {
    const { goes } = opening({ 1: lost });
    expect(await goes(rolling())).toBe('1 2 open');
    for (let i = 0; i < 5; i += 1) expect(await goes(rolling())).toBe('2 open');
  });

  it('is not used in plaintext in place of sidecars that cannot be reached, now or later', async () => {
    const { goes } = opening({ 1: lost, 2: lost });
    const service = rolling((i) => (i === 2 ? { transport: 'plaintext', spiffeId: '' } : {}));
    expect(await goes(service)).toBe('1 2 Nobody listens');
    expect(await goes(service)).toBe('1 2 Nobody listens');
  });
});

describe('connections that stay open', () => {
  it('are spread evenly, and one that ends makes room where it was', async () => {
    const { clock, goes, streams } = opening();
    const went: string[] = [];
    for (let i = 0; i < 4; i += 1) went.push(await goes(serviceOf(2)));
    expect(went).toEqual(['1 open', '2 open', '1 open', '2 open']);
    // Those to the second endpoint.
    for (const stream of [streams[1], streams[3]]) stream?.destroy();
    await clock.advance(0);
    expect(await goes(serviceOf(2))).toBe('2 open');
    expect(await goes(serviceOf(2))).toBe('2 open');
    expect(await goes(serviceOf(2))).toBe('1 open');
  });

  it('are forgotten when they end, also before anybody could see it, and when they are not opened at all', async () => {
    const closed = new PassThrough().destroy();
    await once(closed, 'close');
    for (const { goes, endpoints } of [opening({}, () => closed), opening({ 1: lost })]) {
      await goes(serviceOf(1));
      expect(endpoints.countRemembered()).toBe(0);
    }
  });

  it('count from the dial on', async () => {
    const { connect, dialled } = opening({ 1: () => new Promise(() => undefined) });
    void connect(serviceOf(2));
    await connect(serviceOf(2));
    expect(dialled).toEqual(['1', '2']);
  });
});

describe('a destination with session affinity', () => {
  const sticky = (endpoints: number) => serviceOf(endpoints, { affinitySeconds: 60 });

  it('has all connections at one endpoint, those that begin together too', async () => {
    const { connect, dialled } = opening();
    await Promise.all([connect(sticky(3)), connect(sticky(3)), connect(sticky(3))]);
    await connect(sticky(3));
    expect(dialled).toEqual(['1', '1', '1', '1']);
  });

  it('stays there until there was no new connection for so long', async () => {
    const { clock, goes } = opening();
    await goes(sticky(2));
    await clock.advance(59_999);
    expect(await goes(sticky(2))).toBe('1 open');
    await clock.advance(59_999);
    expect(await goes(sticky(2))).toBe('1 open');
    await clock.advance(60_000);
    expect(await goes(sticky(2))).toBe('2 open');
    expect(await goes(sticky(2))).toBe('2 open');
  });

  it('moves when its endpoint is no longer ready, and stays where it went', async () => {
    const { goes } = opening();
    const service = sticky(2);
    expect(await goes(service)).toBe('1 open');
    expect(await goes({ ...service, endpoints: service.endpoints.slice(1) })).toBe('2 open');
    expect(await goes(service)).toBe('2 open');
  });

  it('moves when its endpoint cannot be reached, and stays where it went', async () => {
    const { clock, goes, errors } = opening({ 1: lost });
    expect(await goes(sticky(2))).toBe('1 2 open');
    delete errors['1'];
    await clock.advance(1000);
    expect(await goes(sticky(2))).toBe('2 open');
  });

  it('is of each port by itself', async () => {
    const { goes } = opening();
    expect(await goes(sticky(2))).toBe('1 open');
    expect(await goes(serviceOf(2, { address: '10.96.0.10:81', affinitySeconds: 60 }))).toBe('2 open');
    expect(await goes(sticky(2))).toBe('1 open');
  });
});

describe('a destination with one endpoint', () => {
  it('is dialled each time, whatever has failed, and nobody says that it is set aside', async () => {
    const { goes, errors, endpoints, lines } = opening({ 1: lost });
    for (let i = 0; i < 5; i += 1) expect(await goes(serviceOf(1))).toBe('1 Nobody listens');
    expect(endpoints.countSetAside()).toBe(0);
    expect(lines).toEqual([]);
    delete errors['1'];
    expect(await goes(serviceOf(1))).toBe('1 open');
  });

  it('is dialled when connections to a larger Service have set it aside', async () => {
    const { goes } = opening({ 1: lost });
    await goes(serviceOf(2));
    expect(await goes(serviceOf(1))).toBe('1 Nobody listens');
  });
});

describe('an endpoint that was set aside', () => {
  it('gets one connection after its time, and is back when that one is opened', async () => {
    const { clock, goes, errors, lines } = opening({ 1: lost });
    await goes(serviceOf(2));
    await clock.advance(499);
    expect(await goes(serviceOf(2))).toBe('2 open');
    await clock.advance(1);
    expect(await goes(serviceOf(2))).toBe('1 2 open');
    delete errors['1'];
    await clock.advance(1000);
    expect(await goes(serviceOf(2))).toBe('1 open');
    expect(lines.map(({ msg }) => msg)).toEqual(['Endpoint set aside', 'Endpoint set aside', 'Endpoint taken back']);
  });

  it('is not waited for by a second connection while the first one tries it', async () => {
    const { clock, connect, dialled, goes, errors } = opening({ 1: lost });
    await goes(serviceOf(2));
    await clock.advance(500);
    const { promise: answer, resolve } = Promise.withResolvers<void>();
    errors['1'] = () => answer;
    const trial = connect(serviceOf(2));
    expect(await goes(serviceOf(2))).toBe('2 open');
    expect(dialled.slice(-2)).toEqual(['1', '2']);
    resolve();
    await trial;
    expect(await goes(serviceOf(2))).toBe('1 open');
  });

  it('starts clean under another identity', async () => {
    const { goes, errors } = opening({ 1: lost });
    const service = serviceOf(2);
    expect(await goes(service)).toBe('1 2 open');
    delete errors['1'];
    const [first, second] = service.endpoints;
    const replaced = { ...first, spiffeId: 'spiffe://cluster.local/ns/shop/sa/next' } as (typeof service.endpoints)[0];
    expect(await goes({ ...service, endpoints: [replaced, second as typeof replaced] })).toBe('1 open');
  });
});
