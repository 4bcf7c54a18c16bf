import type { ShownFailure, StatusPage } from '../admin-api.ts';
import { parseDate, timestamp } from '../clock.ts';
import { remainingMs } from '../identity/identity.ts';
import type { Revocations } from '../identity/revocations.ts';
import type { Direction, ReadinessGate } from '../outcomes.ts';
import { gateRemedies, readinessGates, renewalReasons } from '../outcomes.ts';
import type { Mode } from '../policy/mode.ts';
import { version } from '../version.ts';
import type { HeldIdentity } from './certificates-page.ts';
import { isIdentityRevoked, shownRenewalFailure } from './certificates-page.ts';
import type { ChangedSetting } from './config-page.ts';
import type { ControlPlaneFacts } from './control-plane-book.ts';
import type { TimedReadiness } from './gate-times.ts';
import type { InterceptionFacts } from './interception-book.ts';
import type { NewConnections } from './last-minute.ts';
import { shownModes } from './policy-page.ts';
import type { PolicyInForce } from './policy-watch.ts';

/** Failures that are older say little of what goes on; milliseconds. */
const latelyMs = 10 * 60_000;

/** How much is open, by direction. */
export type OpenNow = Pick<StatusPage, 'connections' | 'tunnels'>;

/** Places for connections. */
export type PlacesNow = StatusPage['places'];

export interface StatusShown {
  /** Wall time, milliseconds since the epoch. */
  readonly nowMs: number;
  readonly startedAtMs: number;
  readonly settings: {
    readonly podName?: string | undefined;
    readonly workloadNamespace?: string | undefined;
    readonly workloadName?: string | undefined;
    readonly controlPlane?: string | undefined;
    readonly capture: boolean;
    readonly includeInboundPorts: '*' | readonly unknown[];
    readonly minimumInboundMode: Mode;
    readonly minimumOutbound: string;
    readonly outboundPolicy: string;
  };
  readonly readiness: Pick<TimedReadiness, 'closed' | 'closedSince'>;
  readonly identity: HeldIdentity | undefined;
  readonly revocations: Pick<Revocations, 'whyRevoked'>;
  /** Undefined while no policy can be enforced. */
  readonly policyInForce: Pick<PolicyInForce, 'modes' | 'policies' | 'firstInvalid'> | undefined;
  readonly isControlPlaneUp: boolean;
  /** Undefined without one. */
  readonly controlPlaneFacts: ControlPlaneFacts | undefined;
  readonly openNow: OpenNow;
  readonly placesNow: PlacesNow;
  /** Of the last minute. */
  readonly newConnections: Readonly<Record<Direction, NewConnections>>;
  readonly interception: InterceptionFacts;
  readonly failures: readonly ShownFailure[];
  readonly drain: StatusPage['drain'];
  readonly changed: readonly ChangedSetting[];
}

/** A sidecar at one glance. */
export function statusPageOf(shown: StatusShown): StatusPage {
  const { nowMs, startedAtMs, settings, readiness, interception } = shown;
  const closed = readiness.closed();
  const invalid = shown.policyInForce?.firstInvalid;
  return {
    now: timestamp(nowMs),
    version,
    startedAt: timestamp(startedAtMs),
    pod: {
      name: settings.podName ?? null,
      namespace: settings.workloadNamespace ?? null,
      workload: settings.workloadName ?? null,
    },
    isReady: closed.size === 0,
    gates: readinessGates.map((gate) => ({
      gate,
      isOpen: !closed.has(gate),
      why: closed.get(gate) ?? null,
      since: readiness.closedSince(gate) ?? null,
      remedy: closed.has(gate) ? gateRemedyOf(gate, shown) : null,
    })),
    identity: shown.identity === undefined ? null : identityOf(shown.identity, shown.revocations, nowMs),
    modes: shownModes(shown.policyInForce?.modes ?? []),
    minimumInboundMode: settings.minimumInboundMode,
    policies: shown.policyInForce?.policies ?? null,
    ...(invalid && { firstInvalidPolicy: invalid }),
    minimumOutbound: settings.minimumOutbound,
    outboundPolicy: settings.outboundPolicy,
    controlPlane: controlPlaneOf(shown),
    ...shown.openNow,
    places: shown.placesNow,
    newConnections: { inbound: newOf(shown.newConnections.inbound), outbound: newOf(shown.newConnections.outbound) },
    interception: {
      isOn: settings.capture,
      proofs: [...interception.proofs],
      unknown: settings.capture ? unprovedOf(shown) : [],
      bypassed: interception.bypassed,
    },
    failures: failuresOf(shown.failures, nowMs),
    drain: shown.drain,
    changedSettings: [...shown.changed],
  };
}

