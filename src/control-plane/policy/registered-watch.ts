import type { Log } from '../../log.ts';
import type { RegistryObjects } from '../store/objects.ts';
import type { Store } from '../store/store.ts';
import { namespacesWithTooMuch, registeredLimits } from './registered.ts';

const fewNamespaces = 5;

/** Says when ServiceEntries register more than sidecars are told of, and when they do no more. Returns what ends it. */
export function watchRegistered({ log, store }: { readonly log: Log; readonly store: Store }): () => void {
  let told = '';
  const look = (objects: RegistryObjects) => {
    const namespaces = namespacesWithTooMuch(objects).toSorted();
    const now = namespaces.join(' ');
    if (now === told) return;
    told = now;
    if (namespaces.length === 0) log.info('ServiceEntries are within their bound again');
    else
      log.warn(
        { namespaces: namespaces.slice(0, fewNamespaces), count: namespaces.length, ...registeredLimits },
        'ServiceEntries register too much, so that sidecars ask for every address and refuse those of no entry; those that these namespaces export beyond their bound are left out for others',
      );
  };
  look(store.current());
  return store.subscribe(look);
}
