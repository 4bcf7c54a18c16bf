import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { patternOf } from './rolling-pattern.ts';

/*
 * An ordinary HTTP application, `rolling-server.ts NAME ADDRESS [stubborn]`, on port 8080: `/short` answers at once, `/bytes/N` with N bytes
 * at its own pace, a POST with the hash of what came. After SIGTERM it serves on and asks its clients to close their
 * connections. A line on its standard input is the end of that time: it takes no new connections, closes the idle ones,
 * and ends when the rest is answered. A stubborn one leaves the idle ones open.
 */
const [name = '', address = '', manner] = process.argv.slice(2);
const isStubborn = manner === 'stubborn';
const chunkBytes = 64 * 1024;
let isStopping = false;

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (isStopping && !isStubborn) response.setHeader('connection', 'close');
  response.setHeader('served-by', name);
  const length = Number(/^\/bytes\/(\d+)$/.exec(request.url ?? '')?.[1] ?? 0);
  if (request.method === 'POST') {
    const hash = createHash('sha256');
    for await (const chunk of request) hash.update(chunk);
    response.end(hash.digest('hex'));
  } else if (length > 0) {
    response.setHeader('content-length', length);
    for (let from = 0; from < length; from += chunkBytes) {
      response.write(patternOf(from, Math.min(chunkBytes, length - from)));
      await setTimeout(10);
    }
    response.end();
  } else response.end('ok');
}

/** Connections whose last answer has been written to the end. */
const idle = new Set<Socket>();
const server = createServer({ keepAliveTimeout: 600_000 }, (request, response) => {
  const { socket } = request;
  idle.delete(socket);
  response.once('finish', () => idle.add(socket));
  answer(request, response).catch(() => response.destroy());
});
server.on('connection', (socket) => socket.once('close', () => idle.delete(socket)));
// What Node.js has instead takes an answer for done while its last bytes still wait to be written, and cuts it off.
server.closeIdleConnections = () => {
  if (!isStubborn) for (const socket of idle) socket.destroy();
};
server.listen(8080, address, () => console.log('ready'));
process.on('SIGTERM', () => {
  isStopping = true;
  console.log('stopping');
});
createInterface({ input: process.stdin }).once('line', () => server.close(() => process.exit(0)));
