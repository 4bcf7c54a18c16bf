import type { Dice } from './dice.ts';
import { diceOf } from './dice.ts';
import type { FaultKind, FaultRow, PodName } from './faults.ts';
import { faultKinds, rowOf } from './faults.ts';

/** A fault that is to come; milliseconds from the beginning of the load. */
export interface PlannedFault {
  readonly kind: FaultKind;
  readonly lane: FaultRow['lane'];
  /** Undefined for one that is nowhere in particular. */
  readonly pod: PodName | undefined;
  readonly atMs: number;
  readonly forMs: number;
}

/** The mesh is left alone at the beginning, between two faults of a lane, and at the end. */
export const quietMs = { first: 3000, least: 2000, most: 7000, last: 5000 } as const;

/**
 * The faults of a run, a function of both arguments alone. Each lane goes through all of its kinds, shuffled, again and
 * again, so that a short run sees each kind as well; all are over `quietMs.last` before the end.
 */
export function scheduleOf(seed: number, durationMs: number): PlannedFault[] {
  const lanes = ['disruptive', 'harmless'] as const;
  return lanes
    .flatMap((lane) => laneOf(lane, diceOf(seed, 'faults', lane), durationMs))
    .sort((one, other) => one.atMs - other.atMs);
}

function laneOf(lane: FaultRow['lane'], dice: Dice, durationMs: number): PlannedFault[] {
  const kinds = faultKinds.filter((kind) => rowOf(kind).lane === lane);
  const planned: PlannedFault[] = [];
  let deck: FaultKind[] = [];
  let atMs: number = quietMs.first;
  for (;;) {
    if (deck.length === 0) deck = dice.shuffled(kinds);
    const [kind, ...rest] = deck;
    if (kind === undefined) return planned;
    deck = rest;
    const { pods, shortestMs, longestMs } = rowOf(kind);
    const forMs = dice.whole(shortestMs, longestMs);
    const pod = pods && dice.pick(pods);
    if (atMs + forMs > durationMs - quietMs.last) return planned;
    planned.push({ kind, lane, pod, atMs, forMs });
    atMs += forMs + dice.whole(quietMs.least, quietMs.most);
  }
}
