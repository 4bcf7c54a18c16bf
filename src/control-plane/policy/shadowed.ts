import type { PeerAuthentication } from './peer-authentication.ts';
import { ageOf, indexScopes, isWide } from './scope-index.ts';

/**
 * Which PeerAuthentication keeps another from counting for any workload, whatever pods there are: one of its namespace that comes
 * before it and selects all that it selects. Undefined when there is none, and for those that count for nobody anyway. Pure.
 */
export function shadowedBy(
  all: readonly PeerAuthentication[],
  rootNamespace: string,
): (one: PeerAuthentication) => PeerAuthentication | undefined {
  const scopes = indexScopes(all);
  return (one) => {
    const { wide, selecting } = scopes(one.namespace);
    if (isWide(one)) return wide[0] === one ? undefined : wide[0];
    if (one.namespace === rootNamespace) return undefined;
    const [first] = selecting(one.selector ?? {});
    return first === one ? undefined : first;
  };
}

/** Why `other` comes before `one`, as a part of a sentence: it is older, or as old and the first by name. */
export function whyBefore(one: PeerAuthentication, other: PeerAuthentication): string {
  const name = `${other.namespace}/${other.name}`;
  return ageOf(other) < ageOf(one) ? `${name} is older` : `${name} is as old, and the first by name`;
}
