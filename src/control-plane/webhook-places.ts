/** What the requests that are under way may take together, and what those of one address may. */
export interface PlaceLimits {
  readonly requests: number;
  /** Bytes of the bodies. */
  readonly bytes: number;
}

/** A request takes its place before its body is read, so that memory is bounded whoever sends it. */
export interface Places {
  readonly taken: number;
  /** The function that gives the place back, to be called once; undefined when there is none. */
  take(peer: string, bytes: number): (() => void) | undefined;
}

/** Callers are not authenticated: one address gets half of the places, so that one pod alone cannot shut out the API server. */
export function createPlaces({ requests, bytes }: PlaceLimits): Places {
  const all = { requests: 0, bytes: 0 };
  const perPeer = new Map<string, { requests: number; bytes: number }>();
  const fits = (used: typeof all, more: number, share: number) =>
    used.requests + 1 <= requests * share && used.bytes + more <= bytes * share;
  return {
    get taken() {
      return all.requests;
    },
    take(peer, size) {
      const own = perPeer.get(peer) ?? { requests: 0, bytes: 0 };
      if (!fits(all, size, 1) || !fits(own, size, 0.5)) return undefined;
      perPeer.set(peer, own);
      for (const used of [all, own]) {
        used.requests += 1;
        used.bytes += size;
      }
      return () => {
        for (const used of [all, own]) {
          used.requests -= 1;
          used.bytes -= size;
        }
        if (own.requests === 0) perPeer.delete(peer);
      };
    },
  };
}
