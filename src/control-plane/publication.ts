import { hash, randomBytes } from 'node:crypto';
import type { Destination, PolicyState, RevocationState, StreamMessage } from '../control-api.ts';
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
  /** As the asking pod has to take it. */
  destination(address: string, workload: Workload): Destination;
  /** The line of a topic for one workload, with its line feed. */
  line(topic: Topic, workload: Workload): Line;
  /** Calls `listener` when something may have changed, until the returned function is called. */
  subscribe(listener: () => void): () => void;
  /** Hears no more of the store. */
  close(): void;
}

export function createPublication(
  { authority, store }: { readonly authority: Authority; readonly store: Store },
  settings: DiscoverySettings,
): Publication {
  const epoch = randomBytes(8).toString('hex');
  const listeners = new Set<() => void>();
  let version = 1;
  let discover = createDiscovery(store.current(), settings);
  const unsubscribe = store.subscribe((objects) => {
    version += 1;
    discover = createDiscovery(objects, settings);
    for (const listener of [...listeners]) listener();
  });

  const trustBundles = () => ({ [authority.trustDomain]: authority.rootPem });
  const dataOf = (topic: Topic, workload: Workload): Extract<StreamMessage, { data: unknown }>['data'] => {
    switch (topic.topic) {
      case 'trust-bundles':
        return trustBundles();
      case 'revocations':
        return { certificates: [], identities: [] } satisfies RevocationState;
      case 'policy':
        return { mode: 'STRICT' } satisfies PolicyState;
      case 'destination':
        return discover(topic.address, workload);
      default:
        return topic satisfies never;
    }
  };
  return {
    epoch,
    trustBundles,
    destination: (address, workload) => discover(address, workload),
    line(topic, workload) {
      const data = dataOf(topic, workload);
      const text = `${JSON.stringify({ topic: topic.topic, epoch, version, data })}\n`;
      return { text, digest: hash('sha256', JSON.stringify(data), 'base64') };
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close: unsubscribe,
  };
}
