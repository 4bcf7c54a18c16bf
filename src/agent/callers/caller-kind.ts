import type { CallerKind } from '../../control-api.ts';
import type { SeenCaller } from './caller-book.ts';

/** What is known of whoever calls, by its address alone: the node's first, because no pod of its own has that. */
export function kindOf({ workload }: Pick<SeenCaller, 'workload'>, isNode: boolean): CallerKind {
  if (isNode) return 'kubelet';
  return workload === undefined ? 'unknown' : 'workload';
}
