import type { ReportedEdge } from '../../control-api.ts';
import type { MeshSidecar } from './status.ts';

/** Who called whom. */
export interface MeshEdge {
  /** SPIFFE IDs; `plaintext` for whoever has none. */
  readonly from: string;
  readonly to: string;
  /** As the caller dialled it. */
  readonly service: string | undefined;
  readonly security: string;
  /** As the caller counts them where it reports, or else the called. */
  readonly connections: number;
  readonly lastAt: string;
  readonly seenBy: 'both' | 'caller' | 'called';
}

/** One edge for what both ends report, by caller and called; those of many pods of one identity are added up. */
export function joinedEdges(sidecars: readonly MeshSidecar[]): readonly MeshEdge[] {
  const byCaller = new Map<string, MeshEdge>();
  const byCalled = new Map<string, MeshEdge>();
  for (const { spiffeId, state } of sidecars) {
    for (const edge of state?.edges ?? []) {
      const { direction } = edge;
      if (direction === 'outbound') add(byCaller, edgeOf(edge, spiffeId));
      else add(byCalled, edgeOf(edge, spiffeId));
    }
  }
  const called = new Set([...byCalled.values()].map(ends));
  const calling = new Set([...byCaller.values()].map(ends));
  return [
    ...[...byCaller.values()].map((edge) => (called.has(ends(edge)) ? { ...edge, seenBy: 'both' as const } : edge)),
    ...[...byCalled.values()].filter((edge) => !calling.has(ends(edge))),
  ].sort((one, other) => (nameOf(one) < nameOf(other) ? -1 : 1));
}

function edgeOf({ direction, peer = 'plaintext', ...rest }: ReportedEdge, own: string): MeshEdge {
  const { service, security, connections, lastAt } = rest;
  const [from, to, seenBy] =
    direction === 'outbound' ? ([own, peer, 'caller'] as const) : ([peer, own, 'called'] as const);
  return { from, to, service, security, connections, lastAt, seenBy };
}

function add(edges: Map<string, MeshEdge>, edge: MeshEdge): void {
  const key = nameOf(edge);
  const known = edges.get(key);
  if (known === undefined) return void edges.set(key, edge);
  const lastAt = known.lastAt > edge.lastAt ? known.lastAt : edge.lastAt;
  edges.set(key, { ...edge, connections: known.connections + edge.connections, lastAt });
}

const ends = ({ from, to, security }: MeshEdge) => `${from} ${to} ${security}`;
const nameOf = (edge: MeshEdge) => `${ends(edge)} ${edge.service ?? ''}`;
