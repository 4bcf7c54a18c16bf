import type { PolicyState } from '../../control-api.ts';
import type { ShownPorts } from '../../explain-api.ts';
import type { Authorization, AuthorizedBy } from '../../policy/authorize.ts';
import { policyDecisionOf } from '../../policy/authorize.ts';
import type { Mode } from '../../policy/mode.ts';
import { modeInForce, modeOfPolicy } from '../../policy/mode.ts';
import { countPolicies } from '../../policy/policy-states.ts';
import { shownDecision } from '../connection-line.ts';

/** The mode of a port, and what sets it; null before the first policy. */
export function explainMode(port: number, policy: PolicyState | undefined, minimum: Mode): ShownPorts['mode'] {
  if (policy === undefined) return null;
  const { mode, setBy = null, problem } = modeInForce(policy, port, minimum);
  return { mode, setBy, fromPolicy: modeOfPolicy(policy, port).mode, ...(problem !== undefined && { problem }) };
}

/** What AuthorizationPolicies have to do with a decision; undefined where there are none. */
export function explainPolicies(policy: PolicyState | undefined, decision: Authorization): ShownPorts['policies'] {
  const policies = policy?.authorization ?? [];
  if (policies.length === 0) return undefined;
  const said = policyDecisionOf(decision);
  return { ...countPolicies(policies), ...(said && shownDecision(said)) };
}

/** In one sentence. */
export function permittedBy(
  hasIdentity: boolean,
  by: AuthorizedBy,
  decision: Authorization,
  hasPolicies: boolean,
): string {
  if (by === 'allowed_peers') return 'It is among the allowed peers of this sidecar';
  if (by === 'policy') return `The AuthorizationPolicy ${decision.policy} allows it`;
  const why = hasPolicies
    ? 'No DENY policy matches it, and no ALLOW policy narrows who may connect'
    : 'No policy narrows who may connect';
  return hasIdentity
    ? `${why}: every identity of a trusted domain may`
    : `The mode takes peers without an identity. ${why}`;
}

/** So many policies are named in a remedy. */
const maxNamed = 3;

/** What to do about a refusal by AuthorizationPolicies, or by the peers that the sidecar itself allows. */
export function policyRemedies(
  policy: PolicyState | undefined,
  decidedBy: string | undefined,
  hasIdentity: boolean,
): Readonly<Record<string, string>> {
  const policies = policy?.authorization ?? [];
  const allowing = policies.filter(({ action, isDryRun }) => action === 'ALLOW' && isDryRun !== true);
  const problem = policies.find(({ name, problem }) => name === decidedBy && problem !== undefined)?.problem;
  const named = allowing.slice(0, maxNamed).map(({ name }) => name);
  const more = allowing.length > maxNamed ? ` and ${allowing.length - maxNamed} more` : '';
  const proved = hasIdentity ? '' : '; without an identity it satisfies no rule that asks for one';
  return {
    default_deny:
      allowing.length === 0
        ? 'If it should be allowed, name it in allowPeers of this sidecar'
        : `If it should be allowed, let a rule of an ALLOW policy match it; there are ${named.join(', ')}${more}${proved}`,
    policy_deny: `If it should be admitted, change the AuthorizationPolicy ${decidedBy}`,
    policy_error: `Correct the AuthorizationPolicy ${decidedBy}, or delete it: ${problem ?? 'it is not understood'}`,
  };
}
