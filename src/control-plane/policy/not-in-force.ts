import type { PeerAuthentication } from './peer-authentication.ts';
import { shadowedBy, whyBefore } from './shadowed.ts';
import { isIgnored } from './workload-modes.ts';

/** Where the control plane takes policies of the whole mesh from, unless it is told otherwise. */
export const defaultRootNamespace = 'istio-system';

/** The PeerAuthentications that count for no workload, whatever pods there are, and of each why, without a subject. */
export function notInForce(
  all: readonly PeerAuthentication[],
  rootNamespace: string,
): ReadonlyMap<PeerAuthentication, string> {
  const shadow = shadowedBy(all, rootNamespace);
  const found = new Map<PeerAuthentication, string>();
  for (const one of all) {
    const other = shadow(one);
    if (isIgnored(one, rootNamespace))
      found.set(one, `is not in force: in the root namespace ${rootNamespace} one with a selector counts for nobody`);
    else if (other !== undefined) found.set(one, `is not in force: ${whyBefore(one, other)}`);
  }
  return found;
}
