import type { Clock } from '../clock.ts';
import type { VerifiedPeer } from '../identity/verify-peer.ts';

/** The peers that chain to one root. */
export interface PeersOfRoot {
  /** Tunnels that are open now. */
  readonly open: number;
  /** Identities that were seen within the last hour, or are connected: each with when it was last connected, wall time. */
  readonly recent: ReadonlyMap<string, number>;
}

/** Who is connected, and was lately, by the root that vouches for them: whether a root may be removed. */
export interface PeerBook {
  /** A tunnel of a verified peer is open. Call the returned function when it has ended, or has been proved anew. */
  opened(peer: VerifiedPeer): () => void;
  /** By SHA-256 of the root. */
  byRoot(): ReadonlyMap<string, PeersOfRoot>;
  /** Since when it has been kept; wall time. */
  readonly sinceMs: number;
}

const recentMs = 3_600_000;

export function createPeerBook(clock: Clock): PeerBook {
  const sinceMs = clock.now();
  const open = new Map<VerifiedPeer, number>();
  const lastSeen = new Map<string, Map<string, number>>();
  const see = ({ rootFingerprint, spiffeId }: VerifiedPeer) => {
    const ofRoot = lastSeen.get(rootFingerprint) ?? new Map<string, number>();
    lastSeen.set(rootFingerprint, ofRoot.set(spiffeId.uri, clock.now()));
  };
  return {
    sinceMs,
    opened(peer) {
      let isOpen = true;
      open.set(peer, (open.get(peer) ?? 0) + 1);
      see(peer);
      return () => {
        if (!isOpen) return;
        isOpen = false;
        see(peer);
        const left = (open.get(peer) ?? 1) - 1;
        if (left === 0) open.delete(peer);
        else open.set(peer, left);
      };
    },
    byRoot() {
      const sums = new Map<string, { open: number; recent: Map<string, number> }>();
      for (const [root, ids] of lastSeen) {
        for (const [id, atMs] of ids) if (clock.now() - atMs > recentMs) ids.delete(id);
        if (ids.size > 0) sums.set(root, { open: 0, recent: new Map(ids) });
        else lastSeen.delete(root);
      }
      for (const [{ rootFingerprint, spiffeId }, count] of open) {
        const sum = sums.get(rootFingerprint) ?? { open: 0, recent: new Map<string, number>() };
        sum.open += count;
        sum.recent.set(spiffeId.uri, clock.now());
        sums.set(rootFingerprint, sum);
      }
      return sums;
    },
  };
}
