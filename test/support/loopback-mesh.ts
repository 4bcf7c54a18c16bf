import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import type { Identity } from '../../src/identity/identity.ts';
import type { Slots } from '../../src/proxy/slots.ts';
import { createSlots } from '../../src/proxy/slots.ts';
import type { DataPlaneOptions, RunningDataPlane } from './data-plane.ts';
import { runDataPlane } from './data-plane.ts';
import { createTestAuthority, createTestIdentity } from './identities.ts';
import type { Wire } from './wire.ts';
import { createWire } from './wire.ts';

export const meshAuthority = createTestAuthority('cluster.local', { intermediates: 1 });
export const meshIdentity = (serviceAccount: string, generation = 1): Identity =>
  createTestIdentity(meshAuthority, { namespace: 'shop', serviceAccount, generation });
/** Made once: every mesh of a file shares their keys. */
const identities = { web: meshIdentity('web'), api: meshIdentity('api') };
export const apiId = identities.api.spiffeId.uri;

/** An application on loopback, and every connection that it was given. */
export interface Application {
  readonly port: number;
  readonly connections: readonly Socket[];
  close(): void;
}

export async function startApplication(onConnection: (socket: Socket) => void): Promise<Application> {
  const connections: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    connections.push(socket);
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    connections,
    close() {
      server.close();
      for (const socket of connections) socket.destroy();
    },
  };
}

/** The sidecars `web` and `api` in this process, with a wire between them: `web` carries its clients to an application of `api`. */
export interface LoopbackMesh {
  readonly web: RunningDataPlane;
  readonly api: RunningDataPlane;
  readonly wire: Wire;
  /** Places of connections, of both sidecars. */
  readonly places: Slots;
  /** A client of `web`, not yet connected. */
  dial(): Socket;
  stop(): void;
}

export async function startLoopbackMesh(
  port: number,
  { web: ofWeb, api: ofApi }: { web?: Partial<DataPlaneOptions>; api?: Partial<DataPlaneOptions> } = {},
): Promise<LoopbackMesh> {
  const target = { ip: '127.0.0.1', port };
  const places = createSlots(20_000);
  const parts = { connections: places };
  const api = await runDataPlane({ identity: identities.api, deliveries: [target], parts, ...ofApi });
  const wire = await createWire(api.addresses.hbone[0]?.port ?? 0);
  const declared = [{ target, peer: apiId }];
  const web = await runDataPlane({ identity: identities.web, declared, hbonePort: wire.port, parts, ...ofWeb });
  const clients: Socket[] = [];
  return {
    web,
    api,
    wire,
    places,
    dial() {
      const { port: listening = 0 } = web.addresses.declared[0] ?? {};
      const socket = connect({ host: '127.0.0.1', port: listening, allowHalfOpen: true });
      socket.on('error', () => undefined);
      clients.push(socket);
      return socket;
    },
    stop() {
      web.stop();
      api.stop();
      wire.close();
      for (const socket of clients) socket.destroy();
    },
  };
}

/** Turns of the event loop until something that the kernel or Node.js does by itself has happened. */
export async function until(hasHappened: () => boolean): Promise<void> {
  while (!hasHappened()) await new Promise((resolve) => setImmediate(resolve));
}

export async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
