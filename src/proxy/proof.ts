import type { Clock } from '../clock.ts';
import { timestamp } from '../clock.ts';
import type { TunnelEnd } from '../identity/tunnel-proof.ts';
import type { Lapse, VerifiedPeer } from '../identity/verify-peer.ts';
import type { Log } from '../log.ts';
import type { ClosedReason, Direction } from '../outcomes.ts';
import type { PeerBook } from './peer-book.ts';
import type { MutualTls } from './transport/tls.ts';

/** What the far side of one tunnel, or of one direct connection, has proved. What is carried in it lasts as long as that holds. */
export interface Proof {
  readonly direction: Direction;
  /** As it proved itself last, on this tunnel or on a newer one. */
  readonly peer: VerifiedPeer;
  readonly end: TunnelEnd;
  /** When that was; wall time. */
  readonly provedAtMs: number;
  /** When what is carried will be cut unless it is proved anew; wall time, Infinity for never. */
  readonly endsAtMs: number;
  /** How much is carried on the strength of it. */
  readonly carried: number;
  /** A newer tunnel has proved this one: from now on it rests on that one's proof. */
  renewBy(newer: Proof): void;
  /**
   * Something is carried. `cut` is called once, when the proof no longer holds; at once when that is so already. Call the
   * returned function when it has ended.
   */
  carry(cut: (reason: ClosedReason) => void): () => void;
  /** The tunnel has ended. Idempotent. */
  close(): void;
}

/** The side of a proof that judges it. */
export interface JudgedProof extends Proof {
  /** `lapse` is why it does not hold now, by `lapseOf`; wall time. */
  judge(lapse: Lapse | undefined, nowMs: number): void;
}

export interface ProvedTunnel extends Pick<MutualTls, 'peer' | 'local' | 'keys'> {
  readonly direction: Direction;
  /** Whether a newer tunnel may prove it anew; not so for a direct connection. Default: it may. */
  readonly isProvable?: boolean;
  /** Keeps new connections off the tunnel, and closes it when the last one has ended. */
  retire(): void;
}

const closedReasons = {
  revoked: 'revoked',
  untrusted: 'bundle_change',
  expired: 'peer_certificate_expired',
} as const satisfies Record<Lapse['reason'], ClosedReason>;

/** What is not proved anew is cut `graceMs` after the end of the peer's certificate; everything else at once. */
export function createProof(
  { direction, peer: shown, local, keys, retire }: ProvedTunnel,
  { clock, log, peers }: { readonly clock: Clock; readonly log: Log; readonly peers?: PeerBook | undefined },
  { graceMs, order: first, onClose }: { readonly graceMs: number; readonly order: number; onClose(): void },
): JudgedProof {
  const cuts = new Set<(reason: ClosedReason) => void>();
  const localId = local.spiffeId.uri;
  let peer = shown;
  let order = first;
  let provedAtMs = clock.now();
  let gone = peers?.opened(peer);
  let cutFor: ClosedReason | undefined;
  let isTold = false;
  let isClosed = false;

  const endsAtMs = () => peer.notAfterMs + graceMs;
  const cutAll = (reason: ClosedReason) => {
    cutFor = reason;
    for (const cut of cuts) cut(reason);
  };

  const proof: JudgedProof = {
    direction,
    get peer() {
      return peer;
    },
    get end() {
      return { keys, peerId: peer.spiffeId.uri, localId, order };
    },
    get provedAtMs() {
      return provedAtMs;
    },
    get endsAtMs() {
      return endsAtMs();
    },
    get carried() {
      return cuts.size;
    },
    renewBy(newer) {
      // The tunnel may end while the peer is asked: then nobody would tell the book that it has.
      if (isClosed) return;
      peer = newer.peer;
      ({ order } = newer.end);
      ({ provedAtMs } = newer);
      isTold = false;
      gone?.();
      gone = peers?.opened(peer);
    },
    carry(cut) {
      if (cutFor !== undefined) {
        cut(cutFor);
        return () => undefined;
      }
      cuts.add(cut);
      return () => void cuts.delete(cut);
    },
    judge(lapse, nowMs) {
      if (lapse === undefined || cutFor !== undefined) return;
      retire();
      if (lapse.reason !== 'expired' || nowMs >= endsAtMs()) cutAll(closedReasons[lapse.reason]);
      else if (!isTold && cuts.size > 0) {
        isTold = true;
        log.warn(shownProof(proof), 'The certificate of a peer has ended and was not proved anew');
      }
    },
    close() {
      isClosed = true;
      gone?.();
      onClose();
    },
  };
  return proof;
}

/** For log lines about the connections that rest on a proof. */
export function shownProof({ direction, peer, carried, endsAtMs }: Proof): object {
  return {
    direction,
    peerId: peer.spiffeId.uri,
    connections: carried,
    notAfter: timestamp(peer.notAfterMs),
    ends: Number.isFinite(endsAtMs) ? timestamp(endsAtMs) : 'never',
  };
}
