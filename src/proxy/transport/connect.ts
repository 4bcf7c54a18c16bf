import type { Socket } from 'node:net';
import { connect } from 'node:net';
import type { Address } from '../../addresses.ts';
import { ConnectionError, codeOf } from '../../errors.ts';
import type { ClosedReason } from '../../outcomes.ts';
import { resetSocket } from '../leg.ts';

/** How the sockets of both legs are set up. */
export interface SocketOptions {
  /** Time between the probes of an idle connection; 0 switches them off. */
  readonly keepAliveMs: number;
}

/** Applies what every connection of the data plane has: no Nagle delay, and keepalive. */
export function tuneSocket(socket: Socket, { keepAliveMs }: SocketOptions): void {
  socket.setNoDelay(true);
  if (keepAliveMs > 0) socket.setKeepAlive(true, keepAliveMs);
}

/**
 * Opens a TCP connection. `signal` ends the wait with its reason. `allowHalfOpen` belongs to application connections and
 * never to a tunnel's: a tunnel that its peer closed would stay. Throws `ConnectionError`.
 */
export function openSocket(
  address: Address,
  options: SocketOptions & { readonly allowHalfOpen: boolean },
  signal: AbortSignal,
): Promise<Socket> {
  const socket = connect({ host: address.ip, port: address.port, allowHalfOpen: options.allowHalfOpen });
  return connected(socket, options, signal);
}

/** Waits for a socket that is connecting; resets it when that fails. Throws `ConnectionError`. */
export async function connected(socket: Socket, options: SocketOptions, signal: AbortSignal): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const onAbort = () => reject(signal.reason);
  const onError = (error: Error) => reject(new ConnectionError(reasonOf(error), error.message, { cause: error }));
  socket.once('connect', () => resolve(socket));
  socket.once('error', onError);
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    await promise;
    tuneSocket(socket, options);
    return socket;
  } catch (error) {
    socket.on('error', () => undefined);
    // The kernel may be connected before we hear of it: without a reset the other side would see a clean end.
    resetSocket(socket);
    throw error;
  } finally {
    socket.off('error', onError);
    signal.removeEventListener('abort', onAbort);
  }
}

function reasonOf(error: Error): ClosedReason {
  switch (codeOf(error)) {
    case 'ECONNREFUSED':
    case 'ECONNRESET':
      return 'upstream_refused';
    case 'ETIMEDOUT':
      return 'upstream_timeout';
    default:
      return 'upstream_unreachable';
  }
}
