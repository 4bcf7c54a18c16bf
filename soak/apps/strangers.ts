import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';

/*
 * Strangers without an identity: plaintext, garbage, silence, TLS without a certificate and cut handshakes, towards each
 * `HOST:PORT` that is named, until it is killed. `strangers.ts HOST:PORT...`
 */

const request = 'GET / HTTP/1.1\r\nHost: stranger\r\n\r\n';
const manners: readonly ((host: string, port: number) => Socket)[] = [
  (host, port) => speaking(host, port, Buffer.from(request)),
  (host, port) => speaking(host, port, randomBytes(2000)),
  (host, port) => speaking(host, port, Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3])),
  (host, port) => speaking(host, port, Buffer.alloc(0)),
  (host, port) => connectTls({ host, port, ALPNProtocols: ['h2'], rejectUnauthorized: false }),
  (host, port) => connectTls({ host, port, rejectUnauthorized: false }),
];

function speaking(host: string, port: number, bytes: Buffer): Socket {
  const socket = connect({ host, port });
  socket.once('connect', () => socket.write(bytes));
  return socket;
}

const targets = process.argv.slice(2).map((target) => {
  const colon = target.lastIndexOf(':');
  return { host: target.slice(0, colon), port: Number(target.slice(colon + 1)) };
});
for (;;) {
  for (const { host, port } of targets) {
    for (const open of manners) {
      const socket = open(host, port);
      socket.on('error', () => undefined).resume();
      setTimeout(() => socket.resetAndDestroy(), 300);
    }
  }
  await wait(100);
}
