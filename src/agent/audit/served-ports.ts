import type { SocketLine } from './socket-table.ts';

/** Which ports of the pod connections come in on, as far as the looks so far show it. */
export interface ServedPorts {
  /** Somebody listens on it, or did and serves on: a connection on it has been open at every look since. */
  isServed(port: number): boolean;
  /** Somebody listened on it at any look. */
  wasServed(port: number): boolean;
}

/** The ports of one look, to be shown each of its sockets. */
export interface PortsOfLook extends ServedPorts {
  visit(socket: SocketLine): void;
}

/** Each call begins a look. */
export function createServedPorts(): () => PortsOfLook {
  const ever = new Set<number>();
  let last: ReadonlySet<number> = new Set();
  return () => {
    const before = last;
    const now = new Set<number>();
    last = now;
    return {
      visit({ state, local: { port } }) {
        const isOpen = state === 'established' || state === 'half-closed';
        if (state === 'listening') ever.add(port);
        if (state === 'listening' || (isOpen && before.has(port))) now.add(port);
      },
      isServed: (port) => now.has(port),
      wasServed: (port) => ever.has(port),
    };
  };
}
