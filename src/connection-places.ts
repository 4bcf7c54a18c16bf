import type { Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Connections that are open at once. */
export interface PlaceLimits {
  readonly all: number;
  /** Those of one remote address. */
  readonly perAddress: number;
}

/**
 * Those of a port for probes or metrics. A kubelet has one connection for each probe that runs, a Prometheus one or two;
 * nobody can tell them from a neighbour there.
 */
export const pagePlaces: PlaceLimits = { all: 128, perAddress: 32 };

/** The same for several ports that share `all` places; an address gets a quarter of them, if that is fewer. */
export function sharedPagePlaces(all: number): PlaceLimits {
  return { all, perAddress: Math.max(2, Math.min(pagePlaces.perAddress, Math.floor(all / 4))) };
}

/** What a place knows of its connection. */
export interface Place {
  readonly peer: string;
  /** Requests whose answers have not all been handed to the kernel. */
  readonly answers: ReadonlySet<{ readonly writableEnded: boolean }>;
}

/** Places for connections, of one server or of several that share them. */
export interface Places {
  readonly limits: PlaceLimits;
  /** In the order of waiting. */
  readonly held: Map<Socket, Place & { readonly answers: Set<ServerResponse> }>;
}

export function createPlaces(limits: PlaceLimits = pagePlaces): Places {
  return { limits, held: new Map() };
}

/**
 * Bounds the connections of a server that strangers reach, so that no number of idle or slow ones shuts out a probe: a
 * newcomer gets the place of a connection that waits for its client. One whose answer is still being made is never
 * closed; when there is no other, the newcomer is. Instead of `maxConnections`, which would drop the newcomer.
 */
export function limitConnections(server: Server, { limits, held }: Places = createPlaces()): void {
  server.on('connection', (socket: Socket) => {
    const peer = socket.remoteAddress ?? '';
    const leaving = whoLeaves(peer, held, limits);
    if (leaving === 'newcomer') return void socket.destroy();
    if (leaving !== undefined) {
      end(leaving, held.get(leaving)?.answers.size === 0);
      held.delete(leaving);
    }
    held.set(socket, { peer, answers: new Set() });
    socket.once('close', () => held.delete(socket));
  });
  // Before whoever answers, who may be done at once.
  server.prependListener('request', ({ socket }, response) => {
    const place = held.get(socket);
    place?.answers.add(response);
    response.once('close', () => {
      place?.answers.delete(response);
      // To the end of the order: from now on it waits for its client.
      if (place !== undefined && held.delete(socket)) held.set(socket, place);
    });
  });
}

/**
 * Which connection gives its place to a newcomer; undefined when none must. Of the newcomer's own address when that has
 * all it may have; else of the address with the most, so that many connections of one address cost the few of another
 * nothing. There an idle one before one whose answer is not taken, and the one that has waited longest, which is the
 * first in `held`. An IPv6 address is one address, not its /64: a kubelet may share that with the pods of its node.
 */
export function whoLeaves<Connection>(
  newcomer: string,
  held: ReadonlyMap<Connection, Place>,
  { all, perAddress }: PlaceLimits,
): Connection | 'newcomer' | undefined {
  const counts = new Map<string, number>();
  for (const { peer } of held.values()) counts.set(peer, (counts.get(peer) ?? 0) + 1);
  const hasItsShare = (counts.get(newcomer) ?? 0) >= perAddress;
  if (!hasItsShare && held.size < all) return undefined;

  let found: Connection | 'newcomer' = 'newcomer';
  let highest = 0;
  for (const [connection, { peer, answers }] of held) {
    if (hasItsShare && peer !== newcomer) continue;
    if (![...answers].every(({ writableEnded }) => writableEnded)) continue;
    const rank = 2 * (counts.get(peer) ?? 0) + (answers.size === 0 ? 1 : 0);
    if (rank <= highest) continue;
    highest = rank;
    found = connection;
  }
  return found;
}

/** A cut answer must not look like its end, and nobody waits until its client takes it; the last bytes of one that is idle do arrive. */
function end(socket: Socket, isIdle: boolean): void {
  if (isIdle) socket.destroy();
  else socket.resetAndDestroy();
}
