import type { Pod, RegistryObjects } from './store/objects.ts';
import type { Workload } from './token-review.ts';

/** The pod of a token in the registry, and none that had its name before it. */
export type PodOfToken = (workload: Pick<Workload, 'namespace' | 'pod' | 'podUid'>) => Pod | undefined;

/** Made anew when the registry is another one. */
export function createPodOfToken({ current }: { current(): Pick<RegistryObjects, 'pods'> }): PodOfToken {
  let indexed: readonly Pod[] | undefined;
  let byName = new Map<string, Pod>();
  return ({ namespace, pod, podUid }) => {
    const { pods } = current();
    if (pods !== indexed) byName = new Map(pods.map((one) => [`${one.metadata.namespace}/${one.metadata.name}`, one]));
    indexed = pods;
    const named = byName.get(`${namespace}/${pod}`);
    const { uid = podUid } = named?.metadata ?? {};
    return uid === podUid ? named : undefined;
  };
}
