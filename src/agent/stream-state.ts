import type { Destination, PolicyState, RevocationState, StreamMessage } from '../control-api.ts';
import type { StreamLine } from './stream-message.ts';
import { createStreamVersions } from './stream-versions.ts';

/** PEM roots by trust domain. */
export type PemBundles = Readonly<Record<string, string>>;

/** What the stream tells, each as the full state of its topic. */
export interface StreamListener {
  /** Undefined when the control plane sent a policy that this sidecar cannot enforce: nothing is permitted then. */
  policyChanged?(policy: PolicyState | undefined): void;
  /** Also told when the same bundles come again, after a gap in which others may have been learned elsewhere. */
  trustBundlesReceived?(bundles: PemBundles): void;
  destinationReceived?(destination: Destination): void;
  revocationsChanged?(revocations: RevocationState): void;
}

/** The last state of each topic, across streams. */
export interface StreamState {
  policy(): PolicyState | undefined;
  trustBundles(): PemBundles | undefined;
  revocations(): RevocationState | undefined;
  /** Returns the function that ends the subscription. */
  subscribe(listener: StreamListener): () => void;
  apply(line: StreamLine): void;
  /** Forgets the versions of all other destinations. */
  keepDestinations(addresses: ReadonlySet<string>): void;
}

const destinationKey = (address: string) => `destination ${address}`;

function keyOf(message: Exclude<StreamMessage, { topic: 'heartbeat' }>): string {
  return message.topic === 'destination' ? destinationKey(message.data.address) : message.topic;
}

export function createStreamState({ lineRefused }: { lineRefused(why: string): void }): StreamState {
  const listeners = new Set<StreamListener>();
  const versions = createStreamVersions();
  let policy: PolicyState | undefined;
  let bundles: PemBundles | undefined;
  let revocations: RevocationState | undefined;

  const tell = (call: (listener: StreamListener) => void) => {
    for (const listener of [...listeners]) call(listener);
  };

  const setPolicy = (next: PolicyState | undefined) => {
    if (JSON.stringify(next) === JSON.stringify(policy)) return;
    policy = next;
    tell((listener) => listener.policyChanged?.(next));
  };

  const applyMessage = (message: StreamMessage) => {
    if (message.topic === 'heartbeat' || !versions.accept(keyOf(message), message.epoch, message.version)) return;
    switch (message.topic) {
      case 'policy':
        return setPolicy(message.data);
      case 'trust-bundles':
        bundles = message.data;
        return tell((listener) => listener.trustBundlesReceived?.(message.data));
      case 'destination':
        return tell((listener) => listener.destinationReceived?.(message.data));
      case 'revocations':
        if (JSON.stringify(message.data) === JSON.stringify(revocations)) return;
        revocations = message.data;
        return tell((listener) => listener.revocationsChanged?.(message.data));
      default:
        return message satisfies never;
    }
  };

  return {
    policy: () => policy,
    trustBundles: () => bundles,
    revocations: () => revocations,
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    apply(line) {
      if (line.kind === 'message') applyMessage(line.message);
      if (line.kind !== 'unknown_policy') return;
      lineRefused(`The policy is not understood, so it denies everything: ${line.why}`);
      setPolicy(undefined);
    },
    keepDestinations(addresses) {
      const keys = new Set([...addresses].map(destinationKey));
      versions.keep((key) => !key.startsWith(destinationKey('')) || keys.has(key));
    },
  };
}
