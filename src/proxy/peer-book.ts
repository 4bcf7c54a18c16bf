import type { Clock } from '../clock.ts';
import type { VerifiedPeer } from '../identity/verify-peer.ts';

/** The peers that chain to one root. */
export interface PeersOfRoot {
  /** Tunnels that are open now. */
  readonly open: number;
  /** Identities that are connected, or were within the last hour: each with when it was last connected, wall time. */
  readonly recent: ReadonlyMap<string, number>;
  /** At most so many more identities were so, whose names had no place in the book. */
  readonly unnamed: number;
  /** When a peer was last connected, now if one is; wall time. */
  readonly lastSeenMs: number;
}

/** Who is connected, and was lately, by the root that vouches for them: whether a root may be removed. */
export interface PeerBook {
  /** A tunnel of a verified peer is open. Call the returned function when it has ended, or has been proved anew. */
  opened(peer: VerifiedPeer): () => void;
  /** By SHA-256 of the root. A root that is not in it has had no peer since `sinceMs`. */
  byRoot(): ReadonlyMap<string, PeersOfRoot>;
  /** Since when nothing is missing in it but names; wall time. */
  readonly sinceMs: number;
}

/** A peer that was not connected for this long is no longer a recent one. */
export const recentPeerMs = 3_600_000;

/** How many identities are remembered by name, of one root and in all, and how many roots. */
export const peerBookLimits = { identitiesOfRoot: 1000, identities: 2000, roots: 1000 };

/** One root. What is measured is monotonic: a wall clock that is set forward must not make peers look long gone. */
interface Page {
  open: number;
  /** Open tunnels of each identity that has a name in the book. */
  readonly connected: Map<string, number>;
  /** When each of the others was last connected, the one that is gone for longest first. */
  readonly gone: Map<string, number>;
  /** Open tunnels of identities without a name in the book. */
  openUnnamed: number;
  /** Identities that were forgotten, until the last of them is no longer recent. */
  readonly forgotten: { count: number; lastSeenMs: number };
  lastSeenMs: number;
}

/** Keeps the book in a few steps for each tunnel, however many there are, and within `limits`. */
export function createPeerBook(clock: Clock, limits = peerBookLimits): PeerBook {
  const pages = new Map<string, Page>();
  let named = 0;
  let sinceMs = clock.monotonic();

  const wall = (atMs: number) => Math.round(clock.now() - (clock.monotonic() - atMs));
  const isRecent = (atMs: number) => clock.monotonic() - atMs <= recentPeerMs;

  /** A root that nobody uses gives up its place; then nothing is known of the time when it was used. */
  const makeRoom = () => {
    for (const [root, page] of pages) {
      if (pages.size < limits.roots) return;
      if (page.open > 0) continue;
      sinceMs = Math.max(sinceMs, page.lastSeenMs);
      named -= page.gone.size;
      pages.delete(root);
    }
  };

  const pageOf = (root: string): Page => {
    const known = pages.get(root);
    if (known !== undefined) return known;
    makeRoom();
    const forgotten = { count: 0, lastSeenMs: 0 };
    const page = { open: 0, connected: new Map(), gone: new Map(), openUnnamed: 0, forgotten, lastSeenMs: 0 };
    pages.set(root, page);
    return page;
  };

  const dropOld = ({ gone }: Page) => {
    for (const [id, atMs] of gone) {
      if (isRecent(atMs)) return;
      gone.delete(id);
      named -= 1;
    }
  };

  const forget = ({ forgotten }: Page, lastSeenMs: number) => {
    forgotten.count = isRecent(forgotten.lastSeenMs) ? forgotten.count + 1 : 1;
    forgotten.lastSeenMs = Math.max(forgotten.lastSeenMs, lastSeenMs);
  };

  /** Takes a place for one more name, from the identity that is gone for longest if there is no other. */
  const takePlace = (page: Page): boolean => {
    const { connected, gone } = page;
    dropOld(page);
    if (connected.size + gone.size >= limits.identitiesOfRoot || named >= limits.identities) {
      const [oldest] = gone;
      if (oldest === undefined) return false;
      gone.delete(oldest[0]);
      named -= 1;
      forget(page, oldest[1]);
    }
    named += 1;
    return true;
  };

  const connect = (page: Page, id: string): boolean => {
    const isNamed = page.connected.has(id) || page.gone.delete(id) || takePlace(page);
    if (isNamed) page.connected.set(id, (page.connected.get(id) ?? 0) + 1);
    else page.openUnnamed += 1;
    page.open += 1;
    return isNamed;
  };

  const disconnect = (page: Page, id: string, wasNamed: boolean) => {
    page.open -= 1;
    page.lastSeenMs = clock.monotonic();
    if (!wasNamed) {
      page.openUnnamed -= 1;
      if (page.connected.has(id)) return;
      if (page.gone.delete(id) || takePlace(page)) page.gone.set(id, page.lastSeenMs);
      else forget(page, page.lastSeenMs);
      return;
    }
    const left = (page.connected.get(id) ?? 1) - 1;
    if (left > 0) return void page.connected.set(id, left);
    page.connected.delete(id);
    page.gone.set(id, page.lastSeenMs);
  };

  const shown = (page: Page): PeersOfRoot => {
    dropOld(page);
    const { open, connected, gone, forgotten, openUnnamed } = page;
    const now = clock.now();
    return {
      open,
      recent: new Map([
        ...[...connected.keys()].map((id) => [id, now] as const),
        ...[...gone].map(([id, atMs]) => [id, wall(atMs)] as const),
      ]),
      unnamed: openUnnamed + (forgotten.count > 0 && isRecent(forgotten.lastSeenMs) ? forgotten.count : 0),
      lastSeenMs: open > 0 ? now : wall(page.lastSeenMs),
    };
  };

  return {
    get sinceMs() {
      return wall(sinceMs);
    },
    opened({ rootFingerprint, spiffeId: { uri } }) {
      const page = pageOf(rootFingerprint);
      const isNamed = connect(page, uri);
      let isOpen = true;
      return () => {
        if (!isOpen) return;
        isOpen = false;
        disconnect(page, uri, isNamed);
      };
    },
    byRoot: () => new Map([...pages].map(([root, page]) => [root, shown(page)])),
  };
}
