import type { PolicyState } from '../../control-api.ts';
import type { ScopedPolicy } from '../policy/authorization-policy.ts';
import type { PeerAuthentication } from '../policy/peer-authentication.ts';
import type { Scope } from '../policy/scope.ts';
import type { RegistryObject, RegistryObjects } from '../store/objects.ts';

/** Policy that is not applied yet. */
export interface PolicyChange {
  readonly peerAuthentications: readonly PeerAuthentication[];
  readonly authorizationPolicies: readonly ScopedPolicy[];
}

/** The objects of a text that are of policy; others do not matter for who may call whom. */
export function policyChangeOf(objects: Iterable<RegistryObject>): PolicyChange {
  const peerAuthentications: PeerAuthentication[] = [];
  const authorizationPolicies: ScopedPolicy[] = [];
  for (const { kind, object } of objects) {
    if (kind === 'security.istio.io/v1/PeerAuthentication') peerAuthentications.push(object);
    else if (kind === 'security.istio.io/v1/AuthorizationPolicy') authorizationPolicies.push(object);
  }
  return { peerAuthentications, authorizationPolicies };
}

/** What the registry will hold: each object in the place of the one of its name, and as old as that was. */
export function applied(objects: RegistryObjects, change: PolicyChange): RegistryObjects {
  return {
    ...objects,
    peerAuthentications: replaced(objects.peerAuthentications, change.peerAuthentications),
    authorizationPolicies: replaced(objects.authorizationPolicies, change.authorizationPolicies),
  };
}

function replaced<T extends Scope>(old: readonly T[], next: readonly T[]): readonly T[] {
  const before = new Map(old.map((one) => [nameOf(one), one]));
  const names = new Set(next.map(nameOf));
  const aged = next.map((one) => {
    const { creationTimestamp = before.get(nameOf(one))?.creationTimestamp } = one;
    return { ...one, creationTimestamp };
  });
  return [...old.filter((one) => !names.has(nameOf(one))), ...aged];
}

const nameOf = ({ namespace, name }: Scope) => `${namespace}/${name}`;

/** Whether two policies are the same to a workload; objects that were not replaced are the same objects. */
export function isSamePolicy(one: PolicyState, other: PolicyState): boolean {
  const { authorization: mine = [], ...modes } = one;
  const { authorization: others = [], ...otherModes } = other;
  return (
    JSON.stringify(modes) === JSON.stringify(otherModes) &&
    mine.length === others.length &&
    mine.every((policy, index) => policy === others[index])
  );
}

/** `Kind namespace/name` of each object of a change, by whether the registry holds one of its name. */
export function namesOf(
  { peerAuthentications, authorizationPolicies }: RegistryObjects,
  change: PolicyChange,
): { readonly added: string[]; readonly replaced: string[] } {
  const [added, replacing]: [string[], string[]] = [[], []];
  const sort = (kind: string, old: readonly Scope[], next: readonly Scope[]) => {
    const before = new Set(old.map(nameOf));
    for (const one of next) (before.has(nameOf(one)) ? replacing : added).push(`${kind} ${nameOf(one)}`);
  };
  sort('PeerAuthentication', peerAuthentications, change.peerAuthentications);
  sort('AuthorizationPolicy', authorizationPolicies, change.authorizationPolicies);
  return { added, replaced: replacing };
}
