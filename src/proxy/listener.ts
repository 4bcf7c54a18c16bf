import type { Server, Socket } from 'node:net';
import { createServer } from 'node:net';
import type { Address } from '../addresses.ts';
import { formatAddress } from '../addresses.ts';
import { bindError } from '../bind-error.ts';
import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';

export interface ListenerSettings {
  readonly address: Address;
  /** Application connections need it; a tunnel's must not have it. */
  readonly allowHalfOpen: boolean;
  /** Beyond it a connection is dropped as soon as it is accepted. */
  readonly maxConnections: number;
}

export interface Listener {
  /** As bound: a configured port 0 has become a real one. */
  readonly address: Address;
  /** Takes no new connections; those that are open stay. Idempotent. */
  close(): void;
}

/** Binds one address. Throws `FailureError` or `PermissionError`, naming the address. */
export async function listen(
  { address, allowHalfOpen, maxConnections }: ListenerSettings,
  log: Log,
  onConnection: (socket: Socket) => void,
): Promise<Listener> {
  const server = createServer({ allowHalfOpen, noDelay: true }, (socket) => {
    // Each stage listens for what concerns it; an error between two stages shows as the close that follows it.
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  server.maxConnections = maxConnections;
  server.on('drop', (dropped) => {
    log.warn(
      { peerAddress: dropped?.remoteAddress, listener: formatAddress(address), reason: 'connection_limit' },
      'Connection dropped at the limit',
    );
  });
  await bind(server, address);
  // Out of descriptors and the like: the kernel keeps the connection in its queue, and the next accept takes it.
  server.on('error', (error) =>
    log.error({ listener: formatAddress(address), detail: messageOf(error) }, 'Accepting failed'),
  );
  const bound = server.address();
  const port = bound !== null && typeof bound === 'object' ? bound.port : address.port;
  return {
    address: { ip: address.ip, port },
    close() {
      server.close();
    },
  };
}

function bind(server: Server, address: Address): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', (error) => reject(bindError(formatAddress(address), error)));
  // `ipv6Only`, because the IPv4 side has a listener of its own, and the kernel's answers for both families differ.
  server.listen({ host: address.ip, port: address.port, ipv6Only: true, backlog: 4096 }, () => {
    server.removeAllListeners('error');
    resolve();
  });
  return promise;
}
