import { hash, randomBytes } from 'node:crypto';
import type { Destination, PolicyState, StreamMessage } from '../control-api.ts';
import { maxReplyBytes } from '../control-api.ts';
import type { Authority } from './authority.ts';
import type { DiscoverySettings } from './discovery.ts';
import { createDiscovery } from './discovery.ts';
import type { Store } from './store/store.ts';
import type { Workload } from './token-review.ts';

/** A part of the state that changes on its own. */
export type Topic =
  | { readonly topic: 'trust-bundles' | 'revocations' | 'policy' }
  | { readonly topic: 'destination'; readonly address: string };

/** One line for a stream, with what tells whether it says anything new. */
export interface Line {
  readonly text: string;
  /** Equal for equal data, whatever the version. */
  readonly digest: string;
}

/** What the sidecars are told, always from the current state. */
export interface Publication {
  /** Differs in each run of the program. */
  readonly epoch: string;
  trustBundles(): Readonly<Record<string, string>>;
  destination(address: string): Destination;
  /** The line of a topic for one workload, with its line feed. */
  line(topic: Topic, workload: Workload): Line;
  /** Calls `listener` when something may have changed, until the returned function is called. */
  subscribe(listener: () => void): () => void;
}

/** Half of what a sidecar reads: a line, and a reply with a single destination, hold with everything around them. */
const maxDestinationBytes = maxReplyBytes / 2;

export function createPublication(
  { authority, store }: { readonly authority: Authority; readonly store: Store },
  settings: DiscoverySettings,
): Publication {
  const epoch = randomBytes(8).toString('hex');
  const listeners = new Set<() => void>();
  let version = 1;
  let discover = createDiscovery(store.current(), settings);
  store.subscribe((objects) => {
    version += 1;
    discover = createDiscovery(objects, settings);
    for (const listener of [...listeners]) listener();
  });

  const trustBundles = () => ({ [authority.trustDomain]: authority.rootPem });
  const destination = (address: string) => shorten(discover(address));
  const dataOf = (topic: Topic): Extract<StreamMessage, { data: unknown }>['data'] => {
    switch (topic.topic) {
      case 'trust-bundles':
        return trustBundles();
      case 'revocations':
        return [];
      case 'policy':
        return { mode: 'STRICT' } satisfies PolicyState;
      case 'destination':
        return destination(topic.address);
      default:
        return topic satisfies never;
    }
  };
  return {
    epoch,
    trustBundles,
    destination,
    line(topic) {
      const data = dataOf(topic);
      const text = `${JSON.stringify({ topic: topic.topic, epoch, version, data })}\n`;
      return { text, digest: hash('sha256', JSON.stringify(data), 'base64') };
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

/** A sidecar needs some endpoints, not thousands: those that are ready come first, the rest is left out. */
function shorten(destination: Destination): Destination {
  let { endpoints } = destination;
  if (isSmall(destination)) return destination;
  endpoints = [...endpoints].sort((one, other) => rank(one) - rank(other));
  while (!isSmall({ ...destination, endpoints })) endpoints = endpoints.slice(0, Math.floor(endpoints.length * 0.8));
  return { ...destination, endpoints };
}

function isSmall(destination: Destination): boolean {
  return Buffer.byteLength(JSON.stringify(destination)) <= maxDestinationBytes;
}

function rank({ ready, terminating }: Destination['endpoints'][number]): number {
  if (!ready) return 2;
  return terminating ? 1 : 0;
}
