import type { Address } from '../../addresses.ts';
import { formatAddress } from '../../addresses.ts';
import type { Clock } from '../../clock.ts';
import type { Destination } from '../../control-api.ts';
import type { ControlClient } from '../control-client.ts';
import type { ControlStream } from '../control-stream.ts';
import type { CachedDestination } from './destination-cache.ts';
import { createDestinationCache } from './destination-cache.ts';
import { createQuestions } from './questions.ts';
import { createUnknownAddresses } from './unknown-addresses.ts';

/** What is known of an address. */
export type Lookup =
  | { readonly kind: 'known'; readonly destination: Destination }
  /** The control plane does not know the address. */
  | { readonly kind: 'unknown' }
  /** Nothing is cached and the control plane did not answer; `why` is one sentence. */
  | { readonly kind: 'unavailable'; readonly why: string };

/** The part of the mesh's registry that this pod uses. */
export interface Registry {
  /** Never rejects: `unavailable` at the latest when the signal is aborted. */
  lookup(address: Address, signal: AbortSignal): Promise<Lookup>;
  /** How old the answer is that `lookup` would give without asking; undefined when it would ask. */
  heldForMs(address: Address): number | undefined;
  /** Everything that is remembered. */
  known(): readonly CachedDestination[];
  close(): Promise<void>;
}

export interface RegistryParts {
  readonly clock: Clock;
  readonly client: Pick<ControlClient, 'destinations'>;
  readonly stream: Pick<ControlStream, 'subscribe' | 'watch' | 'isUp'>;
}

export interface RegistrySettings {
  readonly maxDestinations: number;
  /** A destination that was not looked up for this long leaves the cache. */
  readonly idleMs: number;
}

/** A stale answer is asked for again at most this often while the control plane is away; milliseconds. */
const refreshIntervalMs = 5000;

/**
 * Answers from a cache that is filled on demand. What is cached is kept fresh by the stream. While the stream is down an
 * answer is used without end, also beyond its `ttlSeconds`; from then on it is asked for again in the background, because
 * old endpoints serve an application better than none: who answers there must still prove the identity of the entry.
 */
export function createRegistry({ clock, client, stream }: RegistryParts, settings: RegistrySettings): Registry {
  const { maxDestinations, idleMs } = settings;
  const cache = createDestinationCache(clock, maxDestinations, () => stream.watch(cache.keys()));
  const unknown = createUnknownAddresses(clock);
  const refreshedMs = new Map<string, number>();

  const learn = (key: string, destination: Destination | undefined, askedMs: number) => {
    const cached = cache.peek(key);
    // A push may have overtaken the answer to an older question.
    if (cached !== undefined && cached.askedMs > askedMs) return;
    if (destination === undefined) {
      unknown.add(key);
      return cache.drop(key);
    }
    unknown.delete(key);
    cache.put(key, { destination, askedMs });
  };

  const questions = createQuestions({ clock, client, onAnswer: learn });

  const refreshStale = (key: string, { destination, askedMs }: CachedDestination) => {
    const nowMs = clock.monotonic();
    if (stream.isUp() || nowMs - askedMs < destination.ttlSeconds * 1000) return;
    if (nowMs - (refreshedMs.get(key) ?? Number.NEGATIVE_INFINITY) < refreshIntervalMs) return;
    refreshedMs.set(key, nowMs);
    questions.refresh(key);
  };

  const unsubscribe = stream.subscribe({
    destinationReceived(destination) {
      if (cache.peek(destination.address) === undefined) return;
      learn(destination.address, destination.known ? destination : undefined, clock.monotonic());
    },
  });

  let timer = clock.after(idleMs / 4, sweep);
  function sweep() {
    cache.sweep(idleMs);
    for (const key of refreshedMs.keys()) if (cache.peek(key) === undefined) refreshedMs.delete(key);
    timer = clock.after(idleMs / 4, sweep);
  }

  return {
    async lookup(address, signal) {
      const key = formatAddress(address);
      const cached = cache.use(key);
      if (cached !== undefined) {
        refreshStale(key, cached);
        return { kind: 'known', destination: cached.destination };
      }
      if (unknown.has(key)) return { kind: 'unknown' };
      const answer = await questions.ask(key, signal);
      if (answer.kind === 'unanswered') return { kind: 'unavailable', why: answer.why };
      return answer.destination === undefined
        ? { kind: 'unknown' }
        : { kind: 'known', destination: answer.destination };
    },
    heldForMs(address) {
      const cached = cache.peek(formatAddress(address));
      return cached && clock.monotonic() - cached.askedMs;
    },
    known: cache.values,
    async close() {
      timer.cancel();
      unsubscribe();
      questions.close();
    },
  };
}
