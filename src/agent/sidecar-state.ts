import { timestamp } from '../clock.ts';
import type { PolicyState, SidecarState } from '../control-api.ts';
import { maxReportedNameLength } from '../control-api.ts';
import type { Identity } from '../identity/identity.ts';
import type { Readiness } from '../lifecycle.ts';
import type { Direction } from '../outcomes.ts';
import type { Mode } from '../policy/mode.ts';
import { modesInForce } from '../policy/mode.ts';
import { invalidPolicies } from '../policy/policy-states.ts';
import type { RenewalState } from './identity-sources/source.ts';
import type { InterceptionBook } from './interception-book.ts';
import type { TrafficBook } from './traffic-book.ts';

/** Whom a sidecar asks about itself. */
export interface StateSources {
  readonly readiness: Pick<Readiness, 'closed'>;
  readonly policy: { current(): PolicyState | undefined };
  readonly minimumMode: Mode;
  readonly interception: Pick<InterceptionBook, 'facts'>;
  readonly traffic: Pick<TrafficBook, 'edges' | 'failures'>;
  live(): Iterable<{ readonly direction: Direction }>;
}

/** How this sidecar fares, as it is reported; nothing of it is about anybody else. */
export function sidecarStateOf(
  { readiness, policy, minimumMode, interception, traffic, live }: StateSources,
  held: { readonly current: Identity; readonly renewal: RenewalState } | undefined,
): SidecarState {
  const { proofs, bypassed } = interception.facts();
  const current = policy.current();
  const open = { inbound: 0, outbound: 0 };
  for (const { direction } of live()) open[direction] += 1;
  return {
    notReady: [...readiness.closed().keys()],
    ...(current === undefined ? { modes: [] } : policyStateOf(current, minimumMode)),
    ...(held !== undefined && { notAfter: timestamp(held.current.notAfterMs) }),
    ...(held?.renewal.lastFailure !== undefined && { renewalFailure: held.renewal.lastFailure.reason }),
    interception: proofs.map(({ direction, family, isOk }) => ({ direction, family, isOk })),
    bypassed: bypassed.inbound + bypassed.outbound,
    open,
    failures: [...traffic.failures()],
    edges: [...traffic.edges()],
  };
}

/** A report has room for no more. */
export const maxReportedModes = 10;

/** What is in force, as far as a report has room for it. */
export function policyStateOf(
  policy: PolicyState,
  minimumMode: Mode,
): Pick<SidecarState, 'modes' | 'modesLeftOut' | 'invalidPolicies'> {
  const modes = modesInForce(policy, minimumMode);
  const leftOut = modes.length - maxReportedModes;
  const invalid = invalidPolicies(policy).length;
  return {
    modes: modes.slice(0, maxReportedModes).map(({ port = '*', mode, setBy }) => ({
      port: `${port}`,
      mode,
      ...(setBy !== undefined && setBy.length <= maxReportedNameLength && { setBy }),
    })),
    ...(leftOut > 0 && { modesLeftOut: leftOut }),
    ...(invalid > 0 && { invalidPolicies: invalid }),
  };
}
