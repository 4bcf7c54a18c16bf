import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import * as tls from 'node:tls';
import type { Address } from '../../src/addresses.ts';
import { formatAddress } from '../../src/addresses.ts';
import type { Endpoint } from '../../src/control-api.ts';
import type { Lookup } from '../../src/proxy/outbound/resolve.ts';
import type { DataPlaneOptions, RunningDataPlane } from './data-plane.ts';
import { runDataPlane } from './data-plane.ts';
import type { IssuedCertificate, TestAuthority } from './identities.ts';
import { createTestAuthority, createTestIdentity } from './identities.ts';

/*
 * Peers that speak mutual TLS on the port of an application itself, with node:tls and none of our code, and a sidecar whose
 * connections are captured as if the rules had brought them.
 */

export const mesh: TestAuthority = createTestAuthority('cluster.local', { intermediates: 1 });
export const idOf = (serviceAccount: string) => `spiffe://cluster.local/ns/shop/sa/${serviceAccount}`;
export const identityOf = (serviceAccount: string) => createTestIdentity(mesh, { namespace: 'shop', serviceAccount });
const service = { ip: '10.96.0.10', port: 80 };

const cleanups: (() => void)[] = [];

/** Ends everything that was made here. */
export function endPeers(): void {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
}

export function later(cleanup: () => void): void {
  cleanups.push(cleanup);
}

/** An application, with every connection that it has. */
export async function application(onConnection: (socket: Socket) => void): Promise<Address> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  later(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { ip: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

export const echo = () => application((socket) => void socket.pipe(socket));
export const unreachable = () =>
  application(() => {
    throw new Error('The application must not be reached');
  });

/** What a certificate is shown with. */
export function shown({ key, chainPem }: Pick<IssuedCertificate, 'key' | 'chainPem'>) {
  return { key: key.export({ type: 'pkcs8', format: 'pem' }) as string, cert: chainPem };
}

/** A sidecar in front of `behind`, whose clients arrive on its captured port. */
export async function capturedPort(
  behind: Address,
  options: Partial<DataPlaneOptions> = {},
): Promise<RunningDataPlane> {
  const plane = await runDataPlane({
    identity: identityOf('api'),
    deliveries: [behind],
    ...options,
    parts: { originalDestination: () => behind, ...options.parts },
    adjust: (all) => {
      const captured = { ...all, listen: { ...all.listen, inbound: [{ ip: '127.0.0.1', port: 0 }] } };
      return options.adjust?.(captured) ?? captured;
    },
  });
  later(() => plane.stop());
  return plane;
}

export async function dial(port: number | undefined): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port: port ?? 0, allowHalfOpen: true });
  socket.on('error', () => undefined);
  later(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

export const dialCaptured = ({ addresses }: RunningDataPlane) => dial(addresses.inbound[0]?.port);

const web = shown(mesh.issue({ id: 'ns/shop/sa/web' }));

/** TLS as a client in the mesh begins it. */
export function startClient(socket: Socket, options: tls.ConnectionOptions = {}): tls.TLSSocket {
  const secure = tls.connect({
    socket,
    ...web,
    ca: mesh.bundlePem,
    ALPNProtocols: ['istio-peer-exchange', 'istio'],
    checkServerIdentity: () => undefined,
    ...options,
  });
  secure.on('error', () => undefined);
  return secure;
}

/** A client that has finished its handshake, as far as it can tell. */
export async function client(plane: RunningDataPlane, options: tls.ConnectionOptions = {}): Promise<tls.TLSSocket> {
  const secure = startClient(await dialCaptured(plane), options);
  await once(secure, 'secureConnect');
  return secure;
}

export interface DirectServer {
  readonly address: Address;
  /** The connections that have finished their handshake, as they come. */
  next(): Promise<tls.TLSSocket>;
  /** How many have come so far, with or without a handshake. */
  dialled(): number;
}

/** A server that takes mutual TLS on its own port, as a proxy of another kind does. */
export async function directServer(options: tls.TlsOptions = {}): Promise<DirectServer> {
  const taken: tls.TLSSocket[] = [];
  const waiting: ((socket: tls.TLSSocket) => void)[] = [];
  const sockets = new Set<Socket>();
  let dialled = 0;
  const server = tls.createServer({
    ...shown(mesh.issue({ id: 'ns/shop/sa/api' })),
    ca: mesh.bundlePem,
    requestCert: true,
    rejectUnauthorized: true,
    ALPNProtocols: ['istio'],
    allowHalfOpen: true,
    ...options,
  } as tls.TlsOptions);
  server.on('connection', (raw) => {
    dialled += 1;
    sockets.add(raw);
  });
  server.on('tlsClientError', () => undefined);
  server.on('secureConnection', (socket) => {
    socket.on('error', () => undefined);
    const wanted = waiting.shift();
    if (wanted === undefined) taken.push(socket);
    else wanted(socket);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  later(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return {
    address: { ip: '127.0.0.1', port: (server.address() as AddressInfo).port },
    next: () => {
      const socket = taken.shift();
      return socket === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(socket);
    },
    dialled: () => dialled,
  };
}

/** A registry that knows one Service, with these endpoints; `direct` where nothing else is said. */
export function registryOf(...endpoints: Partial<Endpoint>[]) {
  const destination = {
    address: formatAddress(service),
    service: 'api.shop',
    endpoints: endpoints.map((endpoint) => ({
      address: '127.0.0.1:1',
      spiffeId: idOf('api'),
      transport: 'direct' as const,
      ready: true,
      terminating: false,
      ...endpoint,
    })),
    ttlSeconds: 300,
    known: true,
  };
  return { lookup: async (): Promise<Lookup> => ({ kind: 'known', destination }) };
}

/** A sidecar of `web`, whose application dials that Service. */
export async function caller(
  registry: ReturnType<typeof registryOf>,
  options: Partial<DataPlaneOptions> = {},
): Promise<RunningDataPlane> {
  const plane = await runDataPlane({
    identity: identityOf('web'),
    ...options,
    parts: { originalDestination: () => service, registry, ...options.parts },
    adjust: (all) => {
      const capturing = {
        ...all,
        listen: { ...all.listen, outbound: [{ ip: '127.0.0.1', port: 0 }] },
        outbound: { ...all.outbound, meshNetworks: { has: () => true } },
      };
      return options.adjust?.(capturing) ?? capturing;
    },
  });
  later(() => plane.stop());
  return plane;
}

/** The application of that sidecar dials the Service. */
export const dialService = ({ addresses }: RunningDataPlane) => dial(addresses.outbound[0]?.port);
