import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { connect } from 'node:tls';
import { smallAnswer } from './backend.ts';
import type { EndFiles } from './certificates.ts';
import { cipher, tlsVersion } from './certificates.ts';
import type { Contender } from './contender.ts';
import { BenchError } from './errors.ts';

const readyDeadlineMs = 20_000;

/** Resolves when a request goes the whole way; throws BenchError when none does in time. */
export async function whenReady({ name, port }: Pick<Contender, 'name' | 'port'>): Promise<void> {
  const deadlineMs = performance.now() + readyDeadlineMs;
  for (;;) {
    const length = await fetch(`http://127.0.0.1:${port}${smallAnswer.path}`, {
      headers: { connection: 'close' },
    }).then(
      async (response) => (await response.arrayBuffer()).byteLength,
      () => undefined,
    );
    if (length === smallAnswer.bodyBytes) return;
    if (performance.now() > deadlineMs) throw new BenchError(`${name} passed no request on within 20 s of its start`);
    await wait(50);
  }
}

/**
 * Sees for itself that the tunnel of a contender is what it is measured as: the version and the cipher that all have, a
 * certificate of the root, and no way in without one's own. Throws BenchError otherwise.
 */
export async function checkTunnel(contender: Contender, client: EndFiles): Promise<void> {
  const { certificate, key } = client;
  const known = await handshake(contender, client, { cert: readFileSync(certificate), key: readFileSync(key) });
  const expected = `${tlsVersion} with ${cipher}`;
  if (known.agreed !== expected) {
    throw new BenchError(`${contender.name} agreed on ${known.agreed}, expected ${expected}`);
  }
  if (known.isRefused) throw new BenchError(`${contender.name} refused the certificate of the client end`);
  if (!(await handshake(contender, client, {})).isRefused) {
    throw new BenchError(`${contender.name} let somebody in without a certificate, expected mutual TLS`);
  }
}

/** A refused client of TLS 1.3 hears of it after its own handshake, so a connection that stays is one that was taken. */
async function handshake({ tlsPort }: Contender, { roots }: EndFiles, own: { cert?: Buffer; key?: Buffer }) {
  const socket = connect({
    host: '127.0.0.1',
    port: tlsPort,
    ca: readFileSync(roots),
    checkServerIdentity: () => undefined,
    ALPNProtocols: ['h2'],
    ...own,
  });
  const { promise: closed, resolve: onClosed } = Promise.withResolvers<true>();
  socket.on('error', () => undefined).once('close', () => onClosed(true));
  socket.resume();
  await Promise.race([once(socket, 'secureConnect').catch(() => undefined), closed]);
  const agreed = `${socket.getProtocol()} with ${socket.getCipher()?.standardName}`;
  const isRefused = await Promise.race([closed, wait(500, false)]);
  socket.destroy();
  return { agreed, isRefused };
}
