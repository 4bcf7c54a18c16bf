import type { Address } from '../addresses.ts';
import { formatAddress } from '../addresses.ts';
import type { ConnectionLine } from '../admin-api.ts';
import { timestamp } from '../clock.ts';
import type { Direction, Words } from '../outcomes.ts';
import { closedReasons, deniedReasons, handshakeReasons, wantsOfRoom } from '../outcomes.ts';
import type {
  OtherRefusal,
  PolicyDecision,
  PolicyTrial,
  PresentedCertificate,
  RefusalFacts,
} from '../refusal-facts.ts';
import type { Established, Outcome } from './account.ts';
import type { ByteCount } from './relay.ts';

/** A connection that has ended, one way or another. */
export interface Ended {
  readonly id: string;
  readonly direction: Direction;
  readonly peerAddress: Address | undefined;
  readonly openedAtMs: number;
  readonly durationMs: number;
  readonly known: Partial<Established>;
  /** Undefined when nothing was carried. */
  readonly bytes: Readonly<ByteCount> | undefined;
  readonly outcome: Outcome;
  /** Wall time, milliseconds since the epoch. */
  readonly nowMs: number;
  /** The clock of the control plane minus ours; undefined when it is not known. */
  readonly clockSkewMs: number | undefined;
}

/** Everything that is said of a connection, in its log line and on the pages; what is not known is absent. */
export function lineOf({ known, bytes, outcome, ...ended }: Ended): ConnectionLine {
  return {
    id: ended.id,
    direction: ended.direction,
    peerAddress: ended.peerAddress === undefined ? 'unknown' : formatAddress(ended.peerAddress),
    ...shownFacts(outcome.facts === undefined ? known : knownAtLast(known, outcome.facts)),
    openedAt: timestamp(ended.openedAtMs),
    durationMs: ended.durationMs,
    ...bytes,
    outcome: outcome.kind,
    reason: outcome.reason,
    ...(isEnd(outcome) ? { detail: outcome.detail } : whatFailed(outcome, ended)),
  };
}

/** What is decided last of a connection that was carried is why it was cut. */
function knownAtLast(known: Partial<Established>, facts: RefusalFacts): Partial<Established> {
  return { ...facts, ...known, decision: facts.decision ?? known.decision };
}

/** The applications were done with it. */
export function isEnd({ kind, reason }: Outcome): boolean {
  return kind === 'closed' && reason === 'eof';
}

/** What is known of a connection whether or not it failed, in the form of its log line. */
export function shownFacts({
  originalDestination,
  endpoint,
  service,
  peerId,
  localId,
  transport,
  security,
  tls,
  tunnel,
  tunnelFrom,
  tunnelTo,
  decision,
}: Partial<Established>) {
  return {
    originalDestination: originalDestination && formatAddress(originalDestination),
    endpoint: endpoint && formatAddress(endpoint),
    service,
    peerId,
    localId,
    transport,
    security,
    tlsVersion: tls?.version,
    cipher: tls?.cipher,
    // Node.js tells it to the client alone.
    group: tls?.group === 'unknown' ? undefined : tls?.group,
    tunnel,
    tunnelFrom,
    tunnelTo,
    ...(decision && shownDecision(decision)),
  };
}

/** So many AUDIT policies are named in a line; all of them are counted. */
export const maxAuditedNames = 10;

/** By the names of the log line. */
export function shownDecision({ policy, audited, dryRun }: PolicyDecision) {
  return {
    policy,
    audited: audited?.slice(0, maxAuditedNames),
    auditedCount: audited?.length,
    dryRun: dryRun && shownTrial(dryRun),
  };
}

function shownTrial(trial: PolicyTrial) {
  return { verdict: trial.kind, ...(trial.kind === 'denied' && { reason: trial.reason }), policy: trial.by };
}

function whatFailed(outcome: Outcome, { nowMs, clockSkewMs }: Pick<Ended, 'nowMs' | 'clockSkewMs'>) {
  const { facts: { expectedId, presented, other } = {}, detail } = outcome;
  const isAboutTime = outcome.reason === 'expired' || outcome.reason === 'not_yet_valid';
  return {
    expectedId,
    ...(presented && shownCertificate(presented)),
    ...(isAboutTime && presented && distances(presented, nowMs)),
    clockSkewSeconds: isAboutTime && clockSkewMs !== undefined ? clockSkewMs / 1000 : undefined,
    ...(other && shownOther(other)),
    ...wordsOf(outcome),
    detail,
  };
}

function shownCertificate({ ids, serial, issuer, notBeforeMs, notAfterMs }: PresentedCertificate) {
  return {
    presentedId: ids.length === 0 ? undefined : ids.join(' '),
    presentedSerial: serial,
    presentedIssuer: issuer,
    presentedNotBefore: shownInstant(notBeforeMs),
    presentedNotAfter: shownInstant(notAfterMs),
  };
}

function shownInstant(wallMs: number): string | undefined {
  return Number.isNaN(wallMs) ? undefined : timestamp(wallMs);
}

/** How far our clock is outside the dates of the certificate; when neither is there, another one of the chain was. */
function distances({ notBeforeMs, notAfterMs }: PresentedCertificate, nowMs: number) {
  return {
    expiredForSeconds: nowMs >= notAfterMs ? (nowMs - notAfterMs) / 1000 : undefined,
    validInSeconds: nowMs < notBeforeMs ? (notBeforeMs - nowMs) / 1000 : undefined,
  };
}

function shownOther({ outcome, reason }: OtherRefusal) {
  const { happened, remedy } = wordsIn({ kind: outcome, reason });
  return { otherReason: reason, otherHappened: happened, otherRemedy: remedy };
}

/** The words of the outcome, and who it was that could not be reached where that is not what the application dialled. */
export function wordsOf(outcome: Outcome): Words {
  const { happened, remedy } = wordsIn(outcome);
  const { kind, reason, facts } = outcome;
  if (facts === undefined) return { happened, remedy };
  const { other, tunnelTo, tunnel } = facts;
  if (kind === 'denied' && other !== undefined && wantsOfRoom.has(other.reason))
    return { happened: 'The sidecar of the other side has no room for the connection', remedy };
  if (kind !== 'closed') return { happened, remedy };
  if (other !== undefined)
    return { happened: `${happened}, says the sidecar of the other side`, remedy: remedyOfApplication };
  if (tunnelTo === undefined) return { happened, remedy };
  // A tunnel that has a name was reached, once.
  if (tunnel === undefined)
    return { happened: `${happened}; it was the sidecar of the other side that was dialled`, remedy: remedyOfSidecar };
  if (reason !== 'upstream_timeout') return { happened, remedy };
  return { happened: `${happened}; its sidecar did not answer in the tunnel`, remedy: remedyOfSidecar };
}

const remedyOfApplication =
  'In the log of the other side a line with the same id says in its `detail` what was dialled: check there that the application runs, and that it listens on this port';
const remedyOfSidecar =
  'Check what drops packets to the port of `tunnelTo`, as a NetworkPolicy or another packet filter, and that its pod is still there: `remora mesh` beside the control plane says whether its sidecar is alive';

const tables = { closed: closedReasons, denied: deniedReasons, handshake: handshakeReasons } as const;

function wordsIn({ kind, reason }: { readonly kind: keyof typeof tables; readonly reason: string }): Words {
  const table: Readonly<Record<string, Words>> = tables[kind];
  return table[reason] ?? { happened: 'The connection ended', remedy: 'Report it with this log line' };
}
