import type { RegistryIndex } from './registry-index.ts';
import type { Pod, RegistryObjects } from './store/objects.ts';
import type { Workload } from './token-review.ts';

/** Who asks, as its token proves it. */
export type Asker = Pick<Workload, 'namespace' | 'pod' | 'podUid' | 'node'>;

/** Where a pod runs, as far as anybody knows. */
export interface Place {
  readonly node: string | undefined;
  readonly zone: string | undefined;
}

const zoneLabel = 'topology.kubernetes.io/zone';

/**
 * Tells where an asker runs: on the node of its token, else of its pod in the registry; in the zone of that node, else
 * that its pod is labelled with, else that of an endpoint on the node.
 */
export function createPlaces(
  { nodes, endpointSlices }: RegistryObjects,
  { podNamed }: Pick<RegistryIndex, 'podNamed'>,
): (asker: Asker) => Place {
  const zonesOfNodes = new Map(nodes.map(({ metadata }) => [metadata.name, metadata.labels[zoneLabel]]));
  const endpoints = endpointSlices.flatMap((slice) => slice.endpoints).filter(({ zone }) => zone !== undefined);
  const zonesOfEndpoints = new Map(endpoints.map(({ nodeName = '', zone }) => [nodeName, zone]));
  return (asker) => {
    const pod = podOf(asker, podNamed(asker.namespace, asker.pod));
    const node = asker.node ?? pod?.spec.nodeName;
    const labelled = pod?.metadata.labels[zoneLabel];
    if (node === undefined) return { node, zone: labelled };
    return { node, zone: zonesOfNodes.get(node) ?? labelled ?? zonesOfEndpoints.get(node) };
  };
}

/** The pod of that name in the registry if it is the asker's: it may be an earlier one, on another node. */
export function podOf({ podUid }: Pick<Asker, 'podUid'>, named: Pod | undefined): Pod | undefined {
  const { uid = podUid } = named?.metadata ?? {};
  return uid === podUid ? named : undefined;
}
