import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { connect as connectTls, createSecureContext } from 'node:tls';
import type { Address } from '../../addresses.ts';
import { formatAddress } from '../../addresses.ts';
import { codeOf, messageOf, UnavailableError } from '../../errors.ts';

/** Where a probe goes, and how its sentences call that. */
export interface Target {
  readonly address: Address;
  /** `web:8080`, of container and port. */
  readonly name: string;
}

/** One context for all: each that is made implicitly lives until it is collected. No roots, because nothing is verified. */
const unverified = createSecureContext({ ca: [] });

/**
 * Opens a connection of its own, which ends when `signal` is aborted. With `isTls` whatever certificate the application
 * shows is accepted, as the kubelet does: a probe asks whether it answers, and sends it nothing worth protecting. Throws
 * `UnavailableError`, or the signal's reason.
 */
export async function dial(target: Target, isTls: boolean, signal: AbortSignal): Promise<Socket> {
  signal.throwIfAborted();
  const { ip, port } = target.address;
  const plain = connect({ host: ip, port });
  closeWith(plain, signal);
  await opened(plain, 'connect', signal, (error) => connectWords(target, error));
  if (!isTls) return plain;
  const socket = connectTls({
    socket: plain,
    secureContext: unverified,
    rejectUnauthorized: false,
    ALPNProtocols: ['http/1.1'],
  });
  closeWith(socket, signal);
  const words = (error: unknown) => `${target.name} does not answer in TLS (${codeOf(error) || messageOf(error)})`;
  await opened(socket, 'secureConnect', signal, words);
  return socket;
}

function closeWith(socket: Socket, signal: AbortSignal): void {
  const onAbort = () => socket.destroy();
  signal.addEventListener('abort', onAbort, { once: true });
  socket.once('close', () => signal.removeEventListener('abort', onAbort));
  // Whoever uses the socket hears of it by its end.
  socket.on('error', () => undefined);
}

async function opened(
  socket: Socket,
  event: 'connect' | 'secureConnect',
  signal: AbortSignal,
  words: (error: unknown) => string,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onError = (error: Error) => reject(new UnavailableError(words(error), { cause: error }));
  const onClose = () => reject(signal.aborted ? signal.reason : new UnavailableError(words(new Error('closed'))));
  socket.once(event, resolve).once('error', onError).once('close', onClose);
  try {
    await promise;
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    socket.off(event, resolve).off('error', onError).off('close', onClose);
  }
}

function connectWords({ address }: Target, error: unknown): string {
  const code = codeOf(error);
  if (code === 'ECONNREFUSED') return `Nothing listens on ${formatAddress(address)}`;
  return `${formatAddress(address)} cannot be reached (${code || messageOf(error)})`;
}
