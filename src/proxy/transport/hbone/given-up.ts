import type { Direction } from '../../../outcomes.ts';
import type { ProxyParts } from '../../parts.ts';
import type { MutualTls } from '../tls.ts';

/** Told why nothing new goes through a tunnel that nobody has closed, and how many connections it has carried. */
export type OnGivenUp = (why: string, connections: number) => void;

const remedy =
  'Look whether the pod at the other end is still there, and what drops packets between both nodes, as a NetworkPolicy, another packet filter or a full table of connection tracking; the log of the other side may name the same `tunnel`';

/** One line for each tunnel, however often it is given up; a network that fails takes many, which are limited as refusals are. */
export function tellGivenUp(
  { log, refusals }: Pick<ProxyParts, 'log' | 'refusals'>,
  direction: Direction,
  { name, ends, peer }: Pick<MutualTls, 'name' | 'ends' | 'peer'>,
): OnGivenUp {
  let isTold = false;
  return (detail, connections) => {
    if (isTold) return;
    isTold = true;
    refusals.tell({ direction, outcome: 'closed', reason: 'tunnel_lost' }, () =>
      log.warn(
        { direction, tunnel: name, ...ends, peerId: peer.spiffeId.uri, connections, detail, remedy },
        'Tunnel given up',
      ),
    );
  };
}
