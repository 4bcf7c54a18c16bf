import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import type { Agent } from './agent-program.ts';
import { freePorts, readyAgent } from './agent-program.ts';
import { idOf, writeIdentity } from './identity-files.ts';

/** Sidecars db and web, and a connection of web's application to db's, which echoes. */
export interface ConnectedPair {
  readonly db: Agent;
  readonly web: Agent;
  readonly socket: Socket;
  /** Where web's application dials db. */
  readonly listen: number;
}

/** `closing` gets what ends the applications; `settings` are those of both sidecars. */
export async function connectedPair(
  closing: (() => unknown)[],
  settings: Readonly<Record<string, string>> = {},
): Promise<ConnectedPair> {
  const port = await echo(closing);
  const [listen = 0] = await freePorts(1);
  const db = await readyAgent({
    ...writeIdentity('db'),
    deliver: `127.0.0.1:${port}`,
    allowPeers: idOf('web'),
    ...settings,
  });
  const web = await readyAgent({
    ...writeIdentity('web'),
    listen: `127.0.0.1:${listen}`,
    target: `127.0.0.1:${port}`,
    peer: idOf('db'),
    via: `127.0.0.1:${db.ports.hbone}`,
    ...settings,
  });
  const socket = dial(listen);
  closing.push(() => socket.destroy());
  await echoes(socket, 'hello');
  return { db, web, socket, listen };
}

export function dial(port: number): Socket {
  return connect({ host: '127.0.0.1', port }).on('error', () => undefined);
}

/** Resolves when it has ended, in whatever way. */
export const gone = (socket: Socket): Promise<void> => new Promise((resolve) => socket.once('close', () => resolve()));

/** Sends a text and resolves when it has come back; rejects when the connection ends instead. */
export function echoes(socket: Socket, text: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let answer = '';
  const onData = (chunk: Buffer) => {
    answer += chunk.toString();
    if (answer.length < text.length) return;
    if (answer === text) resolve();
    else reject(new Error(`'${answer}' came back for '${text}'`));
  };
  const onClose = () => reject(new Error(`The connection ended after '${answer}'`));
  socket.on('data', onData).once('close', onClose);
  socket.write(text);
  return promise.finally(() => socket.off('data', onData).off('close', onClose));
}

async function echo(closing: (() => unknown)[]): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => sockets.add(socket.on('error', () => undefined).pipe(socket)));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  closing.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}
