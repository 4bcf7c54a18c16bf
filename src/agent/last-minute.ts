import type { Clock } from '../clock.ts';
import type { Direction } from '../outcomes.ts';
import type { Turns } from './traffic-book.ts';

/** How the new connections of one direction fared. */
export interface NewConnections {
  readonly carried: number;
  readonly failed: number;
  /** The most frequent first. */
  readonly reasons: readonly { readonly reason: string; readonly count: number }[];
}

/** The new connections of the last minute, give or take a slice of five seconds. */
export interface LastMinute extends Turns {
  counts(): Readonly<Record<Direction, NewConnections>>;
}

const sliceMs = 5000;
const slices = 12;

/** What has ended does not count, however it ended: whoever fails is not let in, or is not there. */
export function createLastMinute(clock: Pick<Clock, 'monotonic'>): LastMinute {
  /** A ring, so that nothing older is kept. By direction and reason: closed lists, so there are never many. */
  const ring: { slice: number; counts: Map<string, number> }[] = [];
  const keyOf = (direction: Direction, what: string) => `${direction} ${what}`;
  const oldest = () => Math.floor(clock.monotonic() / sliceMs) - slices;
  const add = (direction: Direction, what: string) => {
    const slice = Math.floor(clock.monotonic() / sliceMs);
    let entry = ring[slice % slices];
    if (entry?.slice !== slice) {
      entry = { slice, counts: new Map() };
      ring[slice % slices] = entry;
    }
    const key = keyOf(direction, what);
    entry.counts.set(key, (entry.counts.get(key) ?? 0) + 1);
  };
  const of = (direction: Direction): NewConnections => {
    const sums = new Map<string, number>();
    const recent = ring.filter(({ slice }) => slice > oldest()).flatMap(({ counts }) => [...counts]);
    for (const [key, count] of recent) sums.set(key, (sums.get(key) ?? 0) + count);
    const reasons = [...sums]
      .filter(([key]) => key.startsWith(`${direction} `) && key !== keyOf(direction, ''))
      .map(([key, count]) => ({ reason: key.slice(direction.length + 1), count }))
      .sort((one, other) => other.count - one.count);
    return {
      carried: sums.get(keyOf(direction, '')) ?? 0,
      failed: reasons.reduce((sum, { count }) => sum + count, 0),
      reasons,
    };
  };
  return {
    connectionOpened: ({ direction }) => add(direction, ''),
    connectionFailed: add,
    connectionDenied: add,
    handshakeFailed: add,
    counts: () => ({ inbound: of('inbound'), outbound: of('outbound') }),
  };
}
