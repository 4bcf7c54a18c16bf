import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { resetSocket } from '../../src/proxy/leg.ts';

/** How a connection ends on its way, as its client and its server see it. */
export const cuts = ['end and end', 'end and reset', 'reset and end', 'reset and reset'] as const;
export type Cut = (typeof cuts)[number];

/** One TCP connection that passes through this process. */
export interface Link {
  /** From now on what the server sends is kept back, until `release`. */
  hold(): void;
  release(): void;
  /** Resolves when the client has sent something that the server has been given. */
  request(): Promise<unknown>;
  /** Nothing passes any more. */
  cut(how: Cut): void;
}

/** The network between two programs of a test: connections to `port` go on to another one, and can be cut on their way. */
export interface Wire {
  readonly port: number;
  readonly links: readonly Link[];
  close(): void;
}

export async function createWire(towards: number): Promise<Wire> {
  const links: Link[] = [];
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (near) => {
    const far = connect({ host: '127.0.0.1', port: towards, allowHalfOpen: true });
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
    }
    links.push(createLink(near, far));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    links,
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

function createLink(near: Socket, far: Socket): Link {
  let isCut = false;
  let isHeld = false;
  const cut = (how: Cut) => {
    isCut = true;
    const [nearEnd, farEnd] = how.split(' and ');
    for (const [socket, end] of [
      [near, nearEnd],
      [far, farEnd],
    ] as const) {
      if (end === 'reset') resetSocket(socket);
      else socket.end();
      socket.resume();
    }
  };
  const pass = (from: Socket, to: Socket, mayPass: () => boolean) => {
    from.setNoDelay(true);
    from.on('error', () => !isCut && cut('reset and reset'));
    from.on('data', (chunk: Buffer) => {
      if (!isCut && !to.write(chunk)) from.pause();
    });
    to.on('drain', () => mayPass() && from.resume());
    from.on('end', () => !isCut && to.end());
  };
  pass(near, far, () => true);
  pass(far, near, () => !isHeld);
  return {
    hold() {
      isHeld = true;
      far.pause();
    },
    release() {
      isHeld = false;
      far.resume();
    },
    request: () => once(near, 'data'),
    cut,
  };
}
