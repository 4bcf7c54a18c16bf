import type { Clock } from '../clock.ts';
import { timestamp } from '../clock.ts';
import type { ReportedEdge, ReportedFailure } from '../control-api.ts';
import type { ClosedReason, DeniedReason, Direction, HandshakeReason, Security } from '../outcomes.ts';

/** What an edge is made of. */
export interface CarriedConnection {
  readonly direction: Direction;
  readonly facts: {
    readonly security: Security;
    readonly peerId?: string | undefined;
    readonly service?: string | undefined;
  };
}

/** The turns of a connection that the book sees; an `Observer` has them. */
export interface Turns {
  connectionOpened(connection: CarriedConnection): void;
  connectionFailed(direction: Direction, reason: ClosedReason): void;
  connectionDenied(direction: Direction, reason: DeniedReason): void;
  handshakeFailed(direction: Direction, reason: HandshakeReason): void;
}

/** Who this pod talks to and what failed, for the reports: what a dashboard has no labels for. */
export interface TrafficBook extends Turns {
  /** The latest first. */
  edges(): readonly ReportedEdge[];
  /** The latest first. */
  failures(): readonly ReportedFailure[];
}

/** How many edges are remembered, and how many of edges and failures fit into a report; longer names have no place there. */
export const trafficBookLimits = {
  edges: 1000,
  reportedEdges: 30,
  reportedFailures: 40,
  peerBytes: 256,
  serviceBytes: 128,
};

interface Count {
  count: number;
  lastMs: number;
}

export function createTrafficBook(clock: Clock): TrafficBook {
  /** In the order of use, because a Map keeps the order of insertion. */
  const edges = new Map<string, Count & CarriedConnection>();
  /** Of closed lists, so there are never many. */
  const failures = new Map<string, Count & Pick<ReportedFailure, 'direction' | 'outcome' | 'reason'>>();

  const failed = (direction: Direction, outcome: string, reason: string) => {
    const key = `${direction} ${outcome} ${reason}`;
    const { count } = failures.get(key) ?? { count: 0 };
    failures.delete(key);
    failures.set(key, { direction, outcome, reason, count: count + 1, lastMs: clock.now() });
  };
  return {
    connectionOpened({ direction, facts: { security, peerId, service } }) {
      const key = `${direction} ${security} ${peerId ?? ''} ${service ?? ''}`;
      const known = edges.get(key);
      if (known !== undefined) edges.delete(key);
      const facts = { security, peerId, service };
      edges.set(key, { direction, facts, count: (known?.count ?? 0) + 1, lastMs: clock.now() });
      const [oldest] = edges.keys();
      if (edges.size > trafficBookLimits.edges && oldest !== undefined) edges.delete(oldest);
    },
    connectionFailed: (direction, reason) => failed(direction, 'closed', reason),
    connectionDenied: (direction, reason) => failed(direction, 'denied', reason),
    handshakeFailed: (direction, reason) => failed(direction, 'handshake', reason),
    edges() {
      const shown = [...edges.values()].filter(({ facts }) => fits(facts)).slice(-trafficBookLimits.reportedEdges);
      return shown.reverse().map(({ direction, facts: { security, peerId, service }, count, lastMs }) => ({
        direction,
        ...(peerId !== undefined && { peer: peerId }),
        ...(service !== undefined && { service }),
        security,
        connections: count,
        lastAt: timestamp(lastMs),
      }));
    },
    failures: () =>
      [...failures.values()]
        .slice(-trafficBookLimits.reportedFailures)
        .reverse()
        .map(({ lastMs, ...failure }) => ({ ...failure, lastAt: timestamp(lastMs) })),
  };
}

function fits({ peerId = '', service = '' }: CarriedConnection['facts']): boolean {
  return peerId.length <= trafficBookLimits.peerBytes && service.length <= trafficBookLimits.serviceBytes;
}

/** Hears of some turns, perhaps of the end of what was carried as well. */
type Hearing<Connection> = Partial<Omit<Turns, 'connectionOpened'>> & {
  connectionOpened?(connection: Connection): void;
  connectionClosed?(connection: Connection, reason: ClosedReason): void;
};

/** What an observer is told of. */
type ConnectionOf<O extends Required<Hearing<never>>> = Parameters<O['connectionOpened']>[0];

/** The same observer, with each of the books told first. */
export function alsoTelling<O extends Required<Hearing<never>>>(
  observer: O,
  ...books: readonly Hearing<ConnectionOf<O>>[]
): O {
  const all: readonly Hearing<ConnectionOf<O>>[] = [...books, observer];
  return {
    ...observer,
    connectionOpened(connection: ConnectionOf<O>) {
      for (const one of all) one.connectionOpened?.(connection);
    },
    connectionClosed(connection: ConnectionOf<O>, reason: ClosedReason) {
      for (const one of all) one.connectionClosed?.(connection, reason);
    },
    connectionFailed(direction: Direction, reason: ClosedReason) {
      for (const one of all) one.connectionFailed?.(direction, reason);
    },
    connectionDenied(direction: Direction, reason: DeniedReason) {
      for (const one of all) one.connectionDenied?.(direction, reason);
    },
    handshakeFailed(direction: Direction, reason: HandshakeReason) {
      for (const one of all) one.handshakeFailed?.(direction, reason);
    },
  };
}
