import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import * as tls from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import type { Address } from '../../../src/addresses.ts';
import { formatAddress } from '../../../src/addresses.ts';
import { createRegistry } from '../../../src/agent/registry/registry.ts';
import { systemClock } from '../../../src/clock.ts';
import type { Destination, Endpoint, PolicyState } from '../../../src/control-api.ts';
import { DeniedError } from '../../../src/errors.ts';
import type { Lookup } from '../../../src/proxy/outbound/resolve.ts';
import type { DataPlaneOptions, RunningDataPlane } from '../../support/data-plane.ts';
import { caller, endPeers, later, mesh, registryOf, shown } from '../../support/direct-peers.ts';
import { createTestAuthority } from '../../support/identities.ts';
import { ending } from '../../support/sockets.ts';

/*
 * Goal: what must go through mutual TLS is never sent in clear because something failed. Method: in the place of the endpoint stands
 * somebody who keeps every byte, as it comes and as TLS gives it to him, and who fails in each way that there is; the application
 * says its secret at once. Real sockets, real handshakes.
 */

afterEach(endPeers);

const secret = 'the PIN is 4711';
const stranger = createTestAuthority('cluster.local');

interface Recorder {
  readonly address: Address;
  /** Everything that was sent to it. */
  seen(): string;
}

async function record(behave: (socket: Socket, keep: (chunk: Buffer) => void) => void): Promise<Recorder> {
  const chunks: Buffer[] = [];
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    behave(socket, (chunk) => chunks.push(chunk));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  later(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return {
    address: { ip: '127.0.0.1', port: (server.address() as AddressInfo).port },
    seen: () => Buffer.concat(chunks).toString('latin1'),
  };
}

/** One that takes what it gets, as an application without a sidecar does. */
const listener = () => record((socket, keep) => socket.on('data', keep));

/** A TLS server that is not the expected one; what it decrypts is kept too. */
function tlsServer(options: tls.TlsOptions) {
  const server = tls.createServer({
    ...shown(mesh.issue({ id: 'ns/shop/sa/other' })),
    ca: mesh.bundlePem,
    requestCert: true,
    rejectUnauthorized: false,
    ALPNProtocols: ['h2', 'istio'],
    ...options,
  } as tls.TlsOptions);
  server.on('tlsClientError', () => undefined);
  return record((socket, keep) => {
    server.once('secureConnection', (secure) => secure.on('error', () => undefined).on('data', keep));
    server.emit('connection', socket);
  });
}

const failures: Readonly<Record<string, () => Promise<Recorder>>> = {
  'says nothing': listener,
  'resets at once': () => record((socket) => socket.resetAndDestroy()),
  'ends at once': () => record((socket, keep) => socket.on('data', keep).end()),
  'cuts the handshake': () =>
    record((socket, keep) =>
      socket.on('data', (chunk: Buffer) => {
        keep(chunk);
        socket.resetAndDestroy();
      }),
    ),
  'answers in plaintext': () => record((socket, keep) => socket.on('data', keep).write('220 speak, friend\r\n')),
  'is somebody else': () => tlsServer({}),
  'is vouched for by a stranger': () => tlsServer(shown(stranger.issue({ id: 'ns/shop/sa/api' }))),
  'speaks another protocol': () =>
    tlsServer({ ...shown(mesh.issue({ id: 'ns/shop/sa/api' })), ALPNProtocols: ['http/1.1'] }),
  'speaks old TLS alone': () => tlsServer({ ...shown(mesh.issue({ id: 'ns/shop/sa/api' })), maxVersion: 'TLSv1.2' }),
};

/** Deadlines are short, and of several endpoints the first is drawn. */
function quick(options: Partial<DataPlaneOptions> = {}): Partial<DataPlaneOptions> {
  return {
    clock: { ...systemClock, random: () => 0 },
    ...options,
    adjust: (all) => ({
      ...all,
      outbound: {
        ...all.outbound,
        connectTimeoutMs: 300,
        handshakeTimeoutMs: 200,
        resolveTimeoutMs: 100,
        hbonePort: options.hbonePort ?? 1,
        ...options.adjust?.(all).outbound,
      },
      tunnels: { ...all.tunnels, handshakeTimeoutMs: 200, openTimeoutMs: 200, connectTimeoutMs: 300 },
    }),
  };
}

/** How it ended for an application that says its secret at once. */
function sayTo({ addresses }: RunningDataPlane): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port: addresses.outbound[0]?.port ?? 0, allowHalfOpen: true });
  later(() => socket.destroy());
  socket.write(secret);
  return ending(socket);
}

