import { randomBytes } from 'node:crypto';
import type { Address } from '../addresses.ts';
import type { Clock } from '../clock.ts';
import { ConnectionError, DeniedError, HandshakeError, isOutOfDescriptors, messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { AccessLog } from '../logging.ts';
import type {
  ClosedReason,
  DeniedReason,
  Direction,
  HandshakeReason,
  ProofResult,
  Security,
  Transport,
} from '../outcomes.ts';
import { printable } from '../printable.ts';
import type { PolicyDecision, RefusalFacts, TunnelEnds } from '../refusal-facts.ts';
import type { Ended } from './connection-line.ts';
import { isEnd, lineOf } from './connection-line.ts';
import type { Proof } from './proof.ts';
import type { RecentFailures } from './recent-failures.ts';
import type { ConnectionLineKind, RefusalLines, SuppressionCounter } from './refusal-lines.ts';
import type { ByteCount } from './relay.ts';

/** How a connection ended: carried, refused by us, or never authenticated. */
export type Outcome = (
  | { readonly kind: 'closed'; readonly reason: ClosedReason }
  | { readonly kind: 'denied'; readonly reason: DeniedReason }
  | { readonly kind: 'handshake'; readonly reason: HandshakeReason }
) & {
  /** What exactly was found. */
  readonly detail?: string;
  readonly facts?: RefusalFacts;
};

/** What is known of a connection when it arrives. */
export interface Arrival {
  /** The id that the other sidecar gave to the same connection; a new one is made without it. */
  readonly id?: string | undefined;
  readonly direction: Direction;
  /** Whoever dialled: the application outbound, the other pod inbound. Undefined when it is gone already. */
  readonly peerAddress: Address | undefined;
}

/** What is known once it is carried. Absent fields are absent in the log line. */
export interface Established extends Partial<TunnelEnds> {
  readonly transport: Transport;
  readonly security: Security;
  readonly originalDestination: Address;
  /** The address that was dialled for it. */
  readonly endpoint?: Address | undefined;
  readonly service?: string | undefined;
  readonly peerId?: string | undefined;
  readonly localId?: string | undefined;
  /** Absent in plaintext. */
  readonly tls?: Negotiated | undefined;
  /** Short name of the tunnel that carries it; the same at both ends. */
  readonly tunnel?: string | undefined;
  /** Absent where no AuthorizationPolicy has anything to do with it. */
  readonly decision?: PolicyDecision | undefined;
}

/** Sees each connection once at each of its turns; implemented by the metrics. */
export interface Observer extends SuppressionCounter {
  connectionOpened(connection: LiveConnection): void;
  connectionClosed(connection: LiveConnection, reason: ClosedReason): void;
  /** It was admitted, but could not be made. */
  connectionFailed(direction: Direction, reason: ClosedReason): void;
  connectionDenied(direction: Direction, reason: DeniedReason): void;
  /** AuthorizationPolicies had to do with it; `enforced` is what became of it. */
  connectionJudged(decision: PolicyDecision, enforced: 'allowed' | 'denied'): void;
  handshakeSucceeded(direction: Direction, durationMs: number, negotiated: Negotiated): void;
  handshakeFailed(direction: Direction, reason: HandshakeReason): void;
  tunnelOpened(direction: Direction): void;
  tunnelClosed(direction: Direction): void;
  /** An older tunnel was proved anew on a newer one, or was not. */
  proofRenewed(direction: Direction, result: ProofResult): void;
}

/** What a TLS handshake settled on; IANA names. */
export interface Negotiated {
  readonly version: string;
  readonly cipher: string;
  readonly group: string;
}

/** The books of one connection: opened once, closed exactly once. */
export interface Account {
  readonly id: string;
  readonly direction: Direction;
  /** Adds what became known; shown in the log line even if the connection is refused later. */
  learned(facts: Partial<Established>): void;
  /** The application's bytes begin to flow; `bytes` is read again at each scrape and at the end. */
  established(facts: Established, bytes: Readonly<ByteCount>, proof?: Proof): void;
  /** Writes the metrics and the one log line, which a flood of refusals may have to do without. */
  close(outcome: Outcome): void;
}

/** A connection that is carried right now. */
export interface LiveConnection {
  readonly id: string;
  readonly direction: Direction;
  readonly peerAddress: Address | undefined;
  readonly openedAtMs: number;
  readonly facts: Established;
  readonly bytes: Readonly<ByteCount>;
  /** Undefined in plaintext. */
  readonly proof: Proof | undefined;
}

export interface Accounts {
  open(arrival: Arrival): Account;
  /** Those that are carried right now. */
  live(): Iterable<LiveConnection>;
}

export function createAccounts({
  observer,
  refusals,
  failures,
  log,
  clock,
  accessLog = () => 'all',
  clockSkewMs = () => undefined,
}: {
  observer: Observer;
  refusals: RefusalLines;
  /** Default: nobody asks for them. */
  failures?: RecentFailures;
  log: Log;
  clock: Clock;
  /** Which connections get a line; default: all of them. */
  accessLog?: () => AccessLog;
  /** The clock of the control plane minus ours, milliseconds; undefined when it is not known. */
  clockSkewMs?: () => number | undefined;
}): Accounts {
  const prefix = randomBytes(5).toString('hex');
  const live = new Map<Account, LiveConnection>();
  let sequence = 0;

  const open = (arrival: Arrival): Account => {
    sequence += 1;
    const { direction, peerAddress } = arrival;
    const id = arrival.id ?? `${prefix}-${sequence.toString(36)}`;
    const openedAtMs = clock.now();
    const startedMs = clock.monotonic();
    let known: Partial<Established> = {};
    let isClosed = false;

    const account: Account = {
      id,
      direction,
      learned(facts) {
        known = { ...known, ...facts };
      },
      established(facts, bytes, proof) {
        known = facts;
        const carried = { id, direction, peerAddress, openedAtMs, facts, bytes, proof };
        live.set(account, carried);
        failures?.carried(carried);
        observer.connectionOpened(carried);
        if (facts.decision !== undefined) observer.connectionJudged(facts.decision, 'allowed');
      },
      close(outcome) {
        if (isClosed) throw new TypeError(`The account of connection ${id} was closed twice`);
        isClosed = true;
        const carried = live.get(account);
        live.delete(account);
        count(observer, direction, carried, outcome);
        const isFailure = !isEnd(outcome);
        const isAudited = (outcome.facts?.decision ?? known.decision)?.audited !== undefined;
        const isLogged = isWanted(outcome, isAudited, accessLog(), log);
        if (!isFailure && !isLogged) return;
        const ended: Ended = {
          id,
          direction,
          peerAddress,
          openedAtMs,
          durationMs: Math.round(clock.monotonic() - startedMs),
          known,
          bytes: carried?.bytes,
          outcome,
          nowMs: clock.now(),
          clockSkewMs: isFailure ? clockSkewMs() : undefined,
        };
        if (isFailure) failures?.add(ended);
        if (!isLogged) return;
        const kind = { direction, outcome: outcome.kind, reason: outcome.reason, isCarried: carried !== undefined };
        refusals.tell(kind as ConnectionLineKind, () => write(log, ended));
      },
    };
    return account;
  };
  return { open, live: () => live.values() };
}

/** What nobody wants takes no place from what is left out, and is not counted there. Whoever audits wants the line of a good one too. */
function isWanted(outcome: Outcome, isAudited: boolean, accessLog: AccessLog, log: Log): boolean {
  if (isEnd(outcome))
    return (accessLog === 'all' || (isAudited && accessLog === 'failures')) && log.isLevelEnabled('info');
  return accessLog !== 'off' && log.isLevelEnabled('warn');
}

function write(log: Log, ended: Ended): void {
  const { happened, ...line } = lineOf(ended);
  if (happened === undefined) log.info(line, 'Connection closed');
  else log.warn(line, happened);
}

function count(observer: Observer, direction: Direction, carried: LiveConnection | undefined, outcome: Outcome): void {
  switch (outcome.kind) {
    case 'closed':
      if (carried) observer.connectionClosed(carried, outcome.reason);
      else observer.connectionFailed(direction, outcome.reason);
      return;
    case 'denied':
      observer.connectionDenied(direction, outcome.reason);
      if (outcome.facts?.decision !== undefined) observer.connectionJudged(outcome.facts.decision, 'denied');
      return;
    case 'handshake':
      // The handshake counted itself, where it failed.
      return;
    default:
      outcome satisfies never;
  }
}

/** Two SPIFFE IDs of the longest kind would be more, and are fields of their own. */
const maxDetail = 1000;

/** The outcome that a failed stage stands for. What is none of ours is `internal`, with its message as the detail. */
export function outcomeOf(error: unknown): Outcome {
  const detail = printable(messageOf(error), maxDetail);
  if (isOutOfDescriptors(error)) return { kind: 'denied', reason: 'descriptor_limit', detail };
  if (error instanceof DeniedError) return { kind: 'denied', reason: error.reason, detail, facts: error.facts };
  if (error instanceof HandshakeError) return { kind: 'handshake', reason: error.reason, detail, facts: error.facts };
  if (error instanceof ConnectionError) return { kind: 'closed', reason: error.reason, detail, facts: error.facts };
  return { kind: 'denied', reason: 'internal', detail };
}
