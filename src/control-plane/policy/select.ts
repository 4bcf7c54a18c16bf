import type { AuthorizationPolicy, PolicyState } from '../../control-api.ts';
import type { Mode } from '../../policy/mode.ts';
import { modeOfPolicy } from '../../policy/mode.ts';
import type { Pod, RegistryObjects } from '../store/objects.ts';
import type { ScopedPolicy } from './authorization-policy.ts';
import { withOwnDomain } from './own-domain.ts';
import type { Registered } from './registered.ts';
import { registeredFor } from './registered.ts';
import type { Labels } from './scope-index.ts';
import { indexScopes } from './scope-index.ts';
import type { Deciding, WorkloadModes } from './workload-modes.ts';
import { createDeciding, modesOf } from './workload-modes.ts';

export interface SelectionSettings {
  /** The namespace whose policies hold for the whole mesh. */
  readonly rootNamespace: string;
  /** The mesh's own, which `cluster.local` in a principal stands for too. */
  readonly trustDomain: string;
}

/** What one state of the registry says of each workload. */
export interface PolicySelection {
  /**
   * The policy of the workload in this pod; workloads that the same objects select share one object. While the registry does
   * not hold the pod, nobody knows which selectors select it: a policy with one denies everything, a mode with one is STRICT.
   */
  policyFor(namespace: string, pod: Pod | undefined): PolicyState;
  /** The mode of a port of a pod, before the floor of that pod. */
  modeAt(pod: Pod, port: number): Mode;
}

type PolicyObjects = Pick<RegistryObjects, 'peerAuthentications' | 'authorizationPolicies' | 'serviceEntries'>;

/** Prepared once for each state of the registry; pure. */
export function createSelection(
  { peerAuthentications, authorizationPolicies, serviceEntries }: PolicyObjects,
  { rootNamespace, trustDomain }: SelectionSettings,
): PolicySelection {
  const deciding = createDeciding(peerAuthentications, rootNamespace);
  const policiesOf = createPolicies(authorizationPolicies, rootNamespace, trustDomain);
  const made = new WeakMap<Registered, Map<string, PolicyState>>();
  const modes = new WeakMap<Pod, WorkloadModes>();
  return {
    policyFor(namespace, pod) {
      const labels = pod?.metadata.labels;
      const authentications = deciding(namespace, labels);
      const policies = policiesOf(namespace, labels);
      const registered = registeredFor({ serviceEntries }, namespace);
      const alike = made.get(registered) ?? new Map<string, PolicyState>();
      made.set(registered, alike);
      const key = keyOf(labels, authentications, policies);
      const known = alike.get(key);
      if (known !== undefined) return known;
      const authorization = policies.make();
      const state = {
        ...modesOf(authentications),
        ...(authorization.length > 0 && { authorization }),
        ...(registered.length > 0 && { registered }),
      };
      alike.set(key, state);
      return state;
    },
    modeAt(pod, port) {
      if (peerAuthentications.length === 0) return modeOfPolicy(modesOf(nobody), port).mode;
      const known = modes.get(pod) ?? modesOf(deciding(pod.metadata.namespace, pod.metadata.labels));
      modes.set(pod, known);
      return modeOfPolicy(known, port).mode;
    },
  };
}

const nobody: Deciding = { mesh: undefined, namespace: undefined, workload: undefined };

/** Whose labels nobody knows is told what is made up for it, under names that an object may have too. */
function keyOf(labels: Labels | undefined, { namespace, workload }: Deciding, policies: Selected): string {
  const names = [namespace, workload].map((one) => one && `${one.namespace}/${one.name}`);
  return JSON.stringify([labels === undefined, names, policies.key]);
}

/** The policies of a workload, made into a list only where no other workload has the same ones. */
interface Selected {
  /** Differs when they do. */
  readonly key: readonly (string | boolean)[];
  make(): AuthorizationPolicy[];
}

/** The AuthorizationPolicies that select a workload: those of the root namespace and of its own. */
function createPolicies(all: readonly ScopedPolicy[], rootNamespace: string, trustDomain: string) {
  const scopes = indexScopes(all.filter(({ isSkipped }) => !isSkipped));
  return (namespace: string, labels: Labels | undefined): Selected => {
    const own = namespace === rootNamespace ? [] : [scopes(namespace)];
    const groups = [scopes(rootNamespace), ...own];
    const narrow = groups.flatMap((group) => (labels === undefined ? [] : group.selecting(labels)));
    const isUnknown = labels === undefined && groups.some(({ hasSelectors }) => hasSelectors);
    const isEmpty = own.every((group) => group.wide.length === 0);
    return {
      key: [isUnknown, isEmpty ? '' : namespace, ...narrow.map(({ policy }) => policy.name)],
      make: () => {
        const wide = groups.flatMap((group) => group.wide);
        const told = [...wide, ...narrow].map(({ policy }) => withOwnDomain(policy, trustDomain));
        return [...(isUnknown ? [unknownPod] : []), ...told];
      },
    };
  };
}

/** Stands for the policies that may select a pod that the registry does not hold. */
const unknownPod: AuthorizationPolicy = {
  name: 'remora/unknown-pod',
  action: 'DENY',
  problem:
    'The registry does not hold the pod, so that its labels are not known and neither is which AuthorizationPolicies select it; expected its Pod in the registry, with the uid of its token',
  rules: [],
};
