import type { Address } from '../../addresses.ts';
import type { Clock } from '../../clock.ts';
import type { Direction, Security } from '../../outcomes.ts';
import type { WorkloadBook } from '../registry/workload-book.ts';
import type { Caller, CallerPool, Forgotten } from './caller-pool.ts';
import { createCallerPool } from './caller-pool.ts';

/** What is written down of a connection. */
export interface CallersConnection {
  readonly direction: Direction;
  /** Undefined when the peer was gone already. */
  readonly peerAddress: Address | undefined;
  readonly facts: {
    readonly security: Security;
    readonly originalDestination: Address;
    readonly peerId?: string | undefined;
  };
  readonly bytes: { readonly bytesSent: number };
}

/** A connection that was not carried. */
export interface RefusedConnection {
  readonly direction: Direction;
  readonly peerAddress: Address | undefined;
  readonly known: { readonly originalDestination?: Address | undefined; readonly peerId?: string | undefined };
  readonly outcome: { readonly kind: string; readonly reason: string };
}

/** Who has called this pod, and how: what would break if plaintext were not taken any more, or if a policy were another. */
export interface CallerBook {
  connectionOpened(connection: CallersConnection): void;
  connectionClosed(connection: CallersConnection): void;
  /** Remembers whom the policy does not let in; others are passed over. */
  refused(connection: RefusedConnection): void;
  /** The registry has answered for these addresses. */
  answered(ips: readonly string[]): void;
  /** Without an identity. */
  plaintext(): Shelved;
  mutualTls(): Shelved;
  /** Refused by the mode or by an AuthorizationPolicy, also those who were let in before or since. */
  refusals(): Shelved;
  /** Plaintext connections by port; `other` beyond the ports that are remembered. */
  plaintextConnections(): ReadonlyMap<string, number>;
  /** Since when nothing is missing but what is counted as forgotten; wall time. */
  readonly sinceMs: number;
}

export interface Shelved {
  readonly callers: readonly SeenCaller[];
  readonly forgotten: readonly Forgotten[];
}

export type SeenCaller = Readonly<Omit<Caller, 'askAgainMs'>>;

/** Callers of each kind that are remembered, and ports that have a place of their own. */
export const callerBookLimits = { plaintext: 2000, mutualTls: 2000, refused: 500, ports: 50 };

/** Milliseconds until the registry is asked again for whom it did not know, and how many of these are asked for at once. */
export const callerNames = { askAgainMs: 60_000, askedAtOnce: 50 };

/** The mode or an AuthorizationPolicy says no; whatever else a connection fails of does not depend on either. */
const refusedByPolicy: ReadonlySet<string> = new Set([
  'denied default_deny',
  'denied policy_deny',
  'denied policy_error',
  'handshake plaintext_in_strict',
]);

/**
 * Costs a few steps for each connection and nothing for each byte; names are asked for in the background. `isDisabled` says
 * whether the mode of a port is DISABLE now.
 */
export function createCallerBook(
  clock: Clock,
  workloads: Pick<WorkloadBook, 'find'>,
  isDisabled: (port: number) => boolean,
  limits = callerBookLimits,
): CallerBook {
  const sinceMs = clock.now();
  const { ports } = limits;
  const plaintext = createCallerPool(clock, { callers: limits.plaintext, ports });
  const mutualTls = createCallerPool(clock, { callers: limits.mutualTls, ports });
  const refusals = createCallerPool(clock, { callers: limits.refused, ports });
  const open = new WeakMap<CallersConnection, Caller>();

  const poolOf = ({ security }: CallersConnection['facts']) => (security === 'plaintext' ? plaintext : mutualTls);

  const arrived = (pool: CallerPool, peer: Address, to: Address, peerId: string | undefined): Caller | undefined => {
    const found = workloads.find(peer.ip);
    const workload = found.kind === 'known' ? found.workload : undefined;
    const called = { destinationIp: to.ip, isDisabled: isDisabled(to.port) };
    const caller = pool.opened({ ip: peer.ip, port: to.port, principal: peerId }, called, workload);
    if (caller !== undefined) caller.askAgainMs = clock.monotonic() + callerNames.askAgainMs;
    return caller;
  };

  /** Those that are known now get their names; an address that is asked for is answered later. */
  const nameFrom = (pool: CallerPool, caller: Caller) => {
    const found = workloads.find(caller.ip);
    if (found.kind === 'known') pool.named(caller, found.workload);
  };

  /** A pod may be known to its peers before it is to the control plane. */
  const askForNames = (pool: CallerPool) => {
    const nowMs = clock.monotonic();
    const due = [...pool.callers()].filter(({ workload, askAgainMs }) => workload === undefined && nowMs >= askAgainMs);
    for (const caller of due.slice(0, callerNames.askedAtOnce)) {
      caller.askAgainMs = nowMs + callerNames.askAgainMs;
      nameFrom(pool, caller);
    }
  };

  const shelved = (pool: CallerPool): Shelved => {
    askForNames(pool);
    return { callers: [...pool.callers()].map(({ askAgainMs: _, ...caller }) => caller), forgotten: pool.forgotten() };
  };

  return {
    connectionOpened(connection) {
      const { direction, peerAddress, facts } = connection;
      if (direction !== 'inbound' || peerAddress === undefined) return;
      const caller = arrived(poolOf(facts), peerAddress, facts.originalDestination, facts.peerId);
      if (caller !== undefined) open.set(connection, caller);
    },
    connectionClosed(connection) {
      const caller = open.get(connection);
      if (caller !== undefined) poolOf(connection.facts).closed(caller, connection.bytes.bytesSent > 0);
    },
    refused({ direction, peerAddress, known: { originalDestination, peerId }, outcome: { kind, reason } }) {
      if (direction !== 'inbound' || !refusedByPolicy.has(`${kind} ${reason}`)) return;
      if (peerAddress === undefined || originalDestination === undefined) return;
      const caller = arrived(refusals, peerAddress, originalDestination, peerId);
      if (caller !== undefined) refusals.closed(caller, false);
    },
    answered(ips) {
      const known = new Set(ips);
      for (const pool of [plaintext, mutualTls, refusals])
        for (const caller of [...pool.callers()])
          if (caller.workload === undefined && known.has(caller.ip)) nameFrom(pool, caller);
    },
    plaintext: () => shelved(plaintext),
    mutualTls: () => shelved(mutualTls),
    refusals: () => shelved(refusals),
    plaintextConnections: plaintext.connections,
    sinceMs,
  };
}
