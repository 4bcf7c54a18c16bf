import { once } from 'node:events';
import type { Server, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import type { Address } from '../../addresses.ts';
import type { WireCount } from './wire-count.ts';

/**
 * A wire that can be looked at without any privilege: passes each connection on to the target as it is, and shows every
 * byte of both directions to the count.
 */
export interface Tap {
  readonly address: Address;
  close(): void;
}

export async function openTap(
  target: Address,
  count: WireCount,
  carries: 'tunnels' | 'applications',
  tunnelPort: number,
): Promise<Tap> {
  const open = new Set<Socket>();
  let connections = 0;
  const server: Server = createServer({ allowHalfOpen: true }, (near) => {
    const far = connect({ host: target.ip, port: target.port, allowHalfOpen: true });
    connections += 1;
    const port = carries === 'tunnels' ? tunnelPort : 0;
    pass(near, far, watcher(count, `${target.port} ${connections} forth`, port));
    pass(far, near, watcher(count, `${target.port} ${connections} back`, port));
    for (const socket of [near, far]) {
      open.add(socket);
      socket.once('close', () => open.delete(socket));
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new TypeError('A TCP server has an address');
  return {
    address: { ip: '127.0.0.1', port: bound.port },
    close() {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}

/** A reset on one side becomes one on the other, never an orderly end. */
function pass(from: Socket, to: Socket, see: (bytes: Buffer) => void): void {
  from.on('data', see);
  from.on('error', () => to.resetAndDestroy());
  from.pipe(to);
}

/** Each chunk as the segment of a connection that loses nothing. */
function watcher(count: WireCount, flow: string, port: number): (bytes: Buffer) => void {
  let sequence = 0;
  return (payload) => {
    count.see({ kind: 'tcp', flow, sourcePort: port, destinationPort: port, sequence, isLast: false, payload });
    sequence = (sequence + payload.length) % 2 ** 32;
  };
}
