import { once } from 'node:events';
import type { Server, Socket } from 'node:net';
import { createServer } from 'node:net';
import { codeOf, FailureError, messageOf } from '../errors.ts';
import { originalDestination } from '../libc.ts';

/** The port that outbound connections are redirected to, held until the sidecar takes it. */
export interface HeldCapturePort {
  readonly kind: 'held';
  /** Resolves when a connection that was redirected on its way to `ip:port` has landed. */
  landing(ip: string, port: number): Promise<void>;
  close(): Promise<void>;
}

/** Another process listens there: the sidecar, or something that would keep it from starting. */
export interface OccupiedCapturePort {
  readonly kind: 'occupied';
  readonly where: string;
}

/** Listens where the sidecar will, on both loopback addresses; a pod without IPv6 has only one. */
export async function holdCapturePort(port: number): Promise<HeldCapturePort | OccupiedCapturePort> {
  const servers: Server[] = [];
  const close = async () => void (await Promise.all(servers.map(closeServer)));
  for (const host of ['127.0.0.1', '::1']) {
    try {
      servers.push(await listen(host, port));
    } catch (error) {
      if (host === '::1' && ['EADDRNOTAVAIL', 'EAFNOSUPPORT'].includes(codeOf(error))) continue;
      await close();
      const where = host === '::1' ? `[::1]:${port}` : `${host}:${port}`;
      if (codeOf(error) === 'EADDRINUSE') return { kind: 'occupied', where };
      throw new FailureError(`Cannot listen on ${where} to prove capture: ${messageOf(error)}`, { cause: error });
    }
  }
  return { kind: 'held', landing: (ip, toPort) => landingOn(servers, ip, toPort), close };
}

function landingOn(servers: readonly Server[], ip: string, port: number): Promise<void> {
  return new Promise((resolve) => {
    const onConnection = (socket: Socket) => {
      const destination = originalDestination(socket);
      socket.on('error', () => undefined).destroy();
      if (destination?.ip !== ip || destination.port !== port) return;
      for (const server of servers) server.off('connection', onConnection);
      resolve();
    };
    for (const server of servers) server.on('connection', onConnection);
  });
}

async function listen(host: string, port: number): Promise<Server> {
  const server = createServer();
  server.listen({ host, port, ipv6Only: true, exclusive: true });
  await once(server, 'listening');
  return server;
}

async function closeServer(server: Server): Promise<void> {
  server.close();
  await once(server, 'close');
}
