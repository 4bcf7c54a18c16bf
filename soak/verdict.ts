import type { Failure } from './apps/reports.ts';
import type { FaultKind, Permission, Permitted, PodName } from './faults.ts';
import { clients, permittedAs, rowOf, servers } from './faults.ts';

/** A fault as it really was; milliseconds of the clock of `nowMs`. */
export interface Fault {
  readonly kind: FaultKind;
  readonly pod: PodName | undefined;
  readonly beganMs: number;
  /** When it was undone and what it had stopped was ready again; undefined while it is in force. */
  readonly undoneMs: number | undefined;
}

export interface Judged {
  readonly failure: Failure;
  /** The first fault that explains it; undefined for an unexplained error. */
  readonly explainedBy: Fault | undefined;
}

/** An application on a busy machine hears of what has happened a little later. */
const hearingMs = 3000;

/** Holds each failure against the faults that were in force when it was seen. */
export function judge(failures: readonly Failure[], faults: readonly Fault[]): Judged[] {
  return failures.map((failure) => ({ failure, explainedBy: faults.find((fault) => explains(fault, failure)) }));
}

function explains(fault: Fault, failure: Failure): boolean {
  const as = permittedAs(failure.symptom, failure.phase);
  if (as === undefined) return false;
  return permissionsOf(fault, failure).some(
    (permission) => permission.symptoms.includes(as) && isInForce(fault, failure, as, permission),
  );
}

function isInForce(fault: Fault, { atMs, startedMs }: Failure, as: Permitted, permission: Permission): boolean {
  const { beganMs, undoneMs = Number.POSITIVE_INFINITY } = fault;
  const { afterMs, carriedForMs = 0, isTheEnd = false } = permission;
  if (atMs < beganMs + (as === 'reset-carried' ? carriedForMs : 0)) return false;
  return atMs <= undoneMs + afterMs + hearingMs || (isTheEnd && startedMs <= undoneMs);
}

function permissionsOf({ kind, pod }: Fault, failure: Failure): Permission[] {
  const { own, peer } = rowOf(kind);
  const permissions = [
    failure.at === pod ? own : undefined,
    pod !== undefined && mayBePeer(failure, pod) ? peer : undefined,
  ];
  return permissions
    .filter((permission) => permission !== undefined)
    .filter(({ side = failure.side }) => side === failure.side);
}

/** Before the server is heard, a client of the Service may have been led to any of its pods. */
function mayBePeer({ peer }: Failure, pod: PodName): boolean {
  if (peer === service) return servers.some((server) => server === pod);
  return peer === undefined ? clients.some((client) => client === pod) : peer === pod;
}

/** What clients call the target that is a Service. */
export const service = 'service';

/** Connections that servers have taken more than once: a request that was repeated. */
export function repeated(taken: Iterable<string>): string[] {
  const seen = new Set<string>();
  const twice = new Set<string>();
  for (const id of taken) (seen.has(id) ? twice : seen).add(id);
  return [...twice];
}
