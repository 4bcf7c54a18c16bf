import { timestamp } from '../clock.ts';
import type { PolicyState, SidecarState } from '../control-api.ts';
import type { Identity } from '../identity/identity.ts';
import type { Readiness } from '../lifecycle.ts';
import type { Direction } from '../outcomes.ts';
import type { Mode } from '../policy/mode.ts';
import { effectiveMode } from '../policy/mode.ts';
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
  const mode = policy.current()?.mode;
  const open = { inbound: 0, outbound: 0 };
  for (const { direction } of live()) open[direction] += 1;
  return {
    notReady: [...readiness.closed().keys()],
    modes: mode === undefined ? [] : [{ port: '*', mode: effectiveMode(mode, minimumMode) }],
    ...(held !== undefined && { notAfter: timestamp(held.current.notAfterMs) }),
    ...(held?.renewal.lastFailure !== undefined && { renewalFailure: held.renewal.lastFailure.reason }),
    interception: proofs.map(({ direction, family, isOk }) => ({ direction, family, isOk })),
    bypassed: bypassed.inbound + bypassed.outbound,
    open,
    failures: [...traffic.failures()],
    edges: [...traffic.edges()],
  };
}