const say = async (...parts: Parameters<typeof caller>) => sayTo(await caller(...parts));

async function destinationOf(endpoint: Partial<Endpoint>): Promise<Destination> {
  const found = await registryOf(endpoint).lookup();
  if (found.kind !== 'known') throw new TypeError('A registry that knows it knows it');
  return found.destination;
}

const strict: PolicyState = { mode: 'STRICT' };
const inClear = (address: Address): Partial<Endpoint> => ({
  address: formatAddress(address),
  transport: 'plaintext',
  spiffeId: '',
});

describe('what must be mutual TLS', () => {
  it('would be seen here if it were in clear', async () => {
    const open = await listener();
    void say(registryOf(inClear(open.address)));
    await expect.poll(open.seen).toBe(secret);
  });

  describe.each(['hbone', 'direct'] as const)('by %s', (transport) => {
    it.each(Object.entries(failures))(
      'is not sent to an endpoint that %s, nor in clear to another one',
      async (_name, fail) => {
        for (const policy of [strict, undefined]) {
          const bad = await fail();
          const other = await listener();
          const meshed = { address: formatAddress(bad.address), transport };
          const options = quick({ hbonePort: bad.address.port, parts: { policy: { current: () => policy } } });
          expect(await say(registryOf(meshed), options)).toBe('reset');
          expect(await say(registryOf(meshed, inClear(other.address)), options)).toBe('reset');
          expect(bad.seen()).not.toContain(secret);
          expect(other.seen()).toBe('');
        }
      },
    );

    it.each<[string, (signal: AbortSignal, endpoint: Partial<Endpoint>) => Promise<Lookup>]>([
      ['does not know it', async () => ({ kind: 'unknown' })],
      ['is away', async () => ({ kind: 'unavailable', why: 'it is away' })],
      ['fails', () => Promise.reject(new Error('broken'))],
      [
        'answers too late',
        async (signal) => {
          if (!signal.aborted) await once(signal, 'abort');
          throw signal.reason;
        },
      ],
      ['has no endpoint', registryOf().lookup],
      ['has no endpoint that is ready', (_, one) => registryOf({ ...one, ready: false }).lookup()],
      ['expects nobody', (_, one) => registryOf({ ...one, spiffeId: '' }).lookup()],
      ['expects who has no ID', (_, one) => registryOf({ ...one, spiffeId: 'api.shop' }).lookup()],
      [
        'expects somebody of another mesh',
        (_, one) => registryOf({ ...one, spiffeId: 'spiffe://other.example/api' }).lookup(),
      ],
      ['names no address', (_, one) => registryOf({ ...one, address: 'api.shop:80' }).lookup()],
    ])('is not sent anywhere when the registry %s', async (_name, answer) => {
      const endpoint = await listener();
      const meshed = { address: formatAddress(endpoint.address), transport };
      const parts: DataPlaneOptions['parts'] = {
        originalDestination: () => endpoint.address,
        registry: { lookup: (_address, signal) => answer(signal, meshed) },
      };
      expect(await say(registryOf(), quick({ hbonePort: endpoint.address.port, parts }))).toBe('reset');
      expect(endpoint.seen()).not.toContain(secret);
    });

    it('is not sent in clear while this sidecar has no identity', async () => {
      const endpoint = await listener();
      const meshed = { address: formatAddress(endpoint.address), transport };
      const none = () => {
        throw new DeniedError('not_ready', 'There is no identity yet');
      };
      const options = quick({ hbonePort: endpoint.address.port, parts: { identity: { current: none } } });
      expect(await say(registryOf(meshed, inClear(endpoint.address)), options)).toBe('reset');
      expect(endpoint.seen()).toBe('');
    });

    it('G8: is not sent in clear when the registry learns of the sidecar while the endpoint is dialled', async () => {
      const endpoint = await listener();
      const answers = [
        registryOf(inClear(endpoint.address)),
        registryOf({ address: formatAddress(endpoint.address), transport }),
      ];
      const lookup = () => (answers.length > 1 ? answers.shift() : answers[0])?.lookup() as Promise<Lookup>;
      const plane = await caller({ lookup }, quick({ hbonePort: endpoint.address.port }));
      expect(await sayTo(plane)).toBe('reset');
      expect(await plane.line({ direction: 'outbound' })).toMatchObject({ outcome: 'closed', reason: 'policy_change' });
      expect(endpoint.seen()).toBe('');
    });
  });

  it('is not sent in clear any more once the sidecar was told so, also when the control plane goes away then', async () => {
    const endpoint = await listener();
    const told: { receive: ((destination: Destination) => void) | undefined } = { receive: undefined };
    let isUp = true;
    const client = {
      async destinations() {
        if (!isUp) throw new Error('it is away');
        return [await destinationOf(inClear(endpoint.address))];
      },
    };
    const stream = {
      isUp: () => isUp,
      watch: () => undefined,
      subscribe(listeners: { destinationReceived?: (destination: Destination) => void }) {
        told.receive = listeners.destinationReceived;
        return () => undefined;
      },
    };
    const registry = createRegistry({ clock: systemClock, client, stream }, { maxDestinations: 10, idleMs: 600_000 });
    later(() => void registry.close());
    const plane = await caller(registry as unknown as ReturnType<typeof registryOf>, quick());
    void sayTo(plane);
    await expect.poll(endpoint.seen).toBe(secret);
    told.receive?.(await destinationOf({ address: formatAddress(endpoint.address), transport: 'direct' }));
    isUp = false;
    expect(await sayTo(plane)).toBe('reset');
    expect(endpoint.seen().split(secret)).toHaveLength(2);
  });

  it.each<[string, Lookup['kind'], string]>([
    ['forgets it', 'unknown', 'unknown_destination'],
    ['is lost', 'unavailable', 'control_plane_unavailable'],
  ])('G8: is not sent when the registry %s while the endpoint is dialled', async (_name, kind, reason) => {
    const endpoint = await listener();
    const first = registryOf(inClear(endpoint.address));
    let asked = 0;
    const lookup = async (): Promise<Lookup> => {
      asked += 1;
      return asked === 1 ? first.lookup() : ({ kind, why: 'it is away' } as Lookup);
    };
    const plane = await caller({ lookup }, quick());
    expect(await sayTo(plane)).toBe('reset');
    expect(await plane.line({ direction: 'outbound' })).toMatchObject({ outcome: 'denied', reason });
    expect(endpoint.seen()).toBe('');
  });

  it.each<[string, PolicyState | undefined, string]>([
    ['has gone', undefined, 'policy_unavailable'],
    // What the first one let pass lies in the mesh networks of this test from then on.
    ['has come that registers it', { mode: 'STRICT', registered: [] }, 'unknown_destination'],
  ])('G8: is not passed through when a policy %s while it is dialled', async (_name, later, reason) => {
    const original = await listener();
    let policy: PolicyState | undefined = strict;
    let isInMesh = false;
    const plane = await caller(
      { lookup: async () => ({ kind: 'unknown' }) },
      {
        parts: {
          originalDestination: () => original.address,
          policy: {
            current() {
              const current = policy;
              policy = later;
              return current;
            },
          },
        },
        adjust: (all) => ({
          ...all,
          listen: { ...all.listen, outbound: [{ ip: '127.0.0.1', port: 0 }] },
          outbound: {
            ...all.outbound,
            meshNetworks: {
              has() {
                const current = isInMesh;
                isInMesh = later !== undefined;
                return current;
              },
            },
          },
        }),
      },
    );
    expect(await sayTo(plane)).toBe('reset');
    expect(await plane.line({ direction: 'outbound' })).toMatchObject({ outcome: 'denied', reason });
    expect(original.seen()).toBe('');
  });
});
