import { once } from 'node:events';
import type { AddressInfo, Server, Socket } from 'node:net';

/** An application of a test's own making, and every connection that it got. */
export interface BrokenApplication {
  readonly port: number;
  readonly sockets: readonly Socket[];
}

/** Listens until `closing` is gone through, which ends its connections too. */
export async function listenAsApplication(
  server: Server,
  closing: (() => unknown)[],
  host = '127.0.0.1',
): Promise<BrokenApplication> {
  const sockets: Socket[] = [];
  server.on('connection', (socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
  });
  server.listen(0, host);
  await once(server, 'listening');
  closing.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, sockets };
}
