import type { RegistryObjects } from '../store/objects.ts';
import { notInForce } from './not-in-force.ts';

export interface PolicyCounts {
  readonly accepted: number;
  /** They cannot be enforced as they are written, so that they deny everything or are STRICT. */
  readonly invalid: number;
  /** They count for no workload: for a gateway, with a selector in the root namespace, or behind an older one. */
  readonly skipped: number;
}

/** How many PeerAuthentications and AuthorizationPolicies of a registry are what. */
export function countPolicyObjects(
  {
    peerAuthentications,
    authorizationPolicies,
  }: Pick<RegistryObjects, 'peerAuthentications' | 'authorizationPolicies'>,
  rootNamespace: string,
): PolicyCounts {
  const without = notInForce(peerAuthentications, rootNamespace);
  const counts = { accepted: 0, invalid: 0, skipped: 0 };
  const count = (isSkipped: boolean, problem: string | undefined) => {
    if (isSkipped) counts.skipped += 1;
    else if (problem === undefined) counts.accepted += 1;
    else counts.invalid += 1;
  };
  for (const one of peerAuthentications) count(without.has(one), one.problem);
  for (const { isSkipped, policy } of authorizationPolicies) count(isSkipped, policy.problem);
  return counts;
}
