import type { Http2Session } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import type { Clock, Timer } from '../../../clock.ts';
import { unsentBytes } from '../../../libc.ts';

/** How long a peer may keep its half of a tunnel open after we have closed ours, and it has taken all that was sent. */
export const closeTimeoutMs = 5_000;

/**
 * Ends a session and its connection at once. The session alone is not enough: when the peer goes away in the middle of a
 * write, Node.js may keep both without an event.
 */
export function endSession(session: Http2Session, socket: TLSSocket, error?: Error): void {
  session.destroy(error);
  socket.destroy();
}

/**
 * Closes a session that has no streams any more. A peer that does not close its end is not waited for, but one that still
 * takes what was sent is: a socket that is closed answers whatever its peer says with a reset, and the kernel throws away
 * what is left to send.
 */
export function closeSession(session: Http2Session, socket: TLSSocket, clock: Clock): void {
  if (!session.closed) session.close();
  let left: number | undefined;
  let timer: Timer;
  const look = () => {
    const before = left;
    left = unsentBytes(socket);
    const isTaking = before === undefined ? left > 0 : left < before;
    if (!isTaking) return endSession(session, socket);
    watch();
  };
  const watch = () => {
    timer = clock.after(closeTimeoutMs, look);
  };
  watch();
  session.once('close', () => timer.cancel());
}
