/**
 * Listens on every `host:port` given behind a name, and tells each connection where it has landed and where it was going:
 * `{"at":"neighbour","ip":"10.77.0.3","port":8080,"peer":"10.77.0.2","destination":"10.77.0.3:8080"}`. The same
 * lines go to standard output, after a line `ready`. A connection that sends a line gets it back.
 */
import type { Socket } from 'node:net';
import { createServer } from 'node:net';
import { canonicalIp, formatAddress, splitHostPort } from '../../../src/addresses.ts';
import { originalDestination } from '../../../src/libc.ts';

const [name = '', ...addresses] = process.argv.slice(2);

function serve(socket: Socket): void {
  const destination = originalDestination(socket);
  const landed = {
    at: name,
    ip: canonicalIp(socket.localAddress?.replace(/%.*/, '') ?? ''),
    port: socket.localPort,
    peer: canonicalIp(socket.remoteAddress?.replace(/%.*/, '') ?? ''),
    destination: destination === undefined ? undefined : formatAddress(destination),
  };
  process.stdout.write(`${JSON.stringify(landed)}\n`);
  socket.on('error', () => undefined);
  socket.write(`${JSON.stringify(landed)}\n`);
  socket.pipe(socket);
}

await Promise.all(
  addresses.map(async (text) => {
    const address = splitHostPort(text);
    if (address === undefined) throw new TypeError(`${text} is not host:port`);
    const server = createServer({ allowHalfOpen: true }, serve);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: address.host, port: address.port, ipv6Only: true }, resolve);
    });
  }),
);
process.stdout.write('ready\n');
