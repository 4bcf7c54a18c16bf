import type { CallerKind } from '../../control-api.ts';
import type { SeenCaller } from './caller-book.ts';

/** What is known of whoever calls, by its address alone: the node's first, because no pod of its own has that. */
export function kindOf({ workload }: Pick<SeenCaller, 'workload'>, isNode: boolean): CallerKind {
  if (isNode) return 'kubelet';
  return workload === undefined ? 'unknown' : 'workload';
}

/**
 * The SPIFFE ID that a caller in plaintext proves as soon as the port is not DISABLE any more, because its sidecar is told so.
 * Undefined unless it is known to have one and every connection came while the port was DISABLE.
 */
export function meshedIdOf({ principal, workload, connections, whileDisable }: SeenCaller): string | undefined {
  return principal === undefined && whileDisable === connections ? workload?.sidecarId : undefined;
}
