import type { Server, Socket } from 'node:net';
import { createServer } from 'node:net';
import type { Address } from '../addresses.ts';
import { formatAddress } from '../addresses.ts';
import { bindError } from '../bind-error.ts';
import { codeOf, messageOf } from '../errors.ts';
import type { Direction } from '../outcomes.ts';
import { deniedReasons } from '../outcomes.ts';
import type { ProxyParts } from './parts.ts';

export interface ListenerSettings {
  readonly address: Address;
  readonly direction: Direction;
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

const outOfDescriptors: ReadonlySet<string | undefined> = new Set(['EMFILE', 'ENFILE']);

/** Binds one address. Throws `FailureError` or `PermissionError`, naming the address. */
export async function listen(
  { address, direction, allowHalfOpen, maxConnections }: ListenerSettings,
  { log, observer, refusals }: Pick<ProxyParts, 'log' | 'observer' | 'refusals'>,
  onConnection: (socket: Socket) => void,
): Promise<Listener> {
  const server = createServer({ allowHalfOpen, noDelay: true }, (socket) => {
    // Each stage listens for what concerns it; an error between two stages shows as the close that follows it.
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  server.maxConnections = maxConnections;
  server.on('drop', (dropped) => {
    const reason = 'connection_limit';
    observer.connectionDenied(direction, reason);
    refusals.tell({ direction, outcome: 'denied', reason }, () =>
      log.warn(
        {
          peerAddress: dropped?.remoteAddress,
          listener: formatAddress(address),
          reason,
          detail: `${maxConnections} connections are accepted here, and no more`,
          remedy: deniedReasons[reason].remedy,
        },
        'Connection dropped at the limit',
      ),
    );
  });
  await bind(server, address);
  // Out of descriptors and the like: the kernel keeps the connection in its queue, and the next accept takes it.
  server.on('error', (error) => {
    const reason = outOfDescriptors.has(codeOf(error)) ? 'descriptor_limit' : 'internal';
    refusals.tell({ direction, outcome: 'denied', reason }, () =>
      log.error({ listener: formatAddress(address), reason, detail: messageOf(error) }, 'Accepting failed'),
    );
  });
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
