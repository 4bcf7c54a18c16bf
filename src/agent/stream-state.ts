import type { Destination, PolicyPart, PolicyState, RevocationState, StreamMessage } from '../control-api.ts';
import { createPolicyParts } from './policy-parts.ts';
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
  /** Whether the rest of a policy is on its way. */
  isHalfTold(): boolean;
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
  const parts = createPolicyParts();
  let policy: PolicyState | undefined;
  let policySign: string | undefined;
  let bundles: PemBundles | undefined;
  let revocations: RevocationState | undefined;

  const tell = (call: (listener: StreamListener) => void) => {
    for (const listener of [...listeners]) call(listener);
  };

  /** `sign` is equal for equal policies that came in the same way. */
  const setPolicy = (next: PolicyState | undefined, sign?: string) => {
    if (sign === policySign && (next === undefined) === (policy === undefined)) return;
    policy = next;
    policySign = sign;
    tell((listener) => listener.policyChanged?.(next));
  };

  const refusePolicy = (why: string) => {
    lineRefused(`The policy is not understood, so it denies everything: ${why}`);
    setPolicy(undefined);
  };

  const applyPart = (part: PolicyPart) => {
    const outcome = parts.add(part);
    if (outcome.kind === 'refused') refusePolicy(outcome.why);
    if (outcome.kind === 'complete' && versions.accept('policy', part.epoch, part.version))
      setPolicy(outcome.policy, outcome.sign);
  };

  const applyMessage = (message: StreamMessage) => {
    if (message.topic === 'heartbeat' || !versions.accept(keyOf(message), message.epoch, message.version)) return;
    switch (message.topic) {
      case 'policy':
        return setPolicy(message.data, JSON.stringify(message.data));
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
    isHalfTold: () => parts.isIncomplete,
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    apply(line) {
      switch (line.kind) {
        case 'message':
          if (line.message.topic === 'policy') parts.forget();
          return applyMessage(line.message);
        case 'policy_part':
          return applyPart(line.part);
        case 'unknown_policy':
          parts.forget();
          return refusePolicy(line.why);
        case 'unknown_topic':
          return;
        default:
          return line satisfies never;
      }
    },
    keepDestinations(addresses) {
      const keys = new Set([...addresses].map(destinationKey));
      versions.keep((key) => !key.startsWith(destinationKey('')) || keys.has(key));
    },
  };
}
