import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { Address } from '../../../src/addresses.ts';
import { formatAddress } from '../../../src/addresses.ts';
import type { Endpoint } from '../../../src/control-api.ts';
import type { OutboundSettings } from '../../../src/proxy/outbound/capture.ts';
import type { Lookup } from '../../../src/proxy/outbound/resolve.ts';
import type { DataPlaneOptions, RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';
import { ending, readAll } from '../../support/sockets.ts';

const authority = createTestAuthority('cluster.local');
const identityOf = (serviceAccount: string) => createTestIdentity(authority, { namespace: 'shop', serviceAccount });
const apiId = 'spiffe://cluster.local/ns/shop/sa/api';
const service = { ip: '10.96.0.10', port: 80 };

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

async function application(text: string): Promise<Address> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined);
    socket.end(text);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => server.close());
  return { ip: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

interface Capture {
  /** Where the kernel says that the next connection was going. */
  readonly goingTo: Address | undefined;
  lookup?(address: Address, signal: AbortSignal): Promise<Lookup>;
  readonly settings?: Partial<OutboundSettings>;
  readonly hbonePort?: number;
  readonly options?: Partial<DataPlaneOptions>;
}

/** A sidecar that captures what is dialled on its outbound port, as if the rules had brought it there. */
async function capturing({ goingTo, lookup, settings, hbonePort, options }: Capture): Promise<RunningDataPlane> {
  const asked = lookup ?? (() => Promise.reject(new Error('The registry must not be asked')));
  const plane = await runDataPlane({
    identity: identityOf('web'),
    ...(hbonePort !== undefined && { hbonePort }),
    ...options,
    parts: { originalDestination: () => goingTo, registry: { lookup: asked }, ...options?.parts },
    adjust: (all) => ({
      ...all,
      listen: { ...all.listen, outbound: [{ ip: '127.0.0.1', port: 0 }] },
      outbound: {
        ...all.outbound,
        reservedPorts: new Set([15001]),
        meshNetworks: { has: (ip) => ip.startsWith('10.') },
        probeAnswer: 'it was me',
        ...settings,
      },
    }),
  });
  cleanups.push(() => plane.stop());
  return plane;
}

async function dial(plane: RunningDataPlane): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port: plane.addresses.outbound[0]?.port ?? 0, allowHalfOpen: true });
  socket.on('error', () => undefined);
  cleanups.push(() => socket.destroy());
  await Promise.race([once(socket, 'connect'), once(socket, 'close')]).catch(() => undefined);
  return socket;
}

const known = (...endpoints: Partial<Endpoint>[]): (() => Promise<Lookup>) => {
  const complete = endpoints.map((endpoint) => ({
    address: '127.0.0.1:1',
    spiffeId: apiId,
    transport: 'hbone' as const,
    ready: true,
    terminating: false,
    ...endpoint,
  }));
  const destination = {
    address: formatAddress(service),
    service: 'api.shop',
    endpoints: complete,
    ttlSeconds: 300,
    known: true,
  };
  return async () => ({ kind: 'known', destination });
};

/** A registry that says nothing until it is told to stop, and the moment at which it was asked. */
function untilAborted() {
  const asked = Promise.withResolvers<void>();
  const lookup = async (_address: Address, signal: AbortSignal): Promise<Lookup> => {
    asked.resolve();
    await once(signal, 'abort');
    return { kind: 'unavailable', why: 'aborted' };
  };
  return { asked: asked.promise, lookup };
}

async function sidecarOf(serviceAccount: string, delivery: Address): Promise<number> {
  const plane = await runDataPlane({ identity: identityOf(serviceAccount), deliveries: [delivery] });
  cleanups.push(() => plane.stop());
  return plane.addresses.hbone[0]?.port ?? 0;
}

