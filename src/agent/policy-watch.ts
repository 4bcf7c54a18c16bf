import type { Clock } from '../clock.ts';
import type { PolicyState } from '../control-api.ts';
import type { Readiness } from '../lifecycle.ts';
import type { Mode, ModeInForce } from '../policy/mode.ts';
import { modesInForce } from '../policy/mode.ts';
import type { InvalidPolicy, PolicyCounts } from '../policy/policy-states.ts';
import { countPolicies, invalidPolicies } from '../policy/policy-states.ts';
import type { Sources } from './sources.ts';

/** What is in force. */
export interface PolicyInForce {
  /** The stricter ones of the policy and of the floor of this pod; that of most ports first. */
  readonly modes: readonly ModeInForce[];
  /** How many AuthorizationPolicies select this workload; the PeerAuthentication that sets its mode is among the invalid ones if it is. */
  readonly policies: PolicyCounts;
  /** Absent when all are valid. */
  readonly firstInvalid?: InvalidPolicy | undefined;
  /** When it came; wall time. */
  readonly sinceMs: number;
}

/** Keeps the gate `policy` open while there is one that can be enforced. Returns what is in force, undefined while there is none. */
export function watchPolicy(
  clock: Pick<Clock, 'now'>,
  policy: Sources['policy'],
  minimumMode: Mode,
  readiness: Pick<Readiness, 'open' | 'close'>,
): () => PolicyInForce | undefined {
  let inForce: PolicyInForce | undefined;
  policy.subscribe((current) => {
    inForce = current && stateInForce(current, minimumMode, clock.now());
    if (current === undefined)
      readiness.close('policy', 'No policy has arrived yet, or the last one cannot be enforced');
    else readiness.open('policy');
  });
  return () => inForce;
}

function stateInForce(policy: PolicyState, minimumMode: Mode, sinceMs: number): PolicyInForce {
  const invalid = invalidPolicies(policy);
  return {
    modes: modesInForce(policy, minimumMode),
    policies: { ...countPolicies(policy.authorization ?? []), invalid: invalid.length },
    firstInvalid: invalid[0],
    sinceMs,
  };
}
