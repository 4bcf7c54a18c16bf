import type { EventEmitter } from 'node:events';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import type { Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import * as tls from 'node:tls';
import { writeCertificates } from './certificates.ts';
import { startRemora } from './contenders/remora.ts';
import { cpuSeconds } from './proc.ts';
import { endPrograms } from './programs.ts';

/*
 * What a connection to port 15008 costs the sidecar, beside what it costs whoever makes it: a peer that comes to stay, one
 * without a certificate, and strangers who send a ClientHello that they made once, half of one, garbage, or nothing.
 *
 *   node bench/asymmetry.ts [connections of each kind, 2000]
 */

const connections = Number(process.argv[2] ?? 2000);
const atOnce = 8;

interface Traffic {
  readonly sent: number;
  readonly received: number;
}

/** Connects, does its work, and resolves when the connection is closed. */
type Visit = () => Promise<Traffic>;

const dial = async (port: number): Promise<Socket> => {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  await once(socket, 'connect');
  return socket.on('error', () => undefined);
};

/** Unlike `once`, it does not mind an error. */
const happens = (emitter: EventEmitter, event: string) => new Promise((resolve) => emitter.once(event, resolve));

const isOpen = (port: number): Promise<boolean> =>
  dial(port).then(
    (socket) => socket.destroy().destroyed,
    () => false,
  );

const trafficOf = async (socket: Socket): Promise<Traffic> => {
  socket.destroy();
  if (!socket.closed) await happens(socket, 'close');
  return { sent: socket.bytesWritten, received: socket.bytesRead };
};

/** A peer that proves who it is and gets the settings of HTTP/2. */
const peer = (port: number, identity: tls.SecureContextOptions): Visit => {
  const secureContext = tls.createSecureContext({ ...identity, minVersion: 'TLSv1.3' });
  return async () => {
    const socket = await dial(port);
    const secured = tls.connect({ socket, secureContext, ALPNProtocols: ['h2'], rejectUnauthorized: false });
    secured.on('error', () => undefined);
    const session = connectHttp2('https://peer.invalid', { createConnection: () => secured });
    session.on('error', () => undefined);
    await Promise.race([happens(session, 'remoteSettings'), happens(socket, 'close')]);
    session.destroy();
    return trafficOf(socket);
  };
};

/** Somebody who sends the same bytes each time, waits for the first answer or the end, and goes. */
const stranger = (port: number, bytes: Buffer, waits: boolean): Visit => {
  return async () => {
    const socket = await dial(port);
    socket.write(bytes);
    if (waits) await Promise.race([happens(socket, 'data'), happens(socket, 'close')]);
    return trafficOf(socket);
  };
};

/** A ClientHello of this Node.js, as a server gets it. */
async function clientHello(): Promise<Buffer> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const client = tls.connect({ port, host: '127.0.0.1', ALPNProtocols: ['h2'] }).on('error', () => undefined);
  const [socket] = (await once(server, 'connection')) as [Socket];
  const [hello] = (await once(socket, 'data')) as [Buffer];
  client.destroy();
  socket.destroy();
  server.close();
  return hello;
}

async function measure(name: string, pid: number, visit: Visit): Promise<void> {
  for (let warm = 0; warm < 200; warm += 1) await visit();
  const [serverBefore, clientBefore] = [cpuSeconds([pid]), process.cpuUsage()];
  const total = { sent: 0, received: 0 };
  let left = connections;
  const work = async () => {
    while (left-- > 0) {
      const { sent, received } = await visit();
      total.sent += sent;
      total.received += received;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  const { user, system } = process.cpuUsage(clientBefore);
  const server = ((cpuSeconds([pid]) - serverBefore) / connections) * 1e6;
  const client = (user + system) / connections;
  const per = (bytes: number) => Math.round(bytes / connections);
  const ratio = (one: number, other: number) => (other === 0 ? '' : (one / other).toFixed(2));
  console.log(
    `| ${name} | ${server.toFixed(0)} | ${client.toFixed(0)} | ${ratio(server, client)} | ${per(total.sent)} | ${per(total.received)} | ${ratio(total.received, total.sent)} |`,
  );
}

const folder = mkdtempSync(join(tmpdir(), 'remora-asymmetry-'));
try {
  const { client, server } = writeCertificates(folder);
  const { tlsPort: port, pids } = await startRemora({ folder, client, server, backendPort: 9 });
  const pid = pids[0] ?? 0;
  while (!(await isOpen(port))) await setTimeout(50);
  const hello = await clientHello();
  const read = (path: string) => readFileSync(path, 'utf8');
  console.log('| who | CPU of the sidecar, µs | CPU of the client, µs | ratio | bytes sent | bytes received | ratio |');
  console.log('|---|---|---|---|---|---|---|');
  await measure('a peer', pid, peer(port, { cert: read(client.certificate), key: read(client.key) }));
  await measure('without a certificate', pid, peer(port, {}));
  await measure('a ClientHello made once', pid, stranger(port, hello, true));
  await measure('half a ClientHello', pid, stranger(port, hello.subarray(0, hello.length / 2), false));
  await measure('garbage', pid, stranger(port, Buffer.alloc(hello.length, 'GET / '), true));
  await measure('nothing', pid, stranger(port, Buffer.alloc(0), false));
} finally {
  await endPrograms();
  rmSync(folder, { recursive: true, force: true });
}
