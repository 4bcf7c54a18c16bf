import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import type { Duplex } from 'node:stream';

/** The two ends of one TCP connection on loopback; their errors are heard, and show in how they end. */
export async function socketPair(allowHalfOpen: boolean): Promise<[Socket, Socket]> {
  const server = createServer({ allowHalfOpen });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const near = connect({ host: '127.0.0.1', port: (server.address() as AddressInfo).port, allowHalfOpen });
  const [[far]] = (await Promise.all([once(server, 'connection'), once(near, 'connect')])) as [[Socket], unknown];
  server.close();
  for (const socket of [near, far]) socket.on('error', () => undefined);
  return [near, far];
}

/**
 * Everything until the end; rejects when there is none. Unlike the consumers of node:stream it leaves the socket alone,
 * which may still have something to send.
 */
export function readAll(stream: Duplex): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  stream.once('end', () => resolve(Buffer.concat(chunks)));
  stream.once('error', reject);
  stream.once('close', () => reject(new Error('The connection closed before its end')));
  stream.resume();
  return promise;
}

/** How a connection ended, seen from its application. */
export async function ending(socket: Duplex): Promise<'end' | 'reset'> {
  const seen: string[] = [];
  socket.on('end', () => seen.push('end'));
  socket.on('error', (error: NodeJS.ErrnoException) =>
    seen.push(error.code === 'ECONNRESET' ? 'reset' : String(error.code)),
  );
  socket.resume();
  if (!socket.closed) await once(socket, 'close').catch(() => undefined);
  return seen[0] === 'end' ? 'end' : 'reset';
}
