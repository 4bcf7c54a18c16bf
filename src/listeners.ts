/** Whoever wants to hear of a change. */
export interface Listeners {
  /** Returns the function that ends the subscription. */
  subscribe(listener: () => void): () => void;
  /** Calls each of those that are subscribed now; one that subscribes meanwhile waits for the next time. */
  tell(): void;
}

export function createListeners(): Listeners {
  const listeners = new Set<() => void>();
  return {
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    tell() {
      for (const listener of [...listeners]) listener();
    },
  };
}
