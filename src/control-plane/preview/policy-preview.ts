import type { PolicyState, ReportedCaller } from '../../control-api.ts';
import type { Authorization } from '../../policy/authorize.ts';
import { decideInbound } from '../../policy/authorize.ts';
import type { Mode } from '../../policy/mode.ts';
import { modeInForce } from '../../policy/mode.ts';
import type { ChangedCaller } from './api.ts';
import type { KnownCallers } from './known-callers.ts';
import { destinationOf } from './strict-preview.ts';

/** What becomes of the callers of one sidecar. */
export interface CallersChange {
  readonly refused: readonly ChangedCaller[];
  readonly permitted: readonly ChangedCaller[];
}

/** Whom one policy permits and another does not, among those that a sidecar told of. */
export function changeForCallers(sidecar: KnownCallers, before: PolicyState, after: PolicyState): CallersChange {
  const refused: ChangedCaller[] = [];
  const permitted: ChangedCaller[] = [];
  const { minimumMode, callers } = sidecar.told;
  const floor = { minimumMode, allowedPeers: undefined };
  for (const caller of callers) {
    const { address, port, principal, meshedId } = caller;
    // It finds the port open whatever the policy is.
    if (caller.onlyConnects) continue;
    const destination = { ip: destinationOf(address, sidecar.pod), port };
    const decide = (policy: PolicyState, who: string | undefined) =>
      decideInbound({ destination, principal: who, source: address }, policy, floor);
    const isDisabled = modeInForce(after, port, minimumMode).mode === 'DISABLE';
    const next = isDisabled ? principal : (principal ?? meshedId);
    const [now, then] = [decide(before, principal), decide(after, next)];
    if (now.kind === 'permitted' && then.kind === 'refused')
      refused.push(
        changed(
          sidecar,
          caller,
          then.policy ?? refusingBesides({ port, principal: next }, before, after, minimumMode),
          then.why,
        ),
      );
    if (now.kind === 'refused' && then.kind === 'permitted')
      permitted.push(changed(sidecar, caller, then.policy, whyNot(now)));
  }
  return { refused, permitted };
}

/** What refuses without one policy that says no: a mode, or an ALLOW policy that is new and does not name the caller. */
function refusingBesides(
  { port, principal }: Pick<ReportedCaller, 'port' | 'principal'>,
  before: PolicyState,
  after: PolicyState,
  minimumMode: Mode,
): string | undefined {
  const { mode, setBy } = modeInForce(after, port, minimumMode);
  if (principal === undefined && mode === 'STRICT') return setBy;
  const old = new Set(before.authorization);
  return after.authorization?.find((one) => one.action === 'ALLOW' && !old.has(one))?.name;
}

function whyNot(decision: Authorization): string {
  return decision.kind === 'refused' ? decision.why : '';
}

function changed(
  { namespace, workload }: KnownCallers,
  caller: ReportedCaller,
  policy: string | undefined,
  why: string,
): ChangedCaller {
  const { port, address, principal, kind, connections, lastAt, isRefused } = caller;
  return {
    ...{ namespace, workload, port, address, kind },
    ...(principal !== undefined && { principal }),
    ...(caller.workload !== undefined && { callerWorkload: caller.workload, callerNamespace: caller.namespace }),
    ...(isRefused ? { connections: 0, refusals: connections } : { connections, refusals: 0 }),
    lastAt,
    policy: policy ?? null,
    why,
  };
}

/** One for each caller of a port of a workload: of several pods, and of connections that were carried and refused. */
export function joinedChanges(all: readonly ChangedCaller[]): ChangedCaller[] {
  const byCaller = new Map<string, ChangedCaller>();
  for (const one of all) {
    const key = JSON.stringify([one.namespace, one.workload, one.port, one.address, one.principal, one.why]);
    const known = byCaller.get(key);
    const sum = known && {
      ...known,
      connections: known.connections + one.connections,
      refusals: known.refusals + one.refusals,
      lastAt: known.lastAt > one.lastAt ? known.lastAt : one.lastAt,
    };
    byCaller.set(key, sum ?? one);
  }
  return [...byCaller.values()].sort((one, other) => (one.lastAt > other.lastAt ? -1 : 1));
}
