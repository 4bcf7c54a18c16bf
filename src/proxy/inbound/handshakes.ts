import { DeniedError } from '../../errors.ts';
import type { Slots } from '../slots.ts';

/** Each holds a socket and the state of its TLS, and none has proved yet who it is. */
export const maxHandshakesInFlight = 1024;

/** How many there may be: strangers get half of the places for connections, at most. */
export function handshakesFor({ capacity }: Pick<Slots, 'capacity'>): number {
  return Math.max(1, Math.min(maxHandshakesInFlight, Math.floor(capacity / 2)));
}

/** Handshakes that have begun and not ended, and captured connections that have not shown yet what they are. */
export interface Handshakes {
  /** Throws `DeniedError` when there are too many, and each of them waits for us. */
  begin(): Handshake;
}

export interface Handshake {
  /** Aborted with a `DeniedError` when another takes its place. */
  readonly signal: AbortSignal;
  /** Who the next step is up to; at the beginning it is the peer. */
  waitFor(whom: 'peer' | 'us'): void;
  end(): void;
}

/**
 * Bounds the handshakes in flight. A newcomer gets the place of the one whose peer has let us wait for longest: a peer
 * answers within a round trip, and many who do not cannot keep it out. One that waits for us is never given up for another.
 */
export function createHandshakes(limit: number): Handshakes {
  const waitingForUs = new Set<AbortController>();
  const waitingForPeer = new Set<AbortController>();

  const makeRoom = () => {
    if (waitingForUs.size + waitingForPeer.size < limit) return;
    const [longest] = waitingForPeer;
    if (longest === undefined) throw new DeniedError('handshake_limit', `${waitingForUs.size} handshakes wait for us`);
    waitingForPeer.delete(longest);
    longest.abort(new DeniedError('handshake_limit', `A newcomer got its place, because ${limit} are in flight`));
  };

  return {
    begin() {
      makeRoom();
      const handshake = new AbortController();
      const end = () => {
        waitingForUs.delete(handshake);
        waitingForPeer.delete(handshake);
      };
      waitingForPeer.add(handshake);
      return {
        signal: handshake.signal,
        waitFor(whom) {
          if (handshake.signal.aborted) return;
          end();
          (whom === 'us' ? waitingForUs : waitingForPeer).add(handshake);
        },
        end,
      };
    },
  };
}
