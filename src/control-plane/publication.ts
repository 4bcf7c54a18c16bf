import { hash, randomBytes } from 'node:crypto';
import type { Destination, NamedWorkload, StreamMessage } from '../control-api.ts';
import { createListeners } from '../listeners.ts';
import type { DiscoverySettings } from './discovery.ts';
import { createDiscovery } from './discovery.ts';
import { podOf } from './place.ts';
import type { SelectionSettings } from './policy/select.ts';
import { createSelection } from './policy/select.ts';
import { indexRegistry } from './registry-index.ts';
import type { RevocationBook } from './revocation/revocations.ts';
import type { RegistryObjects } from './store/objects.ts';
import type { Store } from './store/store.ts';
import type { Workload } from './token-review.ts';
import type { TrustBundleBook } from './trust-bundles.ts';
import type { WorkloadSettings } from './workloads.ts';
import { createWorkloads } from './workloads.ts';

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
  /** The pod that has an IP address of its own. */
  workloadAt(address: string): NamedWorkload | undefined;
  /** The line of a topic for one workload, with its line feed. */
  line(topic: Topic, workload: Workload): Line;
  /** Calls `listener` when something may have changed, until the returned function is called. */
  subscribe(listener: () => void): () => void;
  /** Hears no more of the store. */
  close(): void;
}

export interface PublicationSettings extends DiscoverySettings, WorkloadSettings, SelectionSettings {}

export function createPublication(
  {
    bundles,
    store,
    revocations,
  }: {
    readonly bundles: Pick<TrustBundleBook, 'current' | 'subscribe'>;
    readonly store: Store;
    readonly revocations: Pick<RevocationBook, 'current' | 'subscribe'>;
  },
  settings: PublicationSettings,
): Publication {
  const epoch = randomBytes(8).toString('hex');
  const listeners = createListeners();
  const printed = createPrinter();
  let version = 1;
  let answers = answersFrom(store.current(), settings);
  const changed = () => {
    version += 1;
    listeners.tell();
  };
  const unsubscribe = store.subscribe((objects) => {
    answers = answersFrom(objects, settings);
    changed();
  });
  const forgetRevocations = revocations.subscribe(changed);
  const forgetBundles = bundles.subscribe(changed);

  const dataOf = (topic: Topic, workload: Workload): Extract<StreamMessage, { data: unknown }>['data'] => {
    switch (topic.topic) {
      case 'trust-bundles':
        return bundles.current();
      case 'revocations':
        return revocations.current();
      case 'policy':
        return answers.policyOf(workload);
      case 'destination':
        return answers.discover(topic.address, workload);
      default:
        return topic satisfies never;
    }
  };
  return {
    epoch,
    trustBundles: bundles.current,
    destination: (address, workload) => answers.discover(address, workload),
    workloadAt: (address) => answers.workloadAt(address),
    line(topic, workload) {
      const { json, digest } = printed(dataOf(topic, workload));
      const head = JSON.stringify({ topic: topic.topic, epoch, version });
      return { text: `${head.slice(0, -1)},"data":${json}}\n`, digest };
    },
    subscribe: listeners.subscribe,
    close() {
      unsubscribe();
      forgetRevocations();
      forgetBundles();
    },
  };
}

function answersFrom(objects: RegistryObjects, settings: PublicationSettings) {
  const index = indexRegistry(objects);
  const selection = createSelection(objects, settings);
  return {
    policyOf: (workload: Workload) =>
      selection.policyFor(workload.namespace, podOf(workload, index.podNamed(workload.namespace, workload.pod))),
    discover: createDiscovery(objects, settings, index),
    workloadAt: createWorkloads(objects, settings, index),
  };
}

/** A large state is the same object for every stream, and is printed once and not once for each of them. */
function createPrinter(): (data: object) => { readonly json: string; readonly digest: string } {
  const known = new WeakMap<object, { readonly json: string; readonly digest: string }>();
  return (data) => {
    const before = known.get(data);
    if (before !== undefined) return before;
    const json = JSON.stringify(data);
    const now = { json, digest: hash('sha256', json, 'base64') };
    known.set(data, now);
    return now;
  };
}
