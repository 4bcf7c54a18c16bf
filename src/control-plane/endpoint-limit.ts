import type { Endpoint } from '../control-api.ts';
import { maxReplyBytes } from '../control-api.ts';

/** Half of what a sidecar reads at once: a line or a reply holds the endpoints of one destination, with all around them. */
const maxEndpointsBytes = maxReplyBytes / 2;

/**
 * At most as many endpoints as a sidecar can be told of: it needs some of them, not thousands. Those that are ready come
 * first then, and the rest is left out; a list that is short enough is returned as it is.
 */
export function limitEndpoints(all: readonly Endpoint[]): readonly Endpoint[] {
  if (isShort(all)) return all;
  let kept = [...all].sort((one, other) => rank(one) - rank(other));
  while (!isShort(kept)) kept = kept.slice(0, Math.floor(kept.length * 0.8));
  return kept;
}

function isShort(endpoints: readonly Endpoint[]): boolean {
  return Buffer.byteLength(JSON.stringify(endpoints)) <= maxEndpointsBytes;
}

function rank({ ready, terminating }: Endpoint): number {
  if (!ready) return 2;
  return terminating ? 1 : 0;
}
