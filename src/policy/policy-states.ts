import type { AuthorizationPolicy, PolicyState } from '../control-api.ts';

/** What an AuthorizationPolicy does: it decides, it notes, it is on trial, or it cannot be understood. */
export type PolicyObjectState = 'enforced' | 'audit' | 'dry_run' | 'invalid';

export type PolicyCounts = Readonly<Record<PolicyObjectState, number>>;

export function stateOfPolicy({ action, isDryRun, problem }: AuthorizationPolicy): PolicyObjectState {
  if (problem !== undefined) return 'invalid';
  if (isDryRun === true) return 'dry_run';
  return action === 'AUDIT' ? 'audit' : 'enforced';
}

/** Whether it denies everything because it cannot be understood: what decides nothing anyway is only shown. */
export function deniesAll({ action, isDryRun, problem }: AuthorizationPolicy): boolean {
  return problem !== undefined && isDryRun !== true && action !== 'AUDIT';
}

export function countPolicies(policies: readonly AuthorizationPolicy[]): PolicyCounts {
  const counts = { enforced: 0, audit: 0, dry_run: 0, invalid: 0 };
  for (const policy of policies) counts[stateOfPolicy(policy)] += 1;
  return counts;
}

/** An object of policy that cannot be followed as it is written. */
export interface InvalidPolicy {
  /** With its kind: `PeerAuthentication shop/api`. */
  readonly name: string;
  readonly problem: string;
}

/** The PeerAuthentication that sets the mode, where it is invalid. */
export function invalidModeOf({ modeSetBy, modeProblem }: PolicyState): InvalidPolicy | undefined {
  return modeProblem === undefined
    ? undefined
    : { name: `PeerAuthentication ${modeSetBy ?? ''}`, problem: modeProblem };
}

/** The one that sets the mode first, then AuthorizationPolicies in the order in which they are judged. */
export function invalidPolicies(policy: PolicyState): readonly InvalidPolicy[] {
  const { authorization = [] } = policy;
  const ofMode = invalidModeOf(policy);
  const others = inOrderOfJudgement(authorization.filter(({ problem }) => problem !== undefined));
  return [
    ...(ofMode === undefined ? [] : [ofMode]),
    ...others.map(({ name, problem = '' }) => ({ name: `AuthorizationPolicy ${name}`, problem })),
  ];
}

/** In the order in which they are judged; what decides nothing comes last. */
export function inOrderOfJudgement(policies: readonly AuthorizationPolicy[]): readonly AuthorizationPolicy[] {
  return [...policies].sort((one, other) => rankOf(one) - rankOf(other));
}

function rankOf(policy: AuthorizationPolicy): number {
  if (deniesAll(policy)) return 0;
  if (policy.action === 'AUDIT' || policy.isDryRun === true) return policy.isDryRun === true ? 4 : 3;
  return policy.action === 'DENY' ? 1 : 2;
}
