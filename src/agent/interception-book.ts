import type { Direction } from '../outcomes.ts';
import type { Family } from './interception.ts';

/** What one proof showed last. */
export interface InterceptionProof {
  readonly family: Family;
  readonly direction: Direction;
  readonly isOk: boolean;
}

/** What is known of interception: whoever proves something writes it down here, metrics and pages read it. */
export interface InterceptionBook {
  proved(proof: InterceptionProof): void;
  /** How many connections of the application go around the sidecar now. */
  bypassed(direction: Direction, connections: number): void;
  facts(): InterceptionFacts;
}

export interface InterceptionFacts {
  /** One for each family and direction of which something is known. */
  readonly proofs: readonly InterceptionProof[];
  readonly bypassed: Readonly<Record<Direction, number>>;
}

export function createInterceptionBook(): InterceptionBook {
  const proofs = new Map<string, InterceptionProof>();
  const bypassed = { inbound: 0, outbound: 0 };
  return {
    proved: (proof) => void proofs.set(`${proof.direction} ${proof.family}`, proof),
    bypassed(direction, connections) {
      bypassed[direction] = connections;
    },
    facts: () => ({ proofs: [...proofs.values()], bypassed: { ...bypassed } }),
  };
}
