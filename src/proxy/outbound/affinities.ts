import type { Clock } from '../../clock.ts';
import type { Affinity } from '../../policy/permit.ts';

/** So many destinations have their endpoint remembered; beyond it the one that was not dialled for longest loses it. */
export const maxAffinities = 1000;

/** Which endpoint the connections to a destination go to, by the endpoint's key, where the Service wants them together. */
export interface Affinities {
  /** Undefined when there is none yet, or when no connection was made for too long. */
  endpointOf(affinity: Affinity): string | undefined;
  /** A connection is being made to this endpoint. */
  remember(affinity: Affinity, key: string): void;
}

export function createAffinities(clock: Clock): Affinities {
  /** In the order of use, because a Map keeps the order of insertion. */
  const entries = new Map<string, { readonly key: string; readonly usedMs: number }>();
  return {
    endpointOf({ destination, idleMs }) {
      const entry = entries.get(destination);
      return entry !== undefined && clock.monotonic() - entry.usedMs < idleMs ? entry.key : undefined;
    },
    remember({ destination }, key) {
      entries.delete(destination);
      entries.set(destination, { key, usedMs: clock.monotonic() });
      const [oldest] = entries.keys();
      if (entries.size > maxAffinities && oldest !== undefined) entries.delete(oldest);
    },
  };
}
