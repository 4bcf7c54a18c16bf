import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { Address } from '../../../src/addresses.ts';
import { formatAddress } from '../../../src/addresses.ts';
import type { ShownFailure } from '../../../src/admin-api.ts';
import { wholePod } from '../../../src/annotations.ts';
import { createCaptureRules, withinPodRule } from '../../../src/capture-scope.ts';
import type { AuthorizationPolicy, Destination, Endpoint, PolicyState } from '../../../src/control-api.ts';
import { DeniedError } from '../../../src/errors.ts';
import { createRevocations } from '../../../src/identity/revocations.ts';
import type { Mode } from '../../../src/policy/mode.ts';
import { reservedInbound, sidecarPorts } from '../../../src/ports.ts';
import { maxOwnPorts } from '../../../src/proxy/explain/inbound-ports.ts';
import { createNameExplainer } from '../../../src/proxy/explain/lookup.ts';
import { createPodGuard } from '../../../src/proxy/inbound/guard.ts';
import type { OutboundSettings } from '../../../src/proxy/outbound/capture.ts';
import type { Lookup } from '../../../src/proxy/outbound/resolve.ts';
import type { RecentFailures } from '../../../src/proxy/recent-failures.ts';
import { createSlots } from '../../../src/proxy/slots.ts';
import type { DataPlaneOptions, RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import type { Explaining } from '../../support/explaining.ts';
import { explaining } from '../../support/explaining.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { bundlesOf, createTestAuthority, createTestIdentity } from '../../support/identities.ts';
import { readAll } from '../../support/sockets.ts';

/*
 * Goal: what is said of a connection before it is made is what happens to it. Method: real sidecars on loopback; each
 * situation is explained, then a real connection is made, and its log line is compared with what was said.
 */

const authority = createTestAuthority('cluster.local');
const otherAuthority = createTestAuthority('other.example');
const identityOf = (serviceAccount: string) => createTestIdentity(authority, { namespace: 'shop', serviceAccount });
const idOf = (serviceAccount: string) => `spiffe://cluster.local/ns/shop/sa/${serviceAccount}`;
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

/** It accepts connections, and says nothing. */
async function silentApplication(): Promise<Address> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    cleanups.push(() => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => server.close());
  return { ip: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

/** Failures of many kinds, the latest first. */
function someFailures(): RecentFailures {
  const failed = (id: string, over: Partial<ShownFailure>): ShownFailure => ({
    id,
    direction: 'outbound',
    peerAddress: '127.0.0.1:40000',
    openedAt: '2026-11-22T12:00:00.000Z',
    at: '2026-11-22T12:00:00.000Z',
    durationMs: 0,
    outcome: 'denied',
    reason: 'internal',
    happened: 'It failed',
    remedy: 'None',
    ...over,
  });
  const inbound = { direction: 'inbound', originalDestination: '10.96.0.10:80' } as const;
  const all = [
    failed('plaintext', { ...inbound, peerAddress: '10.0.0.66:40000' }),
    failed('presented', { direction: 'inbound', presentedId: idOf('web') }),
    failed('tunnel', { direction: 'inbound', peerAddress: '10.0.0.68:40000', tunnelTo: '10.0.0.7:15008' }),
    failed('from-other', { ...inbound, peerId: idOf('other') }),
    failed('from-web', { ...inbound, peerId: idOf('web') }),
    failed('elsewhere', { originalDestination: '10.96.0.11:80' }),
    failed('by-endpoint', { originalDestination: '10.96.0.11:80', endpoint: '10.96.0.10:80' }),
    failed('by-destination', { originalDestination: '10.96.0.10:80' }),
  ];
  const nothing = () => undefined;
  return {
    add: nothing,
    carried: nothing,
    inARow: nothing,
    all: () => all,
    find: (id) => all.find((one) => one.id === id),
  };
}

async function sidecarOf(serviceAccount: string, delivery: Address, options: Partial<DataPlaneOptions> = {}) {
  const plane = await runDataPlane({ identity: identityOf(serviceAccount), deliveries: [delivery], ...options });
  cleanups.push(() => plane.stop());
  return plane;
}

interface Situation {
  readonly goingTo?: Address;
  lookup?(address: Address, signal: AbortSignal): Promise<Lookup>;
  readonly settings?: Partial<OutboundSettings>;
  readonly options?: Partial<DataPlaneOptions> & { readonly maxStreams?: number };
  /** Changes the sidecar before it is asked. */
  prepare?(plane: RunningDataPlane): void;
}

const known = (endpoints: readonly Partial<Endpoint>[]): (() => Promise<Lookup>) => {
  const complete = endpoints.map((endpoint) => ({
    address: '127.0.0.1:1',
    spiffeId: idOf('api'),
    transport: 'hbone' as const,
    ready: true,
    terminating: false,
    ...endpoint,
  }));
  const destination = { address: formatAddress(service), service: 'api.shop', endpoints: complete, ttlSeconds: 300 };
  return async () => ({ kind: 'known', destination: { ...destination, known: true } });
};

/** A sidecar that captures what is dialled on its outbound port, as if the rules had brought it there. */
async function capturing(hbonePort: number, { goingTo = service, lookup, settings, options, prepare }: Situation) {
  const asked = lookup ?? (() => Promise.reject(new Error('The registry must not be asked')));
  const plane = await runDataPlane({
    identity: identityOf('web'),
    hbonePort,
    ...options,
    parts: { originalDestination: () => goingTo, registry: { lookup: asked }, ...options?.parts },
    adjust: (all) => ({
      ...all,
      listen: { ...all.listen, outbound: [{ ip: '127.0.0.1', port: 0 }] },
      tunnels: { ...all.tunnels, maxStreams: options?.maxStreams ?? all.tunnels.maxStreams },
      outbound: {
        ...all.outbound,
        reservedPorts: new Set([15001]),
        meshNetworks: { has: (ip) => ip.startsWith('10.') },
        ...settings,
      },
    }),
  });
  cleanups.push(() => plane.stop());
  prepare?.(plane);
  return plane;
}

/** What the log line says of one real connection through the sidecar. */
async function carriedBy(plane: RunningDataPlane): Promise<string> {
  const socket: Socket = connect({
    host: '127.0.0.1',
    port: plane.addresses.outbound[0]?.port ?? 0,
    allowHalfOpen: true,
  });
  socket.on('error', () => undefined);
  cleanups.push(() => socket.destroy());
  await readAll(socket).catch(() => undefined);
  socket.end();
  return happened(await plane.line({ direction: 'outbound' }));
}

const happened = ({ outcome, reason }: Record<string, unknown>) =>
  outcome === 'closed' && reason === 'eof' ? 'carried' : `${outcome} ${reason}`;
const said = ({ verdict }: Pick<Awaited<ReturnType<Explaining['to']>>, 'verdict'>) =>
  verdict.kind === 'refused' ? `${verdict.outcome} ${verdict.reason}` : verdict.kind;

const rulesWith = (over: Partial<OutboundSettings['rules']>): Partial<OutboundSettings> => ({
  rules: {
    policy: 'ALLOW_ANY',
    minimum: 'plaintext',
    self: { isOwnAddress: () => false, spiffeId: () => '' },
    ...over,
  },
});

describe('a connection of the application', () => {
  it.each<[string, string, (api: Address) => Situation]>([
    ['to an endpoint with a sidecar', 'carried', (api) => ({ lookup: known([{ address: formatAddress(api) }]) })],
    [
      'to an endpoint without a sidecar',
      'carried',
      (api) => ({ lookup: known([{ address: formatAddress(api), transport: 'plaintext', spiffeId: '' }]) }),
    ],
    [
      'that the registry does not know',
      'denied unknown_destination',
      () => ({ lookup: async () => ({ kind: 'unknown' }) }),
    ],
    ['outside the mesh', 'carried', (api) => ({ goingTo: api })],
    [
      'outside the mesh under REGISTRY_ONLY',
      'denied unknown_destination',
      (api) => ({ goingTo: api, settings: rulesWith({ policy: 'REGISTRY_ONLY' }) }),
    ],
    [
      'outside the mesh above the floor of the pod',
      'denied mtls_required',
      (api) => ({ goingTo: api, settings: rulesWith({ minimum: 'mutual_tls' }) }),
    ],
    [
      'to an endpoint in plaintext above the floor of the pod',
      'denied mtls_required',
      () => ({ lookup: known([{ transport: 'plaintext' }]), settings: rulesWith({ minimum: 'mutual_tls' }) }),
    ],
    ['without a ready endpoint', 'denied no_endpoint', () => ({ lookup: known([{ ready: false }]) })],
    [
      'to an endpoint of its own mutual TLS whose expected identity is none',
      'handshake peer_identity',
      () => ({ lookup: known([{ transport: 'direct', spiffeId: 'nobody' }]) }),
    ],
    [
      'to an endpoint of its own mutual TLS in another trust domain',
      'handshake trust_domain',
      (api) => ({
        lookup: known([
          { address: formatAddress(api), transport: 'direct', spiffeId: 'spiffe://other.example/ns/a/sa/b' },
        ]),
      }),
    ],
    [
      'while the control plane is away and nothing is at hand',
      'denied control_plane_unavailable',
      () => ({ lookup: async () => ({ kind: 'unavailable', why: 'it is away' }) }),
    ],
    ['while the registry fails', 'denied internal', () => ({ lookup: () => Promise.reject(new Error('broken')) })],
    ['to a port of a sidecar', 'denied self_call', () => ({ goingTo: { ip: '10.0.0.7', port: 15001 } })],
    ['whose expected identity is none', 'handshake peer_identity', () => ({ lookup: known([{ spiffeId: 'nobody' }]) })],
    [
      'to another trust domain',
      'handshake trust_domain',
      (api) => ({
        lookup: known([{ address: formatAddress(api), spiffeId: 'spiffe://other.example/ns/a/sa/b' }]),
      }),
    ],
    [
      'to an identity that is revoked',
      'handshake revoked',
      (api) => ({
        lookup: known([{ address: formatAddress(api) }]),
        prepare: (plane) => {
          plane.revocations = createRevocations({ certificates: [], identities: [idOf('api')] });
        },
      }),
    ],
    [
      'while it is not known who is revoked',
      'handshake revoked',
      (api) => ({
        lookup: known([{ address: formatAddress(api) }]),
        prepare: (plane) => {
          plane.revocations = createRevocations({
            certificates: [],
            identities: [],
            unknown: 'the list is out of date',
          });
        },
      }),
    ],
    [
      'when our own identity is over',
      'denied identity_expired',
      (api) => ({
        lookup: known([{ address: formatAddress(api) }]),
        prepare: (plane) => {
          plane.identity = { ...plane.identity, notAfterMs: 0 };
        },
      }),
    ],
    [
      'before there is an identity',
      'denied not_ready',
      (api) => ({
        lookup: known([{ address: formatAddress(api) }]),
        options: {
          parts: {
            identity: {
              current() {
                throw new DeniedError('not_ready', 'There is no identity yet');
              },
            },
          },
        },
      }),
    ],
    [
      'when all places are taken',
      'denied connection_limit',
      () => ({ lookup: known([{}]), options: { parts: { connections: createSlots(0) } } }),
    ],
    [
      'when no descriptor is left',
      'denied descriptor_limit',
      () => ({ lookup: known([{}]), options: { parts: { descriptors: createSlots(0) } } }),
    ],
    [
      'when memory is short',
      'denied memory_pressure',
      () => ({ lookup: known([{}]), options: { parts: { memory: { shortage: () => 'nothing is left' } } } }),
    ],
  ])('%s: %s', async (_name, expected, situation) => {
    const api = await application('hello');
    const { addresses } = await sidecarOf('api', api);
    const plane = await capturing(addresses.hbone[0]?.port ?? 0, situation(api));
    const { goingTo = service } = situation(api);
    const explained = await explaining(plane).to(formatAddress(goingTo));
    expect(said(explained)).toBe(expected);
    expect(await carriedBy(plane)).toBe(expected);
  });

  it('changes nothing and dials nobody when it is asked about', async () => {
    const api = await application('hello');
    const far = await sidecarOf('api', api);
    const plane = await capturing(far.addresses.hbone[0]?.port ?? 0, {
      lookup: known([{ address: formatAddress(api) }]),
    });
    const { verdict, endpoints } = await explaining(plane).to('10.96.0.10:80');
    expect(verdict.sentence).toBe(
      `10.96.0.10:80 (api.shop) would be reached through mutual TLS at ${formatAddress(api)} as ${idOf('api')}`,
    );
    expect(endpoints).toMatchObject([{ use: 'chosen_from', tunnels: 0, streams: 0, connections: 0 }]);
    expect([...plane.pool.tunnels()]).toEqual([]);
    expect(plane.parts.connections.inUse).toBe(0);
    expect([plane.lines, plane.observed, far.observed]).toEqual([[], [], []]);
  });

  it('is told whether a tunnel is open to an endpoint, and what failed there lately', async () => {
    const api = await application('hello');
    const far = await sidecarOf('api', api);
    const plane = await capturing(far.addresses.hbone[0]?.port ?? 0, {
      lookup: known([{ address: formatAddress(api) }, { address: 'nowhere', transport: 'direct' }]),
    });
    const asked = explaining(plane);
    await carriedBy(plane);
    expect((await asked.to('10.96.0.10:80')).endpoints[0]).toMatchObject({ tunnels: 1 });
    far.policy = undefined;
    const socket = connect({ host: '127.0.0.1', port: plane.addresses.outbound[0]?.port ?? 0 });
    socket.on('error', () => undefined);
    const { id } = await plane.line({ direction: 'outbound', reason: 'peer_refused' });
    const { recentFailures, endpoints } = await asked.to('10.96.0.10:80');
    expect(recentFailures).toMatchObject([{ id, reason: 'peer_refused' }]);
    expect(endpoints[1]).toMatchObject({
      use: 'not_used',
      why: 'It has no address',
    });
  });

  it('uses a tunnel that is open although it is not known who is revoked, and says so', async () => {
    const api = await application('hello');
    const far = await sidecarOf('api', api);
    const plane = await capturing(far.addresses.hbone[0]?.port ?? 0, {
      lookup: known([{ address: formatAddress(api) }]),
    });
    await carriedBy(plane);
    plane.revocations = createRevocations({ certificates: [], identities: [], unknown: 'the list is out of date' });
    expect(said(await explaining(plane).to('10.96.0.10:80'))).toBe('carried');
    expect(await carriedBy(plane)).toBe('carried');
  });

  it('needs another tunnel where the one that is open is full', async () => {
    const api = await silentApplication();
    const far = await sidecarOf('api', api);
    const plane = await capturing(far.addresses.hbone[0]?.port ?? 0, {
      lookup: known([{ address: formatAddress(api) }]),
      options: { maxStreams: 1 },
    });
    const opened = plane.observation(({ event }) => event === 'connectionOpened');
    const socket = connect({ host: '127.0.0.1', port: plane.addresses.outbound[0]?.port ?? 0 });
    cleanups.push(() => socket.destroy());
    socket.on('error', () => undefined);
    await opened;
    plane.revocations = createRevocations({ certificates: [], identities: [], unknown: 'the list is out of date' });
    const explained = await explaining(plane).to('10.96.0.10:80');
    expect(explained.endpoints).toMatchObject([{ tunnels: 1, streams: 1, connections: 1 }]);
    expect(said(explained)).toBe('handshake revoked');
    expect(await carriedBy(plane)).toBe('handshake revoked');
  });

  it('is told of failures that were on the way there, and of no others', async () => {
    const plane = await capturing(0, { lookup: async () => ({ kind: 'unknown' }) });
    const { recentFailures } = await explaining(plane, { parts: { failures: someFailures() } }).to('10.96.0.10:80');
    expect(recentFailures.map(({ id }) => id)).toEqual(['by-endpoint', 'by-destination']);
  });

  it('without an endpoint is told what is wrong with its ServiceEntry', async () => {
    const problem = 'spec.resolution is "LAX"';
    const none = { address: formatAddress(service), endpoints: [], ttlSeconds: 300, known: true };
    const remedyOf = async (destination: Partial<Destination>) => {
      const lookup = async (): Promise<Lookup> => ({ kind: 'known', destination: { ...none, ...destination } });
      const { verdict } = await explaining(await capturing(0, { lookup })).to('10.96.0.10:80');
      return verdict.kind === 'refused' ? verdict.remedy : verdict.kind;
    };
    expect(await remedyOf({ entry: 'shop/bad', problem })).toBe(
      `Correct the ServiceEntry shop/bad, or what it leads to: ${problem}`,
    );
    expect(await remedyOf({ service: 'api.shop' })).toBe(
      'It has no endpoint: check the selector of its Service, and that its pods run',
    );
  });

  it('is told which endpoint is set aside, of what and for how long', async () => {
    const api = await application('hello');
    const far = await sidecarOf('api', api);
    const clock = createFakeClock(Date.now(), () => 0);
    const plane = await capturing(far.addresses.hbone[0]?.port ?? 0, {
      lookup: known([{ address: formatAddress(api), spiffeId: idOf('other') }, { address: formatAddress(api) }]),
      options: { clock },
    });
    expect(await carriedBy(plane)).toBe('carried');
    const { verdict, endpoints } = await explaining(plane).to('10.96.0.10:80');
    expect(verdict.kind).toBe('carried');
    expect(endpoints).toMatchObject([
      {
        expectedId: idOf('other'),
        use: 'chosen_from',
        setAside: { outcome: 'handshake', reason: 'peer_identity', failures: 1, forSeconds: expect.any(Number) },
      },
      { expectedId: idOf('api'), tunnels: 1 },
    ]);
    expect(endpoints[1]).not.toHaveProperty('setAside');
  });

  it('has an answer within the time that the registry has, though nobody answers', async () => {
    const clock = createFakeClock();
    const asked = Promise.withResolvers<void>();
    const lookup = (_address: Address, signal: AbortSignal) => {
      asked.resolve();
      return once(signal, 'abort').then(() => Promise.reject(signal.reason));
    };
    const plane = await capturing(0, { lookup, options: { clock } });
    const explained = explaining(plane).to('10.96.0.10:80');
    await asked.promise;
    await clock.advance(5000);
    expect((await explained).registry).toMatchObject({
      answer: 'unavailable',
      why: 'no answer for 10.96.0.10:80 within 5000 ms',
    });
    expect(said(await explained)).toBe('denied control_plane_unavailable');
  });

  it('is told how old the answer of the registry is', async () => {
    const registry = { lookup: known([{}]), heldForMs: () => 12_000 };
    const plane = await capturing(0, {});
    const { registry: shown } = await explaining(plane, { parts: { registry, isControlPlaneUp: () => false } }).to(
      '10.96.0.10:80',
    );
    expect(shown).toEqual({ answer: 'known', service: 'api.shop', heldForSeconds: 12, isControlPlaneUp: false });
  });
});

describe('what is against the verdict that the code comes to', () => {
  const scopeWith = (over: Partial<typeof wholePod>) => {
    const scope = { ...wholePod, ...over };
    return { rules: createCaptureRules(scope, sidecarPorts), scope };
  };
  const setting = (name: string) => ({ value: `the value of ${name}`, from: '--a-flag' });

  it('is what failed last on the way there, until something is carried', async () => {
    const api = await application('hello');
    const far = await sidecarOf('api', api);
    let expected = idOf('other');
    const plane = await capturing(far.addresses.hbone[0]?.port ?? 0, {
      lookup: () => known([{ address: formatAddress(api), spiffeId: expected }])(),
    });
    const asked = () => explaining(plane).to('10.96.0.10:80');
    expect((await asked()).verdict.sentence).toMatch(/ would be reached /);
    expect(await carriedBy(plane)).toBe('handshake peer_identity');
    expect(await asked()).toMatchObject({
      verdict: {
        kind: 'carried',
        sentence: expect.stringMatching(/\(api\.shop\) would be attempted .*, but the last one FAILED .*identity/),
      },
      lately: {
        failures: 1,
        latest: { reason: 'peer_identity', remedy: expect.stringContaining(`${idOf('api')} was presented`) },
      },
    });
    expected = idOf('api');
    expect(await asked()).not.toHaveProperty('lately');
    await carriedBy(plane);
    expected = idOf('other');
    expect(await asked()).not.toHaveProperty('lately');
  });

  it('is an application that did not answer those before, for whoever wants to come in', async () => {
    const api = await application('hello');
    const far = await sidecarOf('api', api, { deliveries: [{ ...api, port: 1 }] });
    const plane = await capturing(far.addresses.hbone[0]?.port ?? 0, {
      lookup: known([{ address: `${api.ip}:1` }]),
    });
    const asked = () => explaining(far, { capture: 'none' }).from(idOf('web'), 1);
    expect((await asked()).verdict.sentence).toContain('to the application at');
    expect(await carriedBy(plane)).toBe('closed upstream_refused');
    expect(await asked()).toMatchObject({
      verdict: { kind: 'carried', sentence: expect.stringMatching(/would be let in, but the last one FAILED/) },
      lately: { latest: { reason: 'upstream_refused' } },
    });
    expect(await explaining(far, { capture: 'none' }).from(idOf('web'))).not.toHaveProperty('lately');
  });

  it('is that the rules were found not to be in order, for what they should bring here', async () => {
    const plane = await capturing(0, { lookup: known([{}]) });
    const captureProofs = () => [
      { direction: 'outbound', family: 'ipv4', isOk: false } as const,
      { direction: 'inbound', family: 'ipv4', isOk: false } as const,
    ];
    const asked = explaining(plane, { parts: { captureProofs }, capture: scopeWith({}) });
    expect((await asked.to('10.96.0.10:80')).verdict).toMatchObject({
      kind: 'goes_around',
      sentence: expect.stringMatching(/^10\.96\.0\.10:80 GOES AROUND THIS SIDECAR/),
      remedy: expect.stringContaining('Delete the pod'),
    });
    expect(said(await asked.to('127.0.0.1:80'))).toBe('not_carried');
    expect((await asked.to('[fd96::10]:80')).verdict.kind).not.toBe('goes_around');
    expect((await asked.from('plaintext', 8080)).verdict).toMatchObject({
      kind: 'goes_around',
      sentence: expect.stringContaining('REACHES THE APPLICATION'),
    });
    expect(said(await asked.from(idOf('web'), 8080))).not.toBe('goes_around');
  });

  it.each<[string, 'not_carried' | 'goes_around', () => Promise<Lookup>]>([
    ['nobody is known', 'not_carried', async () => ({ kind: 'unknown' })],
    ['there is no sidecar', 'not_carried', known([{ transport: 'plaintext', spiffeId: '' }])],
    ['a sidecar waits', 'goes_around', known([{}])],
  ])('is the setting that excludes it, by name and value, where %s at the other end', async (_name, kind, lookup) => {
    const plane = await capturing(0, { lookup });
    const capture = scopeWith({ excludeOutboundPorts: [{ first: 80, last: 80 }] });
    const { verdict } = await explaining(plane, { parts: { setting }, capture }).to('10.96.0.10:80');
    expect(verdict).toMatchObject({
      kind,
      sentence: expect.stringContaining('excludeOutboundPorts is the value of excludeOutboundPorts (--a-flag), so'),
      remedy: expect.stringContaining('take it out of excludeOutboundPorts'),
    });
    expect(verdict.sentence).toContain('without mutual TLS');
  });
});

describe('our own identity that is over', () => {
  it.each([
    ['has expired', undefined, /^`remora certs` says what its renewals fail of/],
    ['was ended', 'It was revoked', /revoke --list.*--lift/],
  ])('%s: the one cause and what to do about it stand in both directions', async (_name, endedBecause, remedy) => {
    const plane = await capturing(0, { lookup: known([{}]) });
    plane.identity = { ...plane.identity, notAfterMs: 0, endedBecause };
    const asked = explaining(plane);
    for (const { verdict } of [await asked.to('10.96.0.10:80'), await asked.from(idOf('web'))])
      expect(verdict).toMatchObject({
        reason: 'identity_expired',
        sentence: expect.stringMatching(endedBecause ?? /would be refused: Our own certificate expired at 1970/),
        remedy: expect.stringMatching(remedy),
      });
  });
});

describe('a caller in plaintext that is refused', () => {
  it.each<[string, () => Promise<Lookup>, string, RegExp]>([
    [
      'a pod with a sidecar',
      known([{}]),
      'sidecar',
      /^10\.0\.0\.66 is a pod with a sidecar, .*explain --to 10\.0\.0\.7:80`$/,
    ],
    [
      'a pod without a sidecar',
      known([{ transport: 'plaintext', spiffeId: '' }]),
      'no_sidecar',
      /^10\.0\.0\.66 is a pod without a sidecar: inject one$/,
    ],
    ['nobody that is known', async () => ({ kind: 'unknown' }), 'unknown', /^The registry does not know 10\.0\.0\.66/],
    [
      'somebody of whom nothing is known now',
      async () => ({ kind: 'unavailable', why: 'it is away' }),
      'unavailable',
      /is not known, it is away: if it has one/,
    ],
  ])('is %s, and is told what to do as such', async (_name, lookup, answer, remedy) => {
    const plane = await capturing(0, { lookup });
    plane.policy = { mode: 'STRICT' };
    const inbound = { floor: { minimumMode: 'STRICT', allowedPeers: undefined } } as const;
    const guard = { check: (destination: Address) => destination };
    const asked = explaining(plane, { inbound, parts: { guard } });
    const page = await asked.ask({ from: '10.0.0.66', port: '80' });
    expect(page).toMatchObject({
      caller: { answer },
      ports: [{ verdict: { reason: 'plaintext_in_strict', remedy: expect.stringMatching(remedy) } }],
    });
    expect(JSON.stringify(page)).not.toContain('PERMISSIVE while');
  });

  it('may be let in by its mode only where the pod itself does not demand STRICT', async () => {
    const plane = await capturing(0, { lookup: known([{ transport: 'plaintext', spiffeId: '' }]) });
    plane.policy = { mode: 'STRICT' };
    const guard = { check: (destination: Address) => destination };
    const inbound = { floor: { minimumMode: 'DISABLE', allowedPeers: undefined } } as const;
    const { verdict } = await explaining(plane, { inbound, parts: { guard } }).from('10.0.0.66', 80);
    expect(verdict).toMatchObject({ remedy: expect.stringContaining('or let the mode be PERMISSIVE') });
  });
});

const policyOf = (action: AuthorizationPolicy['action'], id: string): AuthorizationPolicy => ({
  name: `shop/${action.toLowerCase()}`,
  action,
  rules: [{ from: [{ principals: [id.slice('spiffe://'.length)] }] }],
});

describe('a connection of a peer', () => {
  const web = idOf('web');
  const under = (...authorization: AuthorizationPolicy[]): Inbound => ({
    prepare: (plane) => {
      plane.policy = { mode: 'STRICT', authorization };
    },
  });

  interface Inbound {
    readonly options?: Partial<DataPlaneOptions>;
    prepare?(plane: RunningDataPlane): void;
  }

  it.each<[string, string, Inbound]>([
    ['that nothing speaks against', 'carried', {}],
    [
      'under PERMISSIVE',
      'carried',
      {
        prepare: (plane) => {
          plane.policy = { mode: 'PERMISSIVE' };
        },
      },
    ],
    ['among the allowed peers', 'carried', { options: { allowedPeers: [web] } }],
    ['that a DENY policy matches', 'denied policy_deny', under(policyOf('DENY', web))],
    ['that a DENY policy does not match', 'carried', under(policyOf('DENY', idOf('other')))],
    ['that an ALLOW policy matches', 'carried', under(policyOf('ALLOW', web))],
    ['that no ALLOW policy matches', 'denied default_deny', under(policyOf('ALLOW', idOf('other')))],
    ['that a policy on trial would deny', 'carried', under({ ...policyOf('DENY', web), isDryRun: true })],
    [
      'under a policy that cannot be enforced',
      'denied policy_error',
      under({ ...policyOf('ALLOW', web), rules: [], problem: 'spec.action: CUSTOM is not supported' }),
    ],
    ['that is not among the allowed peers', 'denied default_deny', { options: { allowedPeers: [idOf('other')] } }],
    [
      'before the first policy',
      'denied policy_unavailable',
      {
        prepare: (plane) => {
          plane.policy = undefined;
        },
      },
    ],
    [
      'whose identity is revoked',
      'handshake revoked',
      {
        prepare: (plane) => {
          plane.revocations = createRevocations({ certificates: [], identities: [web] });
        },
      },
    ],
    [
      'when our own identity is over',
      'denied identity_expired',
      {
        prepare: (plane) => {
          plane.identity = { ...plane.identity, notAfterMs: 0 };
        },
      },
    ],
    [
      'of a trust domain without a bundle',
      'handshake trust_domain',
      {
        options: {
          identity: createTestIdentity(otherAuthority, { namespace: 'a', serviceAccount: 'b' }),
        },
      },
    ],
    [
      'to a port that is not delivered',
      'denied not_this_pod',
      { options: { deliveries: [{ ip: '127.0.0.1', port: 1 }] } },
    ],
    ['when all places are taken', 'denied connection_limit', { options: { parts: { connections: createSlots(0) } } }],
  ])('%s: %s', async (_name, expected, { options, prepare }) => {
    const api = await application('hello');
    const far = await sidecarOf('api', api, options);
    prepare?.(far);
    const explained = await explaining(far, { capture: 'none' }).from(web, api.port);
    expect(said(explained)).toBe(expected);
    const near = await runDataPlane({
      identity: createTestIdentity(authority, {
        namespace: 'shop',
        serviceAccount: 'web',
        bundles: bundlesOf(authority, otherAuthority),
      }),
      hbonePort: far.addresses.hbone[0]?.port ?? 0,
      declared: [{ target: api, peer: far.identity.spiffeId.uri }],
    });
    cleanups.push(() => near.stop());
    const socket = connect({ host: '127.0.0.1', port: near.addresses.declared[0]?.port ?? 0, allowHalfOpen: true });
    socket.on('error', () => undefined);
    cleanups.push(() => socket.destroy());
    await readAll(socket).catch(() => undefined);
    socket.end();
    expect(happened(await far.line({ direction: 'inbound' }))).toBe(expected);
  });
});

describe('what is said of policies', () => {
  const web = idOf('web');
  const guard = { check: (destination: Address) => destination };

  async function under(policy: PolicyState, minimumMode: Mode = 'DISABLE') {
    const plane = await runDataPlane({
      identity: identityOf('api'),
      adjust: (all) => ({
        ...all,
        inbound: { ...all.inbound, floor: { minimumMode, allowedPeers: undefined } },
      }),
    });
    cleanups.push(() => plane.stop());
    plane.policy = policy;
    return { plane, ...explaining(plane, { parts: { guard } }) };
  }
  const deny = policyOf('DENY', web);
  const allow = policyOf('ALLOW', idOf('other'));

  it('names the one that decides, and what to change', async () => {
    const denied = await (await under({ mode: 'STRICT', authorization: [deny] })).from(web, 80);
    expect(denied).toMatchObject({
      verdict: { reason: 'policy_deny', remedy: expect.stringContaining('change the AuthorizationPolicy shop/deny') },
      policies: { enforced: 1, policy: 'shop/deny' },
    });
    const problem = 'spec.action: CUSTOM is not supported';
    const broken = await (await under({ mode: 'STRICT', authorization: [{ ...deny, rules: [], problem }] })).from(
      web,
      80,
    );
    expect(broken).toMatchObject({
      verdict: {
        reason: 'policy_error',
        remedy: `Correct the AuthorizationPolicy shop/deny, or delete it: ${problem}`,
      },
    });
    const unnamed = await (await under({ mode: 'STRICT', authorization: [allow] })).from(web, 80);
    expect(unnamed).toMatchObject({
      verdict: { reason: 'default_deny', remedy: expect.stringContaining('there are shop/allow') },
    });
    const allowed = await (await under({ mode: 'STRICT', authorization: [allow] })).from(idOf('other'), 80);
    expect(allowed).toMatchObject({ permittedBy: 'The AuthorizationPolicy shop/allow allows it' });
  });

  it('goes by the address where it is given, and by any where it is not', async () => {
    const rules = [{ from: [{ principals: ['*'], ipBlocks: ['10.9.0.0/16'] }] }];
    const { ask } = await under({ mode: 'STRICT', authorization: [{ ...deny, rules }] });
    const asked = async (at?: string) => {
      const page = await ask({ from: web, port: '80', ...(at !== undefined && { at }) });
      if (page.kind !== 'from') throw new Error('another page');
      return [page.identity?.at, page.ports[0]?.verdict.kind];
    };
    expect(await asked()).toEqual([null, 'refused']);
    expect(await asked('10.9.1.1')).toEqual(['10.9.1.1', 'refused']);
    expect(await asked('10.8.1.1')).toEqual(['10.8.1.1', 'carried']);
  });

  it('names each port that the policy treats in a way of its own, and the others together', async () => {
    const rules = [
      { to: [{ ports: [9090], notPorts: [15008] }], when: [{ key: 'destination.port' as const, values: ['7070'] }] },
    ];
    const { ask } = await under({
      mode: 'PERMISSIVE',
      modeSetBy: 'istio-system/default',
      ports: [{ port: 8080, mode: 'STRICT', setBy: 'shop/api' }],
      authorization: [{ ...deny, rules }],
    });
    const page = await ask({ from: 'plaintext' });
    if (page.kind !== 'from') throw new Error('another page');
    expect(page.ports.map(({ ports, mode, verdict }) => [ports, mode?.mode, mode?.setBy, verdict.kind])).toEqual([
      ['every other port', 'PERMISSIVE', 'istio-system/default', 'carried'],
      ['port 7070', 'PERMISSIVE', 'istio-system/default', 'carried'],
      ['port 8080', 'STRICT', 'shop/api', 'refused'],
      ['port 9090', 'PERMISSIVE', 'istio-system/default', 'carried'],
    ]);
  });

  it.each<[string, PolicyState['authorization'], string, RegExp]>([
    [
      'an ALLOW rule by principal',
      [policyOf('ALLOW', web)],
      'denied default_deny',
      /^Through a tunnel spiffe:.* would be let in.*DISABLE.*without an identity: Plaintext from anywhere to port 80 would be refused/,
    ],
    ['a DENY rule by principal', [deny], 'carried', /^Through a tunnel .* would be refused.* would be let in/],
    [
      'none',
      [],
      'carried',
      /^Through a tunnel .* would be let in.*: Plaintext from anywhere to port 80 would be let in/,
    ],
  ])(
    'goes by what comes to a port that is DISABLE, which has no identity: %s',
    async (_, authorization, end, sentence) => {
      const { from } = await under({
        mode: 'STRICT',
        ports: [{ port: 80, mode: 'DISABLE', setBy: 'x/y' }],
        authorization,
      });
      const { verdict } = await from(web, 80);
      expect(said(await from(web, 80))).toBe(end);
      expect(verdict.sentence).toMatch(sentence);
      if (verdict.kind === 'refused') expect(verdict.remedy).toContain('PERMISSIVE or STRICT');
      expect((await from(web, 81)).verdict.sentence).not.toContain('Through a tunnel');
    },
  );

  it('says that the floor of the pod takes nobody who is told to come in plaintext', async () => {
    const { from } = await under({ mode: 'DISABLE' }, 'STRICT');
    expect((await from(web, 80)).verdict).toMatchObject({
      ...{ kind: 'refused', reason: 'plaintext_in_strict' },
      sentence: expect.stringMatching(/^Through a tunnel .* would be let in/),
      remedy: expect.stringContaining('minimumInboundMode'),
    });
  });

  it('says that the PeerAuthentication which sets a mode cannot be followed, and why', async () => {
    const modeProblem = 'spec.mtls.mode is "LAX"';
    const ports = [{ port: 8080, mode: 'PERMISSIVE' as const, setBy: 'shop/api' }];
    const page = await (await under({ mode: 'STRICT', modeSetBy: 'shop/default', modeProblem, ports })).ask({
      from: 'plaintext',
    });
    if (page.kind !== 'from') throw new Error('another page');
    expect(page.ports.map(({ mode }) => [mode?.setBy, mode?.problem])).toEqual([
      ['shop/default', modeProblem],
      ['shop/api', undefined],
    ]);
  });

  it('bounds the ports, and says how many more there are', async () => {
    const ports = Array.from({ length: 100 }, (_, n) => ({
      port: 20_000 + n,
      mode: 'STRICT' as const,
      setBy: 'shop/api',
    }));
    const page = await (await under({ mode: 'PERMISSIVE', ports })).ask({ from: 'plaintext' });
    if (page.kind !== 'from') throw new Error('another page');
    expect([page.ports.length, page.portsNotShown]).toEqual([1 + maxOwnPorts, 100 - maxOwnPorts]);
  });
});

describe('a plaintext connection from elsewhere', () => {
  it.each<[string, string, PolicyState | undefined, Address]>([
    ['under STRICT', 'handshake plaintext_in_strict', { mode: 'STRICT' }, { ip: '10.0.0.7', port: 8080 }],
    ['under PERMISSIVE', 'carried', { mode: 'PERMISSIVE' }, { ip: '10.0.0.7', port: 8080 }],
    [
      'where some are allowed by their identity',
      'denied default_deny',
      { mode: 'PERMISSIVE', authorization: [policyOf('ALLOW', idOf('web'))] },
      { ip: '10.0.0.7', port: 8080 },
    ],
    ['before the first policy', 'denied policy_unavailable', undefined, { ip: '10.0.0.7', port: 8080 }],
    ["to the sidecar's own port", 'denied reserved_port', { mode: 'PERMISSIVE' }, { ip: '10.0.0.7', port: 15008 }],
  ])('%s: %s', async (_name, expected, policy, goingTo) => {
    const api = await application('hello');
    const own = createPodGuard({ has: (ip) => ip === '10.0.0.7' }, reservedInbound(sidecarPorts));
    const guard = {
      check(destination: Address) {
        own.check(destination);
        return api;
      },
    };
    const plane = await runDataPlane({
      identity: identityOf('api'),
      parts: { guard, originalDestination: () => goingTo },
      adjust: (all) => ({
        ...all,
        listen: { ...all.listen, inbound: [{ ip: '127.0.0.1', port: 0 }] },
        inbound: { ...all.inbound, floor: { minimumMode: 'DISABLE', allowedPeers: undefined } },
      }),
    });
    cleanups.push(() => plane.stop());
    plane.policy = policy;
    expect(said(await explaining(plane).from('plaintext', goingTo.port))).toBe(expected);
    expect(said(await explaining(plane).from('10.0.0.66', goingTo.port))).toBe(expected);
    const socket = connect({ host: '127.0.0.1', port: plane.addresses.inbound[0]?.port ?? 0, allowHalfOpen: true });
    socket.on('error', () => undefined);
    cleanups.push(() => socket.destroy());
    socket.write('GET / HTTP/1.1\r\n\r\n');
    await readAll(socket).catch(() => undefined);
    socket.end();
    expect(happened(await plane.line({ direction: 'inbound' }))).toBe(expected);
  });

  it.each<[PolicyState['mode'], PolicyState['mode'], string]>([
    ['PERMISSIVE', 'STRICT', 'handshake plaintext_in_strict'],
    ['STRICT', 'DISABLE', 'carried'],
    ['DISABLE', 'STRICT', 'handshake plaintext_in_strict'],
    ['STRICT', 'PERMISSIVE', 'carried'],
  ])('is judged by the mode of its port: where others are %s and it is %s, %s', async (mode, own, expected) => {
    const api = await application('hello');
    const plane = await runDataPlane({
      identity: identityOf('api'),
      parts: { guard: { check: (destination) => destination }, originalDestination: () => api },
      adjust: (all) => ({
        ...all,
        listen: { ...all.listen, inbound: [{ ip: '127.0.0.1', port: 0 }] },
        inbound: { ...all.inbound, floor: { minimumMode: 'DISABLE', allowedPeers: undefined } },
      }),
    });
    cleanups.push(() => plane.stop());
    plane.policy = { mode, ports: [{ port: api.port, mode: own, setBy: 'shop/api' }] };
    expect(said(await explaining(plane).from('plaintext', api.port))).toBe(expected);
    const socket = connect({ host: '127.0.0.1', port: plane.addresses.inbound[0]?.port ?? 0, allowHalfOpen: true });
    socket.on('error', () => undefined);
    cleanups.push(() => socket.destroy());
    socket.write('GET / HTTP/1.1\r\n\r\n');
    await readAll(socket).catch(() => undefined);
    socket.end();
    expect(happened(await plane.line({ direction: 'inbound' }))).toBe(expected);
  });

  it.each(['127.0.0.1', '10.0.0.7'])('within the pod, as %s, does not pass the sidecar', async (from) => {
    const plane = await runDataPlane({ identity: identityOf('api') });
    cleanups.push(() => plane.stop());
    const scope = wholePod;
    const rules = createCaptureRules(scope, sidecarPorts, (ip) => ip === '10.0.0.7');
    const page = await explaining(plane, { capture: { rules, scope } }).ask({ from, port: '80' });
    expect(page).toMatchObject({
      ports: [{ capture: { isCaptured: false, rule: withinPodRule }, verdict: { kind: 'not_carried' } }],
    });
  });

  it('is told of the failures of this caller alone, and of this port', async () => {
    const plane = await runDataPlane({ identity: identityOf('api') });
    cleanups.push(() => plane.stop());
    const asked = explaining(plane, { parts: { failures: someFailures() } });
    const idsOf = async (query: Record<string, string>) => {
      const page = await asked.ask(query);
      return page.kind === 'from' ? page.recentFailures.map(({ id }) => id) : page;
    };
    expect(await idsOf({ from: idOf('web') })).toEqual(['presented', 'from-web']);
    expect(await idsOf({ from: idOf('web'), port: '80' })).toEqual(['presented', 'from-web']);
    expect(await idsOf({ from: idOf('web'), port: '81' })).toEqual(['presented']);
    expect(await idsOf({ from: '10.0.0.66' })).toEqual(['plaintext']);
    expect(await idsOf({ from: '10.0.0.67' })).toEqual([]);
    expect(await idsOf({ from: 'plaintext' })).toEqual(['plaintext', 'tunnel']);
    expect(await idsOf({ from: 'plaintext', port: '80' })).toEqual(['plaintext']);
    expect(await idsOf({ from: 'plaintext', port: '81' })).toEqual([]);
  });

  it('is refused while the sidecar drains', async () => {
    const plane = await runDataPlane({ identity: identityOf('api') });
    cleanups.push(() => plane.stop());
    const asked = explaining(plane, { parts: { isDraining: () => true } });
    expect(said(await asked.from('plaintext', 80))).toBe('denied draining');
    expect(said(await asked.from(idOf('web'), 80))).toBe('denied draining');
  });

  it('does not pass the sidecar on a port that the rules exclude', async () => {
    const plane = await runDataPlane({ identity: identityOf('api') });
    cleanups.push(() => plane.stop());
    const scope = { ...wholePod, excludeInboundPorts: [{ first: 22, last: 22 }] };
    const asked = explaining(plane, { capture: { rules: createCaptureRules(scope, sidecarPorts), scope } });
    expect(await asked.from('plaintext', 22)).toMatchObject({
      verdict: { kind: 'not_carried' },
      capture: { isCaptured: false, rule: 'Excluded ports' },
    });
    const page = await asked.ask({ from: 'plaintext' });
    expect(page.kind === 'from' && page.ports.map(({ ports, verdict }) => [ports, verdict.kind])).toEqual([
      ['every port but 22', 'refused'],
      ['ports 22', 'not_carried'],
    ]);
  });
});

describe('a static tunnel', () => {
  it('is explained by its listener and by what it leads to, and nothing else passes such a sidecar', async () => {
    const api = await application('hello');
    const far = await sidecarOf('api', api);
    const near = await runDataPlane({
      identity: identityOf('web'),
      hbonePort: far.addresses.hbone[0]?.port ?? 0,
      declared: [{ target: api, peer: idOf('api') }],
    });
    cleanups.push(() => near.stop());
    const asked = explaining(near, { capture: 'none' });
    const listener = formatAddress(near.addresses.declared[0]!);
    for (const destination of [listener, formatAddress(api)]) {
      expect(await asked.to(destination)).toMatchObject({
        verdict: { kind: 'carried' },
        tunnel: { listen: listener, target: formatAddress(api), peer: idOf('api'), via: null },
        endpoints: [{ expectedId: idOf('api'), tunnels: 0 }],
      });
    }
    expect(said(await asked.to('10.0.0.7:80'))).toBe('not_carried');
    near.revocations = createRevocations({ certificates: [], identities: [idOf('api')] });
    expect(said(await asked.to(listener))).toBe('handshake revoked');
  });
});

describe('a connection by its id', () => {
  it('is told from its failure, and whether it would be carried now', async () => {
    const api = await application('hello');
    const far = await sidecarOf('api', api);
    let endpoints: readonly Partial<Endpoint>[] = [{ ready: false }];
    const plane = await capturing(far.addresses.hbone[0]?.port ?? 0, { lookup: () => known(endpoints)() });
    expect(await carriedBy(plane)).toBe('denied no_endpoint');
    const { id } = await plane.line({ reason: 'no_endpoint' });
    const asked = explaining(plane);
    const verdictNow = async () => {
      const page = await asked.ask({ id: String(id) });
      if (page.kind !== 'id' || page.again?.kind !== 'to') throw new Error(JSON.stringify(page));
      expect(page.failure).toMatchObject({ id, reason: 'no_endpoint', originalDestination: '10.96.0.10:80' });
      return page.again.destinations.map(said);
    };
    expect(await verdictNow()).toEqual(['denied no_endpoint']);
    endpoints = [{ address: formatAddress(api) }];
    expect(await verdictNow()).toEqual(['carried']);
  });

  it('is told from both sides under the same id, also while it is open', async () => {
    const api = await application('hello');
    const far = await sidecarOf('api', api);
    const plane = await capturing(far.addresses.hbone[0]?.port ?? 0, {
      lookup: known([{ address: formatAddress(api) }]),
    });
    const socket = connect({ host: '127.0.0.1', port: plane.addresses.outbound[0]?.port ?? 0, allowHalfOpen: true });
    cleanups.push(() => socket.destroy());
    await once(
      socket.on('error', () => undefined),
      'data',
    );
    const [{ id } = { id: '' }] = [...plane.accounts.live()];
    expect(await explaining(plane).ask({ id })).toMatchObject({
      connection: { id, direction: 'outbound', peerId: idOf('api') },
      again: { kind: 'to' },
    });
    expect(await explaining(far, { capture: 'none' }).ask({ id })).toMatchObject({
      connection: { id, direction: 'inbound', peerId: idOf('web') },
      again: { kind: 'from', from: idOf('web') },
    });
  });

  it('is not taken for one in plaintext when its handshake failed before it showed who it was', async () => {
    const api = await application('hello');
    const far = await sidecarOf('api', api);
    const socket = connect({ host: '127.0.0.1', port: far.addresses.hbone[0]?.port ?? 0 });
    socket.on('error', () => undefined);
    socket.write('GET / HTTP/1.1\r\n\r\n');
    cleanups.push(() => socket.destroy());
    const { id } = await far.line({ direction: 'inbound', outcome: 'handshake' });
    expect(await explaining(far).ask({ id: String(id) })).toMatchObject({ failure: { id }, again: null });
  });

  it('is not known when it is none of this sidecar', async () => {
    const plane = await capturing(0, {});
    expect(await explaining(plane).ask({ id: 'abc-1' })).toEqual({
      kind: 'id',
      id: 'abc-1',
      now: expect.any(String),
      again: null,
    });
  });
});

describe('a name', () => {
  const lookup = async (name: string) => {
    if (name !== 'api.shop') throw new Error('ENOTFOUND');
    return [{ address: '10.96.0.10' }, { address: '10.96.0.11' }];
  };

  it('is looked up, and each of its addresses is explained', async () => {
    const plane = await capturing(0, { lookup: async () => ({ kind: 'unknown' }) });
    const { ask } = explaining(plane, { parts: { lookUp: createNameExplainer(plane.parts.clock, lookup) } });
    expect(await ask({ to: 'api.shop:80' })).toMatchObject({
      to: 'api.shop:80',
      destinations: [{ destination: '10.96.0.10:80' }, { destination: '10.96.0.11:80' }],
    });
    expect(await ask({ to: 'nowhere.shop:80' })).toMatchObject({
      destinations: [],
      lookupFailure: 'The name nowhere.shop was not found: ENOTFOUND',
    });
  });

  it('does not keep anybody waiting whose resolver does not answer, nor more than one thread', async () => {
    const clock = createFakeClock();
    let asked = 0;
    const lookUp = createNameExplainer(clock, () => {
      asked += 1;
      return new Promise(() => undefined);
    });
    const first = lookUp('api.shop', 5000);
    expect(await lookUp('other.shop', 5000)).toMatchObject({
      kind: 'failed',
      why: expect.stringContaining('api.shop'),
    });
    await clock.advance(5000);
    expect(await first).toEqual({ kind: 'failed', why: 'The name api.shop was not looked up within 5000 ms' });
    expect(asked).toBe(1);
  });
});
