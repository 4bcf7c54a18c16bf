import { hash } from 'node:crypto';
import type { Endpoint } from '../control-api.ts';
import { maxReplyBytes } from '../control-api.ts';

/** Half of what a sidecar reads at once: a line or a reply holds the endpoints of one destination, with all around them. */
const maxEndpointsBytes = maxReplyBytes / 2;

/**
 * For each asker at most as many endpoints as a sidecar can be told of: it needs some of them, not thousands. Those that
 * are ready come first then, from another place in the list for each asker, so that all of them get work. A list that is
 * short enough is everybody's, as it is. The same asker gets the same of the same list.
 */
export function limitEndpoints(all: readonly Endpoint[]): (asker: string) => readonly Endpoint[] {
  if (bytesOf(all) <= maxEndpointsBytes) return () => all;
  const ranked = [0, 1, 2].map((wanted) => all.filter((endpoint) => rank(endpoint) === wanted));
  return (asker) => {
    const start = hash('sha256', asker, 'buffer').readUInt32BE() / 2 ** 32;
    return firstThatFit(ranked.flatMap((group) => turned(group, start)));
  };
}

/** A part of the length, not a number: an endpoint that comes or goes leaves most of what the asker has. */
function turned(group: readonly Endpoint[], start: number): Endpoint[] {
  const index = Math.floor(start * group.length);
  return [...group.slice(index), ...group.slice(0, index)];
}

function firstThatFit(endpoints: readonly Endpoint[]): readonly Endpoint[] {
  let bytes = '[]'.length;
  const beyond = endpoints.findIndex((endpoint) => {
    bytes += bytesOf(endpoint) + ','.length;
    return bytes > maxEndpointsBytes;
  });
  return beyond === -1 ? endpoints : endpoints.slice(0, beyond);
}

function bytesOf(value: Endpoint | readonly Endpoint[]): number {
  return Buffer.byteLength(JSON.stringify(value));
}

function rank({ ready, terminating }: Endpoint): number {
  if (!ready) return 2;
  return terminating ? 1 : 0;
}
