import { createHash, randomBytes } from 'node:crypto';
import type { Server, Socket } from 'node:net';
import { createServer } from 'node:net';

/*
 * An ordinary TCP application that knows nothing of the mesh: one port for each manner. Prints `ready`, then one JSON
 * line for each connection when it is over: how it ended and how many bytes came.
 */
const manners: Record<number, (socket: Socket) => void> = {
  // Sends back what comes.
  7001: (socket) => socket.pipe(socket),
  // Takes everything, then answers with its hash.
  7002(socket) {
    const hash = createHash('sha256');
    socket.on('data', (chunk) => hash.update(chunk));
    socket.on('end', () => socket.end(`${hash.digest('hex')}\n`));
  },
  // The first line is a number of bytes; sends so many, and their hash as the last 64.
  7003(socket) {
    socket.once('data', (chunk) => {
      const bytes = randomBytes(Number(chunk.toString()));
      socket.end(Buffer.concat([bytes, Buffer.from(createHash('sha256').update(bytes).digest('hex'))]));
    });
    socket.resume();
  },
  // Speaks first, as SMTP and MySQL do.
  7004(socket) {
    socket.write('220 ready\r\n');
    socket.on('data', (chunk) => socket.end(`250 ${chunk}`));
  },
  // Answers half, then resets.
  7005(socket) {
    socket.once('data', () => socket.write('half', () => setImmediate(() => socket.resetAndDestroy())));
  },
};

/** As a well-behaved application ends: connections that are open go on. */
const servers: Server[] = [];
process.on('SIGTERM', () => {
  console.log('stopping');
  for (const server of servers) server.close();
});

const addresses = process.argv.slice(2);
let listening = 0;
for (const [port, serve] of Object.entries(manners)) {
  for (const address of addresses) {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      const seen: string[] = [];
      let bytes = 0;
      socket.on('data', (chunk) => {
        bytes += chunk.length;
      });
      socket.on('end', () => seen.push('end'));
      socket.on('error', (error: NodeJS.ErrnoException) => seen.push(error.code ?? error.message));
      const peer = socket.remoteAddress;
      socket.on('close', () =>
        console.log(JSON.stringify({ port: Number(port), peer, bytes, ended: seen[0] ?? 'close' })),
      );
      serve(socket);
    });
    servers.push(server);
    server.listen({ host: address, port: Number(port), ipv6Only: true }, () => {
      listening += 1;
      if (listening === Object.keys(manners).length * addresses.length) console.log('ready');
    });
  }
}
