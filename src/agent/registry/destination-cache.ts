import type { Clock } from '../../clock.ts';
import type { Destination } from '../../control-api.ts';

export interface CachedDestination {
  readonly destination: Destination;
  /** When the question was sent that this answers, or when it was pushed; monotonic milliseconds. */
  readonly askedMs: number;
}

/** Destinations that are in use, at most as many as allowed: the one that was not used for longest makes room. */
export interface DestinationCache {
  /** Counts as a use. */
  use(key: string): CachedDestination | undefined;
  peek(key: string): CachedDestination | undefined;
  put(key: string, cached: CachedDestination): void;
  drop(key: string): void;
  /** Drops what was not used for `idleMs`. */
  sweep(idleMs: number): void;
  keys(): string[];
  values(): CachedDestination[];
}

/** `onKeys` is called when the set of keys has changed. */
export function createDestinationCache(clock: Clock, maxDestinations: number, onKeys: () => void): DestinationCache {
  /** In the order of use, because a Map keeps the order of insertion. */
  const entries = new Map<string, { cached: CachedDestination; usedMs: number }>();

  const use = (key: string) => {
    const entry = entries.get(key);
    if (entry === undefined) return undefined;
    entries.delete(key);
    entries.set(key, { ...entry, usedMs: clock.monotonic() });
    return entry.cached;
  };

  return {
    use,
    peek: (key) => entries.get(key)?.cached,
    put(key, cached) {
      const entry = entries.get(key);
      if (entry !== undefined) {
        entry.cached = cached;
        return;
      }
      const [oldest] = entries.keys();
      if (entries.size >= maxDestinations && oldest !== undefined) entries.delete(oldest);
      entries.set(key, { cached, usedMs: clock.monotonic() });
      onKeys();
    },
    drop(key) {
      if (entries.delete(key)) onKeys();
    },
    sweep(idleMs) {
      const before = entries.size;
      for (const [key, { usedMs }] of entries) {
        if (clock.monotonic() - usedMs < idleMs) break;
        entries.delete(key);
      }
      if (entries.size < before) onKeys();
    },
    keys: () => [...entries.keys()],
    values: () => [...entries.values()].map(({ cached }) => cached),
  };
}
