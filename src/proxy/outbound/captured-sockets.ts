import type { Socket } from 'node:net';
import type { Address } from '../../addresses.ts';
import { peerAddressOf } from '../socket-ends.ts';

/** A connection of the application that was captured and is open. */
export interface CapturedConnection {
  /** The application's end, as it was when it arrived. */
  readonly peer: Address;
  /** Where it was going; asks the kernel, which may not know. */
  destination(): Address | undefined;
}

/** All that were accepted and are open; addresses are asked for only by whoever looks at them. */
export interface CapturedSockets {
  add(socket: Socket): void;
  open(): Iterable<CapturedConnection>;
}

export function createCapturedSockets(originalDestination: (socket: Socket) => Address | undefined): CapturedSockets {
  const sockets = new Set<Socket>();
  return {
    add(socket) {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
    },
    *open() {
      for (const socket of sockets) {
        const peer = peerAddressOf(socket);
        if (peer !== undefined) yield { peer, destination: () => originalDestination(socket) };
      }
    },
  };
}
