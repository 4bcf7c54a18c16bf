import type { Http2Session } from 'node:http2';
import type { Clock, Timer } from '../../../clock.ts';
import { peerStateOf } from '../../../libc.ts';

/** How often a tunnel is asked whether it still works, also one without streams: it holds a descriptor at both ends. */
export const pingIntervalMs = 10_000;
/** So many unanswered in a row, and the tunnel is given up. */
const missedPingsUntilLost = 3;

const silence = `nothing came from the other side for ${(missedPingsUntilLost * pingIntervalMs) / 1000} s, whatever was asked`;

/** Told when a tunnel stops answering. */
export interface LivenessEvents {
  /** Nothing has come back for one interval: use another tunnel for what is new. */
  suspect(): void;
  /** Nothing has come back for three intervals, or the kernel has no peer any more; `why` is a clause. */
  lost(why: string): void;
}

/**
 * Sends a PING (RFC 9113 §6.7) every 10 s until the returned function is called. A network that
 * swallows packets is noticed here, long before TCP does. Whatever the peer sends is as good as an answer: on a slow link a
 * PING may wait for longer behind the bytes of a transfer.
 *
 * The kernel is asked as well: of a connection that is reset in the middle of a write Node.js tells nobody, and once a
 * tunnel retires it sends no PING. A peer that is gone at two looks in a row has nothing left that anybody would read.
 */
export function watchLiveness(session: Http2Session, clock: Clock, events: LivenessEvents): () => void {
  let unanswered = 0;
  let bytesRead = 0;
  let wasGone = false;
  let timer: Timer;
  const tick = () => {
    // It has no socket any more, and may still wait for its peer's end: `close` comes, and ends the watch.
    if (session.destroyed) return;
    const isGone = peerStateOf(session.socket) !== 'open';
    if (isGone && wasGone) return events.lost('its TCP connection is closed, or was reset');
    wasGone = isGone;
    // After GOAWAY Node.js cancels every PING.
    if (!session.closed && !isAnswering()) return events.lost(silence);
    timer = clock.after(pingIntervalMs, tick);
  };
  /** Asks again; false when it has been asked in vain too often. */
  const isAnswering = (): boolean => {
    if (session.socket.bytesRead !== bytesRead) unanswered = 0;
    bytesRead = session.socket.bytesRead;
    if (unanswered >= missedPingsUntilLost) return false;
    if (unanswered === 1) events.suspect();
    unanswered += 1;
    session.ping(() => undefined);
    return true;
  };
  timer = clock.after(pingIntervalMs, tick);
  return () => timer.cancel();
}
