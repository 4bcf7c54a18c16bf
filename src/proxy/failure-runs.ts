import type { Address } from '../addresses.ts';
import { formatAddress } from '../addresses.ts';
import type { Direction } from '../outcomes.ts';
import type { LiveConnection, Outcome } from './account.ts';
import type { Ended } from './connection-line.ts';

/** Connections that failed one after another, with nothing carried in between. */
export interface FailureRun {
  readonly failures: number;
  /** When the first of them failed; wall time, milliseconds since the epoch. */
  readonly sinceMs: number;
  readonly last: Ended;
}

/** What a run is of: where the application wants to go, a port of this pod, or a peer that wants to come in. */
export type RunSubject =
  | { readonly kind: 'to'; readonly address: Address }
  | { readonly kind: 'port'; readonly port: number }
  | { readonly kind: 'from'; readonly id: string };

/** So many are remembered for each direction: what strangers do to this pod hides nothing of what its application does. */
export const maxFailureRuns = 1000;

/**
 * Which ways have failed since something was carried on them last. Of refusals only those that nobody can foresee who
 * knows what this sidecar knows: the others are decided anew, and an application that gives up says nothing of the way.
 */
export function createFailureRuns(limit = maxFailureRuns) {
  const byDirection: Readonly<Record<Direction, Map<string, FailureRun>>> = {
    inbound: new Map(),
    outbound: new Map(),
  };
  return {
    failed(ended: Ended): void {
      if (!isOfTheWay(ended)) return;
      const runs = byDirection[ended.direction];
      for (const key of keysOfFailure(ended)) {
        const before = runs.get(key);
        runs.delete(key);
        runs.set(key, { failures: (before?.failures ?? 0) + 1, sinceMs: before?.sinceMs ?? ended.nowMs, last: ended });
        const [oldest] = runs.keys();
        if (runs.size > limit && oldest !== undefined) runs.delete(oldest);
      }
    },
    carried({ direction, facts }: Pick<LiveConnection, 'direction' | 'facts'>): void {
      const runs = byDirection[direction];
      // Costs nothing while nothing fails.
      if (runs.size === 0) return;
      const { originalDestination, endpoint, peerId } = facts;
      const keys =
        direction === 'outbound'
          ? toBoth(originalDestination, endpoint)
          : [
              keyOf({ kind: 'port', port: originalDestination.port }),
              ...(peerId === undefined ? [] : [keyOf({ kind: 'from', id: peerId })]),
            ];
      for (const key of keys) runs.delete(key);
    },
    of(subject: RunSubject): FailureRun | undefined {
      return byDirection[subject.kind === 'to' ? 'outbound' : 'inbound'].get(keyOf(subject));
    },
  };
}

function keyOf(subject: RunSubject): string {
  switch (subject.kind) {
    case 'to':
      return formatAddress(subject.address);
    case 'port':
      return `port ${subject.port}`;
    case 'from':
      return subject.id;
    default:
      return subject satisfies never;
  }
}

const toBoth = (...addresses: readonly (Address | undefined)[]): Set<string> =>
  new Set(addresses.filter((address) => address !== undefined).map((address) => keyOf({ kind: 'to', address })));

function isOfTheWay({ bytes, outcome }: Ended): boolean {
  return bytes === undefined && isUnforeseen(outcome);
}

function isUnforeseen({ kind, reason }: Outcome): boolean {
  switch (kind) {
    case 'closed':
      return reason.startsWith('upstream_') || reason === 'tunnel_lost';
    case 'denied':
      return reason === 'peer_refused';
    case 'handshake':
      return reason !== 'trust_domain' && reason !== 'plaintext_in_strict';
    default:
      return kind satisfies never;
  }
}

function keysOfFailure({ direction, known, outcome }: Ended): Iterable<string> {
  const { facts } = outcome;
  const { originalDestination } = known;
  if (direction === 'outbound') return toBoth(originalDestination, known.endpoint ?? facts?.endpoint);
  if (outcome.kind !== 'handshake')
    return originalDestination === undefined ? [] : [keyOf({ kind: 'port', port: originalDestination.port })];
  const [id] = facts?.presented?.ids ?? [];
  return id === undefined ? [] : [keyOf({ kind: 'from', id })];
}
