import type { RegistryObjects } from './objects.ts';

/** Where the objects of the mesh come from; `current` is always one consistent state. */
export interface Store {
  current(): RegistryObjects;
  /** Calls `listener` after each change, until the returned function is called. */
  subscribe(listener: (objects: RegistryObjects) => void): () => void;
  close(): Promise<void>;
}

/** A store that never changes. */
export function fixedStore(objects: RegistryObjects): Store {
  return { current: () => objects, subscribe: () => () => undefined, close: async () => undefined };
}
