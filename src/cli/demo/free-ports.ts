import { once } from 'node:events';
import { createServer } from 'node:net';

/** Ports of 127.0.0.1 that were free a moment ago, each another one. */
export async function findFreePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => {
    const bound = server.address();
    return bound !== null && typeof bound === 'object' ? bound.port : 0;
  });
  await Promise.all(
    servers.map((server) => {
      const closed = once(server, 'close');
      server.close();
      return closed;
    }),
  );
  return ports;
}
