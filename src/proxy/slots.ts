/** A fixed number of places; a place is taken before the work begins. */
export interface Slots {
  readonly capacity: number;
  readonly inUse: number;
  /** A function that gives the place back (idempotent), or undefined when all are taken. */
  tryTake(): (() => void) | undefined;
  /** Waits for a place in the order of asking; rejects with the signal's reason. */
  take(signal: AbortSignal): Promise<() => void>;
}

export function createSlots(capacity: number): Slots {
  const waiting = new Set<(release: () => void) => void>();
  let inUse = 0;

  const occupy = (): (() => void) => {
    let isReleased = false;
    inUse += 1;
    return () => {
      if (isReleased) return;
      isReleased = true;
      inUse -= 1;
      const [next] = waiting;
      if (next === undefined) return;
      waiting.delete(next);
      next(occupy());
    };
  };
  const tryTake = () => (inUse < capacity ? occupy() : undefined);

  return {
    capacity,
    get inUse() {
      return inUse;
    },
    tryTake,
    async take(signal) {
      signal.throwIfAborted();
      const free = tryTake();
      if (free !== undefined) return free;
      const { promise, resolve, reject } = Promise.withResolvers<() => void>();
      const onAbort = () => {
        waiting.delete(resolve);
        reject(signal.reason);
      };
      waiting.add(resolve);
      signal.addEventListener('abort', onAbort, { once: true });
      return promise.finally(() => signal.removeEventListener('abort', onAbort));
    },
  };
}
