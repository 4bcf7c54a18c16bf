import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { Duplex } from 'node:stream';
import * as tls from 'node:tls';
import type { PolicyState } from '../../src/control-api.ts';
import type { DataPlaneOptions, RunningDataPlane } from './data-plane.ts';
import { runDataPlane } from './data-plane.ts';
import { createTestAuthority, createTestIdentity } from './identities.ts';

/*
 * A captured port, 15006, in front of an application in this process, as the kernel would bring connections to it.
 */

export const meshAuthority = createTestAuthority('cluster.local');

export interface CapturedPort {
  readonly plane: RunningDataPlane;
  /** Of the application. */
  readonly port: number;
  /** Connections that reached the application, in their order; each lives until the test closes it. */
  readonly reached: readonly Socket[];
  /** The first one that was not asked for yet. */
  next(): Promise<Socket>;
  /** A client that captured connections come from. */
  dial(): Promise<Socket>;
  close(): void;
}

export async function openCapturedPort(
  policy: PolicyState,
  onConnection: (socket: Socket) => void = () => undefined,
  options: Partial<DataPlaneOptions> = {},
): Promise<CapturedPort> {
  const reached: Socket[] = [];
  const clients = new Set<Socket>();
  let taken = 0;
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    reached.push(socket);
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const destination = { ip: '127.0.0.1', port };
  const plane = await runDataPlane({
    identity: createTestIdentity(meshAuthority, { namespace: 'shop', serviceAccount: 'api' }),
    deliveries: [destination],
    ...options,
    parts: { originalDestination: () => destination, ...options.parts },
    adjust: (settings) => {
      const usual = {
        ...settings,
        listen: { ...settings.listen, inbound: [{ ip: '127.0.0.1', port: 0 }] },
        inbound: { ...settings.inbound, floor: { ...settings.inbound.floor, minimumMode: 'DISABLE' as const } },
      };
      return options.adjust?.(usual) ?? usual;
    },
  });
  plane.policy = policy;
  return {
    plane,
    port,
    reached,
    async next() {
      if (reached.length === taken) await once(server, 'connection');
      taken += 1;
      return reached[taken - 1] as Socket;
    },
    async dial() {
      const socket = connect({ host: '127.0.0.1', port: plane.addresses.inbound[0]?.port ?? 0, allowHalfOpen: true });
      clients.add(socket);
      socket.on('error', () => undefined);
      await once(socket, 'connect');
      return socket;
    },
    close() {
      plane.stop();
      server.close();
      for (const socket of [...clients, ...reached]) socket.destroy();
    },
  };
}

/** TLS as a peer of the mesh begins it, with a certificate unless `options` say otherwise. */
export function meshClient(socket: Duplex, options: tls.ConnectionOptions = {}): tls.TLSSocket {
  const issued = meshAuthority.issue({ id: 'ns/shop/sa/web' });
  const secure = tls.connect({
    socket,
    key: issued.key.export({ type: 'pkcs8', format: 'pem' }) as string,
    cert: issued.chainPem,
    ca: meshAuthority.bundlePem,
    ALPNProtocols: ['istio'],
    checkServerIdentity: () => undefined,
    ...options,
  });
  secure.on('error', () => undefined);
  return secure;
}

/** The same connection, whose first write goes out as `cut` has it, each piece in a segment of its own. */
export function cutFirstFlight(socket: Socket, cut: (flight: Buffer) => readonly Buffer[]): Duplex {
  let isFirst = true;
  const shaped = new Duplex({
    read: () => void socket.resume(),
    async write(chunk: Buffer, _encoding, done) {
      const pieces = isFirst ? cut(chunk) : [chunk];
      isFirst = false;
      for (const piece of pieces) {
        await new Promise((sent) => socket.write(piece, sent));
        // Else the kernel puts them together.
        await new Promise((soon) => setImmediate(soon));
      }
      done();
    },
    final: (done) => void socket.end(done),
  });
  socket.on('data', (chunk) => shaped.push(chunk));
  socket.on('end', () => shaped.push(null));
  socket.on('close', () => shaped.destroy());
  return shaped;
}
