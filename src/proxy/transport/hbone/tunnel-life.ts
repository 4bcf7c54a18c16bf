import type { ClientHttp2Session, ClientHttp2Stream, OutgoingHttpHeaders } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import type { Clock, Timer } from '../../../clock.ts';
import { ConnectionError, codeOf } from '../../../errors.ts';
import { closeSession, endSession } from './end-session.ts';
import type { OnGivenUp } from './given-up.ts';
import { watchLiveness } from './liveness.ts';
import { readAhead } from './read-ahead.ts';

/** The tunnel was retired while the request was on its way; nothing was delivered, so another tunnel can take it. */
export class TunnelRetiredError extends Error {
  override readonly name = 'TunnelRetiredError';
}

export interface TunnelLifeLimits {
  /** A tunnel without a stream for this long is closed. */
  readonly idleTimeoutMs: number;
  /** A tunnel takes no new streams beyond this age. */
  readonly maxAgeMs: number;
  readonly tunnelWindowBytes: number;
}

/** The client end of a tunnel from its first stream to its last. */
export interface TunnelLife {
  /** Resolves when it has ended. */
  readonly closed: Promise<void>;
  streams(): number;
  /** Whether it takes new streams at all. */
  isUsable(): boolean;
  /** Begins a stream, and counts it until it has ended; throws `TunnelRetiredError`. */
  begin(headers: OutgoingHttpHeaders, endStream: boolean): ClientHttp2Stream;
  /** No new streams; closed when the last one has ended. */
  retire(): void;
  /** The same, of a tunnel that is of no use any more; `why` is a clause. */
  giveUp(why: string): void;
  /** Ends it and its streams at once, as `tunnel_lost`. */
  end(why: string): void;
}

export function liveTunnel(
  session: ClientHttp2Session,
  socket: TLSSocket,
  { clock, onGivenUp }: { readonly clock: Clock; readonly onGivenUp: OnGivenUp },
  { idleTimeoutMs, maxAgeMs, tunnelWindowBytes }: TunnelLifeLimits,
): TunnelLife {
  let streams = 0;
  let connections = 0;
  let isRetired = false;
  let isClosing = false;
  let idleTimer: Timer | undefined;
  const { promise: closed, resolve } = Promise.withResolvers<void>();

  const isUsable = () => !isRetired && !session.closed && !session.destroyed;
  // Not before the last stream has ended: a session that is closing answers and sends no PING any more.
  const closeWhenEmpty = () => {
    if (!isRetired || isClosing || streams > 0 || session.destroyed) return;
    isClosing = true;
    closeSession(session, socket, clock);
  };
  const retire = () => {
    isRetired = true;
    closeWhenEmpty();
  };
  const end = (why: string) => {
    isRetired = true;
    endSession(session, socket, new ConnectionError('tunnel_lost', why));
  };
  const giveUp = (why: string) => onGivenUp(why, connections);
  const ageTimer = clock.after(maxAgeMs, retire);
  const stopWatching = watchLiveness(session, clock, {
    suspect: retire,
    lost(why) {
      giveUp(why);
      end('The peer stopped answering');
    },
  });
  const stopReadingAhead = readAhead(socket, clock, tunnelWindowBytes);
  const watchIdle = () => {
    idleTimer?.cancel();
    idleTimer = streams === 0 && isUsable() ? clock.after(idleTimeoutMs, retire) : undefined;
  };
  watchIdle();

  session.once('goaway', () => {
    isRetired = true;
  });
  session.once('close', () => {
    // A peer that closes it in order says so before.
    if (!isRetired) giveUp('it ended, and the other side had not closed it in order');
    isRetired = true;
    ageTimer.cancel();
    idleTimer?.cancel();
    stopWatching();
    stopReadingAhead();
    resolve();
  });

  const request = (headers: OutgoingHttpHeaders, endStream: boolean): ClientHttp2Stream => {
    if (!isUsable()) throw new TunnelRetiredError('The tunnel is closing');
    try {
      return session.request(headers, { endStream });
    } catch (error) {
      throw new TunnelRetiredError(`The tunnel is closing: ${codeOf(error)}`, { cause: error });
    }
  };

  return {
    closed,
    streams: () => streams,
    isUsable,
    begin(headers, endStream) {
      const stream = request(headers, endStream);
      streams += 1;
      if (!endStream) connections += 1;
      watchIdle();
      stream.once('close', () => {
        streams -= 1;
        watchIdle();
        closeWhenEmpty();
      });
      return stream;
    },
    retire,
    giveUp(why) {
      giveUp(why);
      retire();
    },
    end,
  };
}
