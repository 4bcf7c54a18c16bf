import { timestamp } from '../clock.ts';

/** The peers that chain to one root. Wall times are in milliseconds. */
export interface RootUse {
  /** Tunnels that are open now. */
  readonly open: number;
  /** Identities that are connected, or were within the last hour, with when they last were. */
  readonly recent: ReadonlyMap<string, number>;
  /** At most so many more were so. */
  readonly unnamed: number;
  /** When a peer was last connected. */
  readonly lastSeenMs: number;
}

/** Who counts peers. */
export interface PeerCounts {
  /** By SHA-256 of the root. A root that is not in it has had no peer since `sinceMs`. */
  byRoot(): ReadonlyMap<string, RootUse>;
  readonly sinceMs: number;
}

/** Whether a root may be removed as far as this sidecar knows, and why in one sentence. */
export interface Removal {
  readonly mayBeRemoved: boolean;
  readonly removal: string;
}

export interface RootQuestion {
  /** Our own certificate chains to it. */
  readonly isOurs: boolean;
  /** Undefined when no peer has chained to it since `sinceMs`. */
  readonly use: RootUse | undefined;
  readonly sinceMs: number;
  readonly nowMs: number;
}

/** Peers that come back now and then do so within this time, or one has to know of them; milliseconds. */
export const quietBeforeRemovalMs = 3_600_000;

const maxNames = 3;

/** A root may go when nobody has chained to it for an hour, and we do not. */
export function removalOf({ isOurs, use, sinceMs, nowMs }: RootQuestion): Removal {
  const peers = use === undefined ? undefined : peersText(use);
  const ours = 'Our own certificate chains to it';
  if (peers !== undefined) {
    return { mayBeRemoved: false, removal: isOurs ? `${ours}, and ${lowerFirst(peers)}` : peers };
  }
  const quietSinceMs = use?.lastSeenMs ?? sinceMs;
  const nobody = `0 peers chain to it since ${momentOf(quietSinceMs)}`;
  if (isOurs) return { mayBeRemoved: false, removal: `${ours}; ${nobody}` };
  if (nowMs - quietSinceMs >= quietBeforeRemovalMs) return { mayBeRemoved: true, removal: nobody };
  const fromMs = quietSinceMs + quietBeforeRemovalMs;
  return {
    mayBeRemoved: false,
    removal: `${nobody}, which is less than an hour: ask again at ${momentOf(fromMs + 999)}`,
  };
}

/** Undefined when there is none. */
function peersText({ recent, unnamed }: RootUse): string | undefined {
  const total = recent.size + unnamed;
  if (total === 0) return undefined;
  const names = [...recent.keys()].slice(0, maxNames).join(', ');
  const who = `${unnamed > 0 ? 'Up to ' : ''}${total} ${total === 1 ? 'peer chains' : 'peers chain'} to it, or did within the last hour`;
  if (names === '') return who;
  return `${who}: ${names}${total > maxNames ? ' and others' : ''}`;
}

/** To the second: nobody connects or asks by the millisecond. */
const momentOf = (wallMs: number) => timestamp(wallMs).replace(/\.\d+Z$/, 'Z');

const lowerFirst = (text: string) => text.charAt(0).toLowerCase() + text.slice(1);
