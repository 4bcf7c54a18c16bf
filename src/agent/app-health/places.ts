/** Probes that run at once. */
export const placeLimits = { perPath: 8, perPathAndPeer: 2 };

/** Counts who probes what. */
export interface Places {
  /** Returns what gives the place back, or why there is none, in one sentence. */
  take(path: string, peer: string): (() => void) | string;
}

/**
 * A probe is run for each caller, never shared: an answer that began before the caller asked may be older than what it
 * asks about. The port is open to everyone, so one address gets two places on a path, which a kubelet needs only when a
 * probe has just timed out on its side; a neighbour that takes its own two leaves the others to it.
 */
export function createPlaces(): Places {
  const taken = new Map<string, number>();
  const change = (key: string, by: number) => {
    const count = (taken.get(key) ?? 0) + by;
    if (count === 0) taken.delete(key);
    else taken.set(key, count);
  };
  return {
    take(path, peer) {
      const { perPath, perPathAndPeer } = placeLimits;
      const keys = [path, `${path} ${peer}`] as const;
      if ((taken.get(keys[1]) ?? 0) >= perPathAndPeer) {
        return `${perPathAndPeer} of these probes run for this caller already, expected fewer`;
      }
      if ((taken.get(keys[0]) ?? 0) >= perPath) return `${perPath} of these probes run already, expected fewer`;
      for (const key of keys) change(key, 1);
      return () => {
        for (const key of keys) change(key, -1);
      };
    },
  };
}
