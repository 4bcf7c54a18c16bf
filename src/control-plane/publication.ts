import { hash, randomBytes } from 'node:crypto';
import type { Destination, NamedWorkload } from '../control-api.ts';
import { createListeners } from '../listeners.ts';
import type { DiscoverySettings } from './discovery.ts';
import { createDiscovery } from './discovery.ts';
import { podOf } from './place.ts';
import { withOwnDomain } from './policy/own-domain.ts';
import type { PrintedState } from './policy/printed-policy.ts';
import { createPolicyPrinter } from './policy/printed-policy.ts';
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

/** The state of a topic for one workload. */
export interface Told {
  /** Equal for equal data, whatever the version. */
  readonly digest: string;
  readonly lineCount: number;
  /** With their line feeds, of one version, each made when it is asked for. */
  lines(): Iterable<string>;
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
  told(topic: Topic, workload: Workload): Told;
  /** Calls `listener` when something may have changed, until the returned function is called. */
  subscribe(listener: () => void): () => void;
  /** Hears no more of the store. */
  close(): void;
}

export interface PublicationSettings extends DiscoverySettings, WorkloadSettings {}

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
  const print = createPrinter();
  const policies = createPolicyPrinter();
  let version = 1;
  let answers = answersFrom(store.current(), settings);
  const changed = () => {
    version += 1;
    listeners.tell();
  };
  let isPreparing = false;
  const renew = (objects: RegistryObjects) => {
    isPreparing = true;
    policies.prepare(toldPolicies(objects, settings), () => {
      isPreparing = false;
      answers = answersFrom(objects, settings);
      changed();
      // Of all that came meanwhile the last one counts.
      if (store.current() !== objects) renew(store.current());
    });
  };
  const unsubscribe = store.subscribe((objects) => {
    if (!isPreparing) renew(objects);
  });
  const forgetRevocations = revocations.subscribe(changed);
  const forgetBundles = bundles.subscribe(changed);

  const printed = (topic: Topic, workload: Workload): PrintedState => {
    switch (topic.topic) {
      case 'trust-bundles':
        return print(bundles.current());
      case 'revocations':
        return print(revocations.current());
      case 'policy':
        return policies.print(answers.policyOf(workload));
      case 'destination':
        return print(answers.discover(topic.address, workload));
      default:
        return topic satisfies never;
    }
  };
  return {
    epoch,
    trustBundles: bundles.current,
    destination: (address, workload) => answers.discover(address, workload),
    workloadAt: (address) => answers.workloadAt(address),
    told(topic, workload) {
      const { digest, lineCount, fields } = printed(topic, workload);
      const head = JSON.stringify({ topic: topic.topic, epoch, version }).slice(0, -1);
      return {
        digest,
        lineCount,
        *lines() {
          for (const field of fields()) yield `${head}${field}}\n`;
        },
      };
    },
    subscribe: listeners.subscribe,
    close() {
      unsubscribe();
      forgetRevocations();
      forgetBundles();
    },
  };
}

/** As sidecars are told of them, each made when it is asked for. */
function* toldPolicies({ authorizationPolicies }: RegistryObjects, { trustDomain }: PublicationSettings) {
  for (const { policy } of authorizationPolicies) yield withOwnDomain(policy, trustDomain);
}

function answersFrom(objects: RegistryObjects, settings: PublicationSettings) {
  const index = indexRegistry(objects);
  const selection = createSelection(objects, settings);
  return {
    policyOf: (workload: Workload) =>
      selection.policyFor(workload.namespace, podOf(workload, index.podNamed(workload.namespace, workload.pod))),
    discover: createDiscovery(objects, settings, index, selection),
    workloadAt: createWorkloads(objects, settings, index),
  };
}

/** A large state is the same object for every stream, and is printed once and not once for each of them. */
function createPrinter(): (data: object) => PrintedState {
  const known = new WeakMap<object, PrintedState>();
  return (data) => {
    const before = known.get(data);
    if (before !== undefined) return before;
    const json = JSON.stringify(data);
    const now = { digest: hash('sha256', json, 'base64'), lineCount: 1, fields: () => [`,"data":${json}`] };
    known.set(data, now);
    return now;
  };
}
