import type { PolicyState } from '../../control-api.ts';
import type { ScopedPolicy } from '../policy/authorization-policy.ts';
import type { PeerAuthentication } from '../policy/peer-authentication.ts';
import type { Scope } from '../policy/scope.ts';
import { shadowedBy, whyBefore } from '../policy/shadowed.ts';
import { isIgnored } from '../policy/workload-modes.ts';
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

/**
 * What the registry will hold: each object in the place of the one of its name, and as old as that. One that is new is the youngest
 * where API servers date the objects, and as it is written where those of its kind have no dates.
 */
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
  const isDated = old.some(({ creationTimestamp }) => creationTimestamp !== undefined);
  const aged = next.map((one) => {
    const applied = before.get(nameOf(one));
    if (applied === undefined) return isDated ? { ...one, creationTimestamp: youngest } : one;
    return { ...one, creationTimestamp: applied.creationTimestamp };
  });
  return [...old.filter((one) => !names.has(nameOf(one))), ...aged];
}

/** An API server gives the time of creation, whatever the file says; nothing that is there is younger. */
const youngest = '9999-12-31T23:59:59Z';

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

/** The PeerAuthentications of a change that would count for no workload once it is applied, and why. */
export function notInForce(
  after: Pick<RegistryObjects, 'peerAuthentications'>,
  { peerAuthentications }: PolicyChange,
  rootNamespace: string,
): { readonly name: string; readonly why: string }[] {
  const shadowing = shadowedBy(after.peerAuthentications, rootNamespace);
  const names = new Set(peerAuthentications.map(nameOf));
  return after.peerAuthentications.flatMap((one) => {
    const name = nameOf(one);
    if (!names.has(name)) return [];
    if (isIgnored(one, rootNamespace))
      return [{ name, why: 'one with a selector in the root namespace counts for nobody' }];
    const other = shadowing(one);
    return other === undefined ? [] : [{ name, why: whyBefore(one, other) }];
  });
}
