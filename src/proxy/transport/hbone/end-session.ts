import type { Http2Session } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import type { Clock } from '../../../clock.ts';

/** How long a peer may keep its half of a tunnel open after we have closed ours. */
export const closeTimeoutMs = 5_000;

/**
 * Ends a session and its connection at once. The session alone is not enough: when the peer goes away in the middle of a
 * write, Node.js may keep both without an event.
 */
export function endSession(session: Http2Session, socket: TLSSocket, error?: Error): void {
  session.destroy(error);
  socket.destroy();
}

/** Closes a session that has no streams any more; a peer that does not close its end is not waited for. */
export function closeSession(session: Http2Session, socket: TLSSocket, clock: Clock): void {
  if (!session.closed) session.close();
  const timer = clock.after(closeTimeoutMs, () => endSession(session, socket));
  session.once('close', () => timer.cancel());
}