describe('a captured connection', () => {
  it('goes to an endpoint of the Service through its tunnel', async () => {
    const api = await application('hello from api');
    const plane = await capturing({
      goingTo: service,
      lookup: known({ address: formatAddress(api) }),
      hbonePort: await sidecarOf('api', api),
    });
    expect((await readAll(await dial(plane))).toString()).toBe('hello from api');
    const facts = {
      service: 'api.shop',
      originalDestination: '10.96.0.10:80',
      endpoint: formatAddress(api),
      peerId: apiId,
    };
    const client = await dial(plane);
    client.end();
    await readAll(client);
    expect(await plane.line({ reason: 'eof' })).toMatchObject(facts);
  });

  it.each<[string, string, Partial<Capture>, string]>([
    ['L9: whose destination the kernel does not know', 'denied', { goingTo: undefined }, 'no_original_destination'],
    ['L1: that was going to a port of a sidecar', 'denied', { goingTo: { ip: '10.0.0.7', port: 15001 } }, 'self_call'],
    ['that the registry does not know', 'denied', { lookup: async () => ({ kind: 'unknown' }) }, 'unknown_destination'],
    ['without a ready endpoint', 'denied', { lookup: known({ ready: false }) }, 'no_endpoint'],
    [
      'whose endpoint has no well-formed identity',
      'handshake',
      { lookup: known({ spiffeId: 'nobody' }) },
      'peer_identity',
    ],
    [
      'of another trust domain',
      'handshake',
      { lookup: known({ spiffeId: 'spiffe://other.example/ns/a/sa/b' }) },
      'trust_domain',
    ],
    ['to an endpoint where nothing listens', 'closed', { lookup: known({}), hbonePort: 1 }, 'upstream_refused'],
    [
      'to nobody, while the registry fails',
      'denied',
      { lookup: () => Promise.reject(new Error('broken')) },
      'internal',
    ],
  ])('is refused: one %s', async (_name, outcome, over, reason) => {
    const plane = await capturing({
      goingTo: service,
      ...over,
      ...(reason === 'trust_domain' && { hbonePort: (await application('')).port }),
    });
    expect(await ending(await dial(plane))).toBe('reset');
    expect(await plane.line({ direction: 'outbound' })).toMatchObject({ outcome, reason });
  });

  it('is refused as control_plane_unavailable when the registry says nothing until the deadline', async () => {
    const clock = createFakeClock();
    const asked = Promise.withResolvers<void>();
    const silent = () => {
      asked.resolve();
      return new Promise<Lookup>(() => undefined);
    };
    // The registry answers or rejects when its signal is aborted; this one rejects.
    const lookup = (_address: Address, signal: AbortSignal) =>
      Promise.race([silent(), once(signal, 'abort').then(() => Promise.reject(signal.reason))]);
    const plane = await capturing({ goingTo: service, lookup, options: { clock } });
    const seen = ending(await dial(plane));
    await asked.promise;
    await clock.advance(5_000);
    expect(await seen).toBe('reset');
    expect(await plane.line({ direction: 'outbound' })).toMatchObject({
      outcome: 'denied',
      reason: 'control_plane_unavailable',
    });
  });

  it('is over when its client gives up while the registry is asked', async () => {
    const { asked, lookup } = untilAborted();
    const plane = await capturing({ goingTo: service, lookup });
    const client = await dial(plane);
    await asked;
    client.resetAndDestroy();
    expect(await plane.line({ direction: 'outbound' })).toMatchObject({ outcome: 'closed', reason: 'reset' });
  });

  it('tries another endpoint when one turns out to be somebody else', async () => {
    const api = await application('hello from api');
    const hbonePort = await sidecarOf('api', api);
    // The same sidecar answers for both, but the first entry expects somebody else there.
    const lookup = known(
      { address: formatAddress(api), spiffeId: 'spiffe://cluster.local/ns/shop/sa/other' },
      { address: formatAddress(api) },
    );
    const clock = createFakeClock(Date.now(), () => 0);
    const plane = await capturing({ goingTo: service, lookup, hbonePort, options: { clock } });
    expect((await readAll(await dial(plane))).toString()).toBe('hello from api');
    expect(plane.observed.filter(({ event }) => event === 'handshakeFailed')).toEqual([
      { event: 'handshakeFailed', args: ['outbound', 'peer_identity'] },
    ]);
  });

  it.each([['an address outside the mesh networks', { ip: '127.0.0.1', port: 0 }]])(
    'L6: passes through to %s as it is, without asking the registry',
    async (_name, { ip }) => {
      const outside = await application('hello from outside');
      const plane = await capturing({ goingTo: { ip, port: outside.port } });
      expect((await readAll(await dial(plane))).toString()).toBe('hello from outside');
      expect([...plane.accounts.live()].map(({ facts }) => facts)).toMatchObject([
        { transport: 'plaintext', security: 'plaintext' },
      ]);
    },
  );

  it('is refused outside the mesh networks under REGISTRY_ONLY', async () => {
    const rules = {
      policy: 'REGISTRY_ONLY',
      minimum: 'plaintext',
      self: { isOwnAddress: () => false, spiffeId: () => '' },
    } as const;
    const plane = await capturing({ goingTo: { ip: '192.0.2.7', port: 80 }, settings: { rules } });
    expect(await ending(await dial(plane))).toBe('reset');
    expect(await plane.line({ direction: 'outbound' })).toMatchObject({
      outcome: 'denied',
      reason: 'unknown_destination',
    });
  });

  describe('to an address that a ServiceEntry registers', () => {
    const registered = [{ cidr: '203.0.113.0/24', ports: [443] }];
    const outside = { ip: '203.0.113.7', port: 443 };
    const told = { policy: { current: () => ({ mode: 'STRICT', registered }) as const } };
    const rules = (policy: 'ALLOW_ANY' | 'REGISTRY_ONLY') => ({
      rules: { policy, minimum: 'plaintext', self: { isOwnAddress: () => false, spiffeId: () => '' } } as const,
    });

    it.each(['ALLOW_ANY', 'REGISTRY_ONLY'] as const)('goes where the registry says, under %s', async (policy) => {
      const db = await application('hello from db');
      const lookup = known({ address: formatAddress(db), transport: 'plaintext', spiffeId: '' });
      const plane = await capturing({ goingTo: outside, lookup, settings: rules(policy), options: { parts: told } });
      expect((await readAll(await dial(plane))).toString()).toBe('hello from db');
    });

    it.each<[string, Partial<Capture>, string]>([
      ['the registry does not know', { lookup: async () => ({ kind: 'unknown' }) }, 'unknown_destination'],
      [
        'nobody answers for',
        { lookup: async () => ({ kind: 'unavailable', why: 'it is away' }) },
        'control_plane_unavailable',
      ],
      ['has no endpoint', { lookup: known() }, 'no_endpoint'],
    ])('is refused under ALLOW_ANY: one that %s', async (_name, over, reason) => {
      const plane = await capturing({ goingTo: outside, ...over, options: { parts: told } });
      expect(await ending(await dial(plane))).toBe('reset');
      expect(await plane.line({ direction: 'outbound' })).toMatchObject({ outcome: 'denied', reason });
    });

    it.each<[string, Address]>([
      ['another port', { ...outside, port: 444 }],
      ['another address', { ...outside, ip: '203.0.114.7' }],
    ])('is that port and that range alone: %s is refused under REGISTRY_ONLY', async (_name, goingTo) => {
      const plane = await capturing({ goingTo, settings: rules('REGISTRY_ONLY'), options: { parts: told } });
      expect(await ending(await dial(plane))).toBe('reset');
      expect(await plane.line({ direction: 'outbound' })).toMatchObject({ reason: 'unknown_destination' });
    });
  });

  it('is refused as policy_unavailable outside the mesh networks while there is no policy, and asked for inside', async () => {
    const api = await application('hello from api');
    const lookup = known({ address: formatAddress(api), transport: 'plaintext', spiffeId: '' });
    let goingTo = { ip: '203.0.113.7', port: 443 };
    const parts = { policy: { current: () => undefined }, originalDestination: () => goingTo, registry: { lookup } };
    const plane = await capturing({ goingTo, options: { parts } });
    expect(await ending(await dial(plane))).toBe('reset');
    expect(await plane.line({ outcome: 'denied', reason: 'policy_unavailable' })).toMatchObject({
      direction: 'outbound',
    });
    goingTo = service;
    expect((await readAll(await dial(plane))).toString()).toBe('hello from api');
  });

  it('is never sent in clear when its endpoint has a sidecar that does not answer', async () => {
    let plaintext = 0;
    const port = await new Promise<number>((resolve) => {
      const server = createServer(() => {
        plaintext += 1;
      });
      server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
      cleanups.push(() => server.close());
    });
    const plane = await capturing({ goingTo: service, lookup: known({ address: `127.0.0.1:${port}` }), hbonePort: 1 });
    const client = await dial(plane);
    client.write('secret');
    expect(await ending(client)).toBe('reset');
    expect(plaintext).toBe(0);
  });

  it('is never sent in clear to another endpoint either, after a handshake that somebody cut', async () => {
    const outside = await application('plaintext');
    const lookup = known({}, { address: formatAddress(outside), transport: 'plaintext', spiffeId: '' });
    // The endpoint with a sidecar comes first, and nobody answers there.
    const clock = createFakeClock(Date.now(), () => 0);
    const plane = await capturing({ goingTo: service, lookup, hbonePort: 1, options: { clock } });
    expect(await ending(await dial(plane))).toBe('reset');
    expect(await plane.line({ direction: 'outbound' })).toMatchObject({
      outcome: 'closed',
      reason: 'upstream_refused',
    });
  });

  it('is ended by a stop while it is still being opened, and counted as forced', async () => {
    const { asked, lookup } = untilAborted();
    const plane = await capturing({ goingTo: service, lookup });
    const seen = ending(await dial(plane));
    await asked;
    expect(await plane.drain.finish(0)).toBe(1);
    expect(await seen).toBe('reset');
    await plane.line({ direction: 'outbound' });
    expect(plane.drain.size).toBe(0);
  });

  it.each([15002, 15003])(
    'answers the capture probe on port %i with its own word, and opens no account',
    async (port) => {
      const plane = await capturing({ goingTo: { ip: '192.0.2.1', port } });
      expect((await readAll(await dial(plane))).toString()).toBe('it was me');
      expect(plane.lines).toEqual([]);
    },
  );
});
