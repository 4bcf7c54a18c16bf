import * as v from 'valibot';
import { parseAddress } from '../../addresses.ts';
import { parseJson } from '../../control-api.ts';

/** Connections that were carried from one identity to another. */
export interface Edge {
  readonly from: string;
  readonly to: string;
  /** What the application dialled. */
  readonly destination: string;
  /** `name.namespace`; empty when no Service was dialled. */
  readonly service: string;
  readonly security: string;
  readonly connections: number;
}

/** Connections of one peer that a sidecar refused for one reason. */
export interface Refusal {
  readonly sidecar: string;
  readonly peerIp: string;
  readonly reason: string;
  readonly count: number;
}

/** What the sidecars' log lines say so far. */
export interface SidecarLog {
  /** Takes one line of a sidecar's output; what is about something else is passed over. */
  see(sidecar: string, line: string): void;
  /** The SPIFFE ID that the sidecar's last certificate proves; undefined before the first. */
  identityOf(sidecar: string): string | undefined;
  edges(): readonly Edge[];
  refusals(): readonly Refusal[];
  /** Connections that were accepted and cut because a policy does not permit them any more. */
  policyClosed(): number;
}

const text = v.optional(v.string(), '');
const connectionLine = v.object({
  direction: v.picklist(['inbound', 'outbound']),
  outcome: v.picklist(['closed', 'denied', 'handshake']),
  reason: v.string(),
  peerAddress: text,
  originalDestination: text,
  service: text,
  security: text,
  peerId: text,
  localId: text,
});
type ConnectionLine = v.InferOutput<typeof connectionLine>;

/** Written for each new certificate. */
const identityLine = v.object({ spiffeId: v.string(), generation: v.number() });

/** More rows than this say nothing more. */
const maxRows = 200;

export function createSidecarLog(): SidecarLog {
  const edges = new Map<string, Edge>();
  const refusals = new Map<string, Refusal>();
  const identities = new Map<string, string>();
  let policyClosed = 0;
  return {
    see(sidecar, line) {
      const identity = readLine(identityLine, line);
      if (identity !== undefined) return void identities.set(sidecar, identity.spiffeId);
      const read = readLine(connectionLine, line);
      if (read === undefined) return;
      // The client's side knows both what was dialled and who answered; the server's side would count it again.
      if (read.outcome === 'closed' && read.direction === 'outbound' && read.peerId !== '')
        add(edges, edgeOf(read), 'connections');
      // The other end sees a cut and does not know why.
      if (read.outcome === 'closed' && read.reason === 'policy_change') policyClosed += 1;
      if (read.outcome !== 'closed') add(refusals, refusalOf(sidecar, read), 'count');
    },
    identityOf: (sidecar) => identities.get(sidecar),
    edges: () => [...edges.values()],
    refusals: () => [...refusals.values()],
    policyClosed: () => policyClosed,
  };
}

function readLine<S extends v.GenericSchema>(schema: S, line: string): v.InferOutput<S> | undefined {
  try {
    return parseJson(schema, line);
  } catch {
    return undefined;
  }
}

function edgeOf({ localId, peerId, originalDestination, service, security }: ConnectionLine): Edge {
  return { from: localId, to: peerId, destination: originalDestination, service, security, connections: 1 };
}

function refusalOf(sidecar: string, { peerAddress, reason }: ConnectionLine): Refusal {
  return { sidecar, peerIp: parseAddress(peerAddress)?.ip ?? peerAddress, reason, count: 1 };
}

/** Rows are the same when everything but their count is. */
function add<Count extends string, Row extends { readonly [Name in Count]: number }>(
  rows: Map<string, Row>,
  row: Row,
  count: Count,
): void {
  const key = JSON.stringify({ ...row, [count]: 0 });
  const known = rows.get(key);
  if (known === undefined && rows.size >= maxRows) return;
  rows.set(key, known === undefined ? row : { ...known, [count]: known[count] + 1 });
}