function controlPlaneOf(shown: StatusShown): StatusPage['controlPlane'] {
  const { nowMs, settings, isControlPlaneUp: isUp, controlPlaneFacts: facts } = shown;
  const lately = facts?.failing.filter(({ lastMs }) => nowMs - lastMs <= latelyMs) ?? [];
  return {
    address: settings.controlPlane ?? null,
    isUp,
    since: facts === undefined ? null : timestamp(facts.sinceMs),
    hasBeenUp: facts?.hasBeenUp ?? false,
    why: facts?.why ?? null,
    failing: lately.map(({ kind, sinceMs, lastMs, reason, message }) => ({
      ...{ call: kind, since: timestamp(sinceMs), last: timestamp(lastMs), reason, message },
      ...renewalReasons[reason],
    })),
  };
}

/** As precise as what is known here: what the last attempt failed of, and no command that says what stands beside it. */
function gateRemedyOf(gate: ReadinessGate, { identity, controlPlaneFacts }: StatusShown): string {
  if (gate === 'policy') return 'Look at the control plane below: policies come over its stream';
  if (gate !== 'identity') return gateRemedies[gate];
  const failed =
    identity?.renewal.lastFailure ?? controlPlaneFacts?.failing.find(({ kind }) => kind === 'certificates');
  if (failed !== undefined) return renewalReasons[failed.reason].remedy;
  return identity === undefined ? 'Look at the reason, and in the log' : gateRemedies.identity;
}

const newOf = ({ reasons, ...counts }: NewConnections) => ({ ...counts, reasons: [...reasons] });

/** An absent line would look like one that is in order. */
function unprovedOf(shown: StatusShown): StatusPage['interception']['unknown'] {
  const { proofs } = shown.interception;
  const isKnown = (direction: Direction) => proofs.some((proof) => proof.direction === direction);
  return [
    ...(isKnown('outbound') ? [] : [{ direction: 'outbound' as const, why: 'no proof yet' }]),
    ...(isKnown('inbound') ? [] : [{ direction: 'inbound' as const, why: whyInboundUnproved(shown) }]),
  ];
}

/** It is proved by the control plane, which dials from outside. */
function whyInboundUnproved({ settings, isControlPlaneUp }: StatusShown): string {
  if (settings.includeInboundPorts.length === 0) return 'nothing inbound is to be captured';
  if (settings.controlPlane === undefined) return 'no control plane to prove it';
  return isControlPlaneUp ? 'no proof yet, or not lately' : 'control plane away';
}

function identityOf(
  { current, renewal }: HeldIdentity,
  revocations: StatusShown['revocations'],
  nowMs: number,
): StatusPage['identity'] {
  const { nextAttemptMs, lastFailure } = renewal;
  return {
    spiffeId: current.spiffeId.uri,
    isExpired: remainingMs(current, nowMs) <= 0,
    endedBecause: current.endedBecause ?? null,
    isRevoked: isIdentityRevoked(current, revocations),
    notAfter: timestamp(current.notAfterMs),
    nextRenewal: nextAttemptMs === undefined ? null : timestamp(nextAttemptMs),
    lastFailure: lastFailure === undefined ? null : shownRenewalFailure(lastFailure),
  };
}

/** Each kind once; the latest of a kind stands for it, and comes first in `failures`. */
function failuresOf(failures: readonly ShownFailure[], nowMs: number): StatusPage['failures'] {
  const kinds = new Map<string, StatusPage['failures'][number]>();
  for (const { id, direction, outcome, reason, happened, remedy, at } of failures) {
    if (nowMs - parseDate(at) > latelyMs) continue;
    const kind = `${direction} ${outcome} ${reason}`;
    const known = kinds.get(kind);
    if (known !== undefined) known.count += 1;
    else kinds.set(kind, { direction, outcome, reason, happened, remedy, count: 1, last: at, lastId: id });
  }
  return [...kinds.values()].sort((one, other) => other.count - one.count);
}
