import type { Endpoint } from '../control-api.ts';
import { limitEndpoints } from './endpoint-limit.ts';
import type { Place } from './place.ts';
import type { PlacedEndpoint } from './service-endpoints.ts';

/** Which endpoints a pod may use, by where it runs and what it is called; at most as many as a sidecar can be told of. */
export type EndpointChoice = (place: Place, pod: string) => readonly Endpoint[];

type Limited = ReturnType<typeof limitEndpoints>;

/** Those on the node of the asking pod and no others, as `internalTrafficPolicy: Local` wants; none where the node is not known. */
export function chooseOnNode(all: readonly PlacedEndpoint[]): EndpointChoice {
  const byNode = grouped(all, ({ node }) => (node === undefined ? [] : [node]));
  return ({ node = '' }, pod) => byNode.get(node)?.(pod) ?? [];
}

/**
 * Those that are hinted for the asking pod's node, else for its zone, else all. As kube-proxy 1.33 does, a kind of hint
 * counts only when every endpoint that is ready has one, and when one of them is for this node or zone.
 */
export function chooseByHints(all: readonly PlacedEndpoint[]): EndpointChoice {
  const ready = all.filter(({ endpoint }) => endpoint.ready && !endpoint.terminating);
  const byNode = hinted(ready, ({ forNodes }) => forNodes);
  const byZone = hinted(ready, ({ forZones }) => forZones);
  const everywhere = limitEndpoints(all.map(({ endpoint }) => endpoint));
  return ({ node = '', zone = '' }, pod) => (byNode.get(node) ?? byZone.get(zone) ?? everywhere)(pod);
}

type Names = (endpoint: PlacedEndpoint) => readonly string[];

function hinted(ready: readonly PlacedEndpoint[], hintsOf: Names): ReadonlyMap<string, Limited> {
  return ready.every((endpoint) => hintsOf(endpoint).length > 0) ? grouped(ready, hintsOf) : new Map();
}

/** Names are not empty. */
function grouped(all: readonly PlacedEndpoint[], namesOf: Names): ReadonlyMap<string, Limited> {
  const named = all.flatMap((one) => namesOf(one).map((name) => ({ name, endpoint: one.endpoint })));
  const groups = Map.groupBy(named, ({ name }) => name);
  groups.delete('');
  return new Map([...groups].map(([name, group]) => [name, limitEndpoints(group.map(({ endpoint }) => endpoint))]));
}
