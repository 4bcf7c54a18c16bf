import type { ScopedPolicy } from '../../src/control-plane/policy/authorization-policy.ts';
import type { PeerAuthentication } from '../../src/control-plane/policy/peer-authentication.ts';
import type { Pod } from '../../src/control-plane/store/objects.ts';

/** `namespace/name` of an object. */
function named(text: string) {
  const [namespace = '', name = ''] = text.split('/');
  return { namespace, name };
}

/** An AuthorizationPolicy as the registry holds it; by default an ALLOW of the whole namespace that allows nobody. */
export function scopedPolicy(
  fullName: string,
  { policy, ...scope }: Partial<Omit<ScopedPolicy, 'policy'>> & { policy?: Partial<ScopedPolicy['policy']> } = {},
): ScopedPolicy {
  return {
    ...named(fullName),
    creationTimestamp: undefined,
    selector: undefined,
    isSkipped: false,
    ...scope,
    policy: { name: fullName, action: 'ALLOW', rules: [], ...policy },
  };
}

/** A PeerAuthentication as the registry holds it. */
export function peerAuthentication(
  fullName: string,
  mode: PeerAuthentication['mode'],
  rest: Partial<PeerAuthentication> = {},
): PeerAuthentication {
  return {
    ...named(fullName),
    creationTimestamp: undefined,
    selector: undefined,
    ports: new Map(),
    problem: undefined,
    mode,
    ...rest,
  };
}

/** A pod with nothing but a name and labels. */
export function labelledPod(fullName: string, labels: Readonly<Record<string, string>> = {}): Pod {
  const dates = { creationTimestamp: undefined, deletionTimestamp: undefined };
  const spec = {
    serviceAccountName: 'default',
    nodeName: undefined,
    hostNetwork: false,
    containers: [],
    initContainers: [],
  };
  return {
    metadata: {
      ...named(fullName),
      ...dates,
      uid: undefined,
      labels,
      generateName: undefined,
      ownerReferences: undefined,
    },
    spec,
    status: { phase: undefined, podIP: undefined, podIPs: [], conditions: [] },
  };
}
