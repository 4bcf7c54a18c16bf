import type { Direction } from '../outcomes.ts';
import type { Family } from './interception.ts';

/** What one proof showed last. */
export interface InterceptionProof {
  readonly family: Family;
  readonly direction: Direction;
  readonly isOk: boolean;
}

/** Connections that go around the sidecar. */
export type BypassCounts = Readonly<Record<Direction, Readonly<Record<Family, number>>>>;

export const noBypasses: BypassCounts = { inbound: { ipv4: 0, ipv6: 0 }, outbound: { ipv4: 0, ipv6: 0 } };

/** What is known of interception: whoever proves something writes it down here, metrics and pages read it. */
export interface InterceptionBook {
  proved(proof: InterceptionProof): void;
  /** What was proved last does not count any more. */
  forget(what: Omit<InterceptionProof, 'isOk'>): void;
  /** How many connections of the application go around the sidecar now. */
  bypassed(connections: BypassCounts): void;
  facts(): InterceptionFacts;
}

export interface InterceptionFacts {
  /** One for each family and direction of which something is known; not in order while a connection goes around the sidecar. */
  readonly proofs: readonly InterceptionProof[];
  readonly bypassed: Readonly<Record<Direction, number>>;
}

const directions: readonly Direction[] = ['inbound', 'outbound'];
const families: readonly Family[] = ['ipv4', 'ipv6'];

export function createInterceptionBook(): InterceptionBook {
  const proofs = new Map<string, boolean>();
  let bypassed = noBypasses;
  const keyOf = ({ direction, family }: Omit<InterceptionProof, 'isOk'>) => `${direction} ${family}`;
  const factOf = (direction: Direction, family: Family): InterceptionProof[] => {
    const proof = proofs.get(keyOf({ direction, family }));
    const isBypassed = bypassed[direction][family] > 0;
    return proof === undefined && !isBypassed ? [] : [{ family, direction, isOk: proof === true && !isBypassed }];
  };
  const sumOf = ({ ipv4, ipv6 }: Readonly<Record<Family, number>>) => ipv4 + ipv6;
  return {
    proved: (proof) => void proofs.set(keyOf(proof), proof.isOk),
    forget: (what) => void proofs.delete(keyOf(what)),
    bypassed(connections) {
      bypassed = connections;
    },
    facts: () => ({
      proofs: directions.flatMap((direction) => families.flatMap((family) => factOf(direction, family))),
      bypassed: { inbound: sumOf(bypassed.inbound), outbound: sumOf(bypassed.outbound) },
    }),
  };
}
