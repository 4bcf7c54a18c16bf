import type { RegistryObjects } from '../store/objects.ts';
import { noObjects } from '../store/objects.ts';

const problem = 'The registry has no object yet, so that nobody knows which policies there are';

/**
 * What counts while nothing was ever read: no destination is known, and every workload is STRICT and refuses everybody, because
 * there may be policies that say so.
 */
export function objectsBeforeRegistry(rootNamespace: string): RegistryObjects {
  const scope = { name: 'no-registry', namespace: rootNamespace, creationTimestamp: undefined, selector: undefined };
  const policy = { name: `${rootNamespace}/no-registry`, action: 'DENY', problem } as const;
  return {
    ...noObjects,
    peerAuthentications: [{ ...scope, mode: 'STRICT', ports: new Map(), problem }],
    authorizationPolicies: [{ ...scope, policy: { ...policy, rules: [] }, isSkipped: false }],
  };
}
