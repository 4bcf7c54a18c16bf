import { EventEmitter, once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import * as tls from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import type { Address } from '../../../src/addresses.ts';
import { formatAddress } from '../../../src/addresses.ts';
import type { Destination, Endpoint } from '../../../src/control-api.ts';
import type { EndpointBook } from '../../../src/proxy/outbound/endpoint-book.ts';
import { createEndpointBook } from '../../../src/proxy/outbound/endpoint-book.ts';
import type { Slots } from '../../../src/proxy/slots.ts';
import { createSlots } from '../../../src/proxy/slots.ts';
import type { CapturedLog } from '../../support/captured-log.ts';
import { captureLog } from '../../support/captured-log.ts';
import type { RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';
import { ending } from '../../support/sockets.ts';

/**
 * A Service whose pods have addresses of their own on loopback, each with a real sidecar on the same port, and a client
 * whose sidecar captures. Time stands still: what is set aside stays so until a test moves the clock.
 */
const authority = createTestAuthority('cluster.local');
const idOf = (serviceAccount: string) => `spiffe://cluster.local/ns/shop/sa/${serviceAccount}`;
const identityOf = (serviceAccount: string) => createTestIdentity(authority, { namespace: 'shop', serviceAccount });
const service = { ip: '10.96.0.10', port: 80 };
/** Nobody else listens on these, not even another run of this file. */
const ipOf = (pod: number) => `127.77.${process.pid % 256}.${pod}`;

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

interface Application {
  readonly address: Address;
  /** Everything that it has received. */
  received(): string;
  connections(): number;
  stop(): void;
}

/** Greets with its name and keeps the connection open. */
async function application(ip: string, name: string, port: number): Promise<Application> {
  const chunks: Buffer[] = [];
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createServer((socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.write(name);
  });
  server.listen(port, ip);
  await once(server, 'listening');
  const stop = () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  cleanups.push(stop);
  return {
    stop,
    address: { ip, port: (server.address() as AddressInfo).port },
    received: () => Buffer.concat(chunks).toString(),
    connections: () => connections,
  };
}

interface Pod {
  readonly endpoint: Endpoint;
  readonly app: Application;
  readonly sidecar: RunningDataPlane;
}

interface PodOptions {
  readonly identity?: string;
  readonly hbonePort?: number;
  readonly appPort?: number;
  readonly allowedPeers?: readonly string[];
  /** Of its sidecar. */
  readonly connections?: Slots;
}

async function startPod(number: number, options: PodOptions = {}): Promise<Pod> {
  const { identity = 'api', hbonePort = 0, appPort = 0, allowedPeers, connections } = options;
  const ip = ipOf(number);
  const app = await application(ip, `pod ${number}`, appPort);
  const sidecar = await runDataPlane({
    identity: identityOf(identity),
    deliveries: [app.address],
    ...(allowedPeers && { allowedPeers }),
    ...(connections && { parts: { connections } }),
    adjust: (all) => ({ ...all, listen: { ...all.listen, hbone: [{ ip, port: hbonePort }] } }),
  });
  cleanups.push(() => sidecar.stop());
  return { endpoint: endpointOf(app.address), app, sidecar };
}

const endpointOf = (address: Address, over: Partial<Endpoint> = {}): Endpoint => ({
  address: formatAddress(address),
  spiffeId: idOf('api'),
  transport: 'hbone',
  ready: true,
  terminating: false,
  ...over,
});
const hbonePortOf = ({ sidecar }: Pod) => sidecar.addresses.hbone[0]?.port ?? 0;

interface Client {
  readonly plane: RunningDataPlane;
  readonly book: EndpointBook;
  readonly clock: FakeClock;
  readonly captured: CapturedLog;
  /** The last part of each address that was dialled, in order. */
  readonly dialled: string[];
  /** Resolves when one more connection to an endpoint has ended. */
  ended(): Promise<void>;
  /** What the registry says of the Service. */
  destination: Destination;
}

const destinationOf = (endpoints: readonly Endpoint[], over: Partial<Destination> = {}): Destination => ({
  address: formatAddress(service),
  service: 'api.shop',
  endpoints: [...endpoints],
  ttlSeconds: 300,
  known: true,
  ...over,
});

/** A sidecar that captures what is dialled on its outbound port. Of endpoints that are alike it takes the first. */
async function startClient(
  endpoints: readonly Endpoint[],
  hbonePort: number,
  over: Partial<Destination> = {},
): Promise<Client> {
  const clock = createFakeClock(Date.now(), () => 0);
  const captured = captureLog();
  const dialled: string[] = [];
  const ends = new EventEmitter();
  const real = createEndpointBook({ clock, log: captured.log, counter: { logLineSuppressed: () => undefined } });
  const book: EndpointBook = {
    ...real,
    begin(endpoint) {
      dialled.push(endpoint.address.ip.split('.').at(-1) ?? '');
      const attempt = real.begin(endpoint);
      const end = () => {
        attempt.end();
        ends.emit('end');
      };
      return { ...attempt, end };
    },
  };
  const state = { destination: destinationOf(endpoints, over) };
  const plane = await runDataPlane({
    identity: identityOf('web'),
    clock,
    hbonePort,
    parts: {
      endpoints: book,
      originalDestination: () => service,
      registry: { lookup: async () => ({ kind: 'known', destination: state.destination }) },
    },
    adjust: (all) => ({
      ...all,
      listen: { ...all.listen, outbound: [{ ip: '127.0.0.1', port: 0 }] },
      outbound: { ...all.outbound, meshNetworks: { has: (ip) => ip.startsWith('10.') } },
    }),
  });
  cleanups.push(() => plane.stop());
  return Object.assign(state, {
    plane,
    book,
    clock,
    captured,
    dialled,
    ended: async () => void (await once(ends, 'end')),
  });
}

function dial({ plane }: Client): Socket {
  const socket = connect({ host: '127.0.0.1', port: plane.addresses.outbound[0]?.port ?? 0 });
  socket.on('error', () => undefined);
  cleanups.push(() => socket.destroy());
  return socket;
}

/** Who greets; the connection stays open. */
async function greeting(socket: Socket): Promise<string> {
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  return chunk.toString();
}
const goesTo = async (client: Client) => await greeting(dial(client));

/** The next connections, one after the other, all kept open. */
async function goTo(client: Client, count: number): Promise<string[]> {
  const names: string[] = [];
  for (let i = 0; i < count; i += 1) names.push(await goesTo(client));
  return names;
}

/** Listens where a sidecar should be. */
async function standIn(number: number, port: number, onConnection: (socket: Socket) => void) {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  server.listen(port, ipOf(number));
  await once(server, 'listening');
  const stop = () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  cleanups.push(stop);
  return { stop, connections: () => sockets.size };
}

/** A server with a certificate of the mesh that belongs to somebody else, and with ears for whatever comes after the handshake. */
async function startImpostor(number: number, port: number) {
  const { key, chainPem } = authority.issue({ id: 'ns/shop/sa/mallory' });
  const chunks: Buffer[] = [];
  const gone = Promise.withResolvers<void>();
  let connections = 0;
  const server = tls.createServer({
    key: key.export({ type: 'pkcs8', format: 'pem' }),
    cert: chainPem,
    ca: authority.bundlePem,
    requestCert: true,
    ALPNProtocols: ['h2'],
  });
  server.on('connection', (socket: Socket) => {
    connections += 1;
    socket.on('error', () => undefined);
    socket.once('close', () => gone.resolve());
  });
  server.on('secureConnection', (socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  });
  server.listen(port, ipOf(number));
  await once(server, 'listening');
  cleanups.push(() => server.close());
  return { gone: gone.promise, connections: () => connections, received: () => Buffer.concat(chunks).toString() };
}

describe('connections to a Service', () => {
  it.each(['hbone', 'plaintext'] as const)('go where this sidecar has fewer of them: %s', async (transport) => {
    const one = await startPod(1);
    const two = await startPod(2, { hbonePort: hbonePortOf(one) });
    const endpoints = [one, two].map(({ endpoint }) => ({ ...endpoint, transport }));
    const client = await startClient(endpoints, hbonePortOf(one));
    const sockets = Array.from({ length: 6 }, () => dial(client));
    const names = await Promise.all(sockets.map(greeting));
    expect(names.toSorted()).toEqual(['pod 1', 'pod 1', 'pod 1', 'pod 2', 'pod 2', 'pod 2']);

    for (const [i, socket] of sockets.entries()) {
      if (names[i] !== 'pod 2') continue;
      socket.resetAndDestroy();
      await client.ended();
    }
    expect(await goTo(client, 3)).toEqual(['pod 2', 'pod 2', 'pod 2']);
  });

  it('with session affinity go to one endpoint, until it cannot be reached', async () => {
    const one = await startPod(1, { appPort: 8080 });
    const hbonePort = hbonePortOf(one);
    const two = await startPod(2, { hbonePort });
    const client = await startClient([one.endpoint, two.endpoint], hbonePort, { affinitySeconds: 60 });
    expect(await goTo(client, 3)).toEqual(['pod 1', 'pod 1', 'pod 1']);
    one.app.stop();
    one.sidecar.stop();
    expect(await goTo(client, 2)).toEqual(['pod 2', 'pod 2']);
    await startPod(1, { hbonePort, appPort: 8080 });
    await client.clock.advance(500);
    expect(await goTo(client, 1)).toEqual(['pod 2']);
  });
});

describe('an endpoint that cannot be reached', () => {
  it.each<[string, string, (socket: Socket) => void]>([
    ['cuts the handshake', 'reset', (socket) => void socket.once('data', () => socket.resetAndDestroy())],
    ['speaks something else', 'bad_record', (socket) => void socket.write('SSH-2.0-OpenSSH_9.9\r\n')],
  ])(
    'gets one connection, and one more after its time, until it is back: one that %s',
    async (_, reason, onConnection) => {
      const two = await startPod(2);
      const hbonePort = hbonePortOf(two);
      const broken = await standIn(1, hbonePort, onConnection);
      const first = endpointOf({ ip: ipOf(1), port: 8080 });
      const client = await startClient([first, two.endpoint], hbonePort);
      expect(await goTo(client, 3)).toEqual(['pod 2', 'pod 2', 'pod 2']);
      expect(broken.connections()).toBe(1);
      expect(await client.captured.next('Endpoint set aside')).toMatchObject({
        endpoint: `${ipOf(1)}:8080`,
        peerId: idOf('api'),
        outcome: 'handshake',
        reason,
        failures: 1,
        forMs: 500,
      });

      await client.clock.advance(500);
      expect(await goTo(client, 2)).toEqual(['pod 2', 'pod 2']);
      expect(broken.connections()).toBe(2);

      broken.stop();
      await startPod(1, { hbonePort, appPort: 8080 });
      await client.clock.advance(1000);
      expect(await goTo(client, 2)).toEqual(['pod 1', 'pod 1']);
      expect(await client.captured.next('Endpoint taken back')).toMatchObject({
        endpoint: `${ipOf(1)}:8080`,
        failures: 2,
      });
    },
  );

  it('is set aside when its sidecar cannot reach its application, and comes back with it', async () => {
    const one = await startPod(1);
    const hbonePort = hbonePortOf(one);
    const two = await startPod(2, { hbonePort });
    one.app.stop();
    const client = await startClient([one.endpoint, two.endpoint], hbonePort);
    expect(await goTo(client, 2)).toEqual(['pod 2', 'pod 2']);
    expect(client.dialled).toEqual(['1', '2', '2']);
    expect(await client.captured.next('Endpoint set aside')).toMatchObject({
      outcome: 'closed',
      reason: 'upstream_refused',
    });

    await application(ipOf(1), 'pod 1', one.app.address.port);
    await client.clock.advance(500);
    expect(await goTo(client, 1)).toEqual(['pod 1']);
  });

  it('is set aside when its sidecar has no room, although it has fewer connections than others', async () => {
    const one = await startPod(1, { connections: createSlots(0) });
    const two = await startPod(2, { hbonePort: hbonePortOf(one) });
    const client = await startClient([one.endpoint, two.endpoint], hbonePortOf(one));
    expect(await goTo(client, 3)).toEqual(['pod 2', 'pod 2', 'pod 2']);
    expect(client.dialled).toEqual(['1', '2', '2', '2']);
    expect(await one.sidecar.line({ direction: 'inbound' })).toMatchObject({ reason: 'connection_limit' });
    expect(await client.captured.next('Endpoint set aside')).toMatchObject({
      outcome: 'denied',
      reason: 'peer_refused',
      detail: 'The sidecar of the other side has no room now: connection_limit',
    });
  });

  it('is set aside in plaintext as well', async () => {
    const two = await startPod(2);
    const plaintext = { transport: 'plaintext', spiffeId: '' } as const;
    const nobody = endpointOf({ ip: ipOf(1), port: 8080 }, plaintext);
    const client = await startClient([nobody, { ...two.endpoint, ...plaintext }], 0);
    expect(await goTo(client, 2)).toEqual(['pod 2', 'pod 2']);
    expect(client.dialled).toEqual(['1', '2', '2']);
  });

  it('holds up the connections that were on their way to it, and none after them', async () => {
    const two = await startPod(2);
    const accepted = Promise.withResolvers<void>();
    const silent = await standIn(1, hbonePortOf(two), (socket) => socket.once('data', () => accepted.resolve()));
    const client = await startClient([endpointOf({ ip: ipOf(1), port: 8080 }), two.endpoint], hbonePortOf(two));
    const slow = goesTo(client);
    await accepted.promise;
    await client.clock.advance(10_000);
    expect(await slow).toBe('pod 2');
    expect(await client.captured.next('Endpoint set aside')).toMatchObject({ outcome: 'handshake', reason: 'timeout' });
    expect(await goTo(client, 3)).toEqual(['pod 2', 'pod 2', 'pod 2']);
    expect(silent.connections()).toBe(1);
  });

  it('is dialled all the same when every other has failed too', async () => {
    const two = await startPod(2);
    const hbonePort = hbonePortOf(two);
    two.sidecar.stop();
    const client = await startClient([endpointOf({ ip: ipOf(1), port: 8080 }), two.endpoint], hbonePort);
    expect(await ending(dial(client))).toBe('reset');
    expect(client.book.countSetAside()).toBe(2);
    await startPod(1, { hbonePort, appPort: 8080 });
    expect(await goTo(client, 1)).toEqual(['pod 1']);
  });
});

describe('an endpoint is not set aside', () => {
  it('for a decision of its sidecar, and nobody else is asked then', async () => {
    const one = await startPod(1, { allowedPeers: [idOf('somebody')] });
    const two = await startPod(2, { hbonePort: hbonePortOf(one) });
    const client = await startClient([one.endpoint, two.endpoint], hbonePortOf(one));
    expect(await ending(dial(client))).toBe('reset');
    expect(await client.plane.line({ direction: 'outbound' })).toMatchObject({ reason: 'peer_refused' });
    expect(client.book.countSetAside()).toBe(0);
    expect(client.dialled).toEqual(['1']);
    expect(two.app.connections()).toBe(0);
  });

  it('for a client that gives up', async () => {
    const two = await startPod(2);
    const accepted = Promise.withResolvers<void>();
    await standIn(1, hbonePortOf(two), () => accepted.resolve());
    const client = await startClient([endpointOf({ ip: ipOf(1), port: 8080 }), two.endpoint], hbonePortOf(two));
    const socket = dial(client);
    await accepted.promise;
    socket.resetAndDestroy();
    expect(await client.plane.line({ direction: 'outbound' })).toMatchObject({ outcome: 'closed', reason: 'reset' });
    expect(client.book.countSetAside()).toBe(0);
    expect(client.dialled).toEqual(['1']);
  });

  it('for an identity of ours that has expired', async () => {
    const one = await startPod(1);
    const two = await startPod(2, { hbonePort: hbonePortOf(one) });
    const client = await startClient([one.endpoint, two.endpoint], hbonePortOf(one));
    client.clock.stepWall(client.plane.identity.notAfterMs - client.clock.now());
    expect(await ending(dial(client))).toBe('reset');
    expect(await client.plane.line({ direction: 'outbound' })).toMatchObject({ reason: 'identity_expired' });
    expect(client.book.countSetAside()).toBe(0);
  });
});

describe('somebody else at the address of an endpoint', () => {
  it('S22: gets not one byte, and the connection goes to another endpoint', async () => {
    const two = await startPod(2);
    const impostor = await startImpostor(1, hbonePortOf(two));
    const client = await startClient([endpointOf({ ip: ipOf(1), port: 8080 }), two.endpoint], hbonePortOf(two));
    const socket = dial(client);
    socket.write('secret');
    expect(await greeting(socket)).toBe('pod 2');
    socket.end();
    await client.plane.line({ direction: 'outbound', bytesSent: 6 });
    expect(await client.captured.next('Endpoint set aside')).toMatchObject({
      outcome: 'handshake',
      reason: 'peer_identity',
    });
    await impostor.gone;
    expect(impostor.connections()).toBe(1);
    expect(impostor.received()).toBe('');
    expect(two.app.received()).toBe('secret');
  });

  it('S22: never moves a connection to an endpoint without a sidecar, now or later', async () => {
    const two = await startPod(2);
    const impostor = await startImpostor(1, hbonePortOf(two));
    const plaintext = endpointOf(two.app.address, { transport: 'plaintext', spiffeId: '' });
    const client = await startClient([endpointOf({ ip: ipOf(1), port: 8080 }), plaintext], hbonePortOf(two));
    for (let i = 0; i < 3; i += 1) {
      const socket = dial(client);
      socket.write('secret');
      expect(await ending(socket)).toBe('reset');
    }
    expect(client.dialled).toEqual(['1', '1', '1']);
    expect(two.app.connections()).toBe(0);
    expect(impostor.received()).toBe('');
  });

  it('is dialled at once when the registry says that it belongs there', async () => {
    const one = await startPod(1, { identity: 'next' });
    const two = await startPod(2, { hbonePort: hbonePortOf(one) });
    const client = await startClient([one.endpoint, two.endpoint], hbonePortOf(one));
    expect(await goTo(client, 2)).toEqual(['pod 2', 'pod 2']);
    expect(client.dialled).toEqual(['1', '2', '2']);
    client.destination = destinationOf([{ ...one.endpoint, spiffeId: idOf('next') }, two.endpoint]);
    expect(await goTo(client, 1)).toEqual(['pod 1']);
  });
});
