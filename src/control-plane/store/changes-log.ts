import type { Clock } from '../../clock.ts';
import type { Log } from '../../log.ts';
import { createLineLimit } from '../line-limit.ts';
import { listed } from '../listed.ts';
import { changesBetween } from './changes.ts';
import type { RegistryObjects } from './objects.ts';

const linesPerSecond = 5;

/** Logs by name what became of the objects of a registry between two states; bounded by line and by second. */
export function createChangesLog(clock: Clock, log: Log): (before: RegistryObjects, after: RegistryObjects) => void {
  const limit = createLineLimit<string>(clock, linesPerSecond);
  const warnOf = (services: readonly string[], message: string, meaning: string) => {
    const line = services.length === 0 ? undefined : limit(message);
    if (line !== undefined) log.warn({ ...listed('services', services), meaning, ...line }, message);
  };
  return (before, after) => {
    const { kinds, servicesRemoved, servicesEmptied } = changesBetween(before, after);
    for (const { kind, added, removed, changed } of kinds) {
      const line = limit(kind);
      if (line === undefined) continue;
      const fields = { ...listed('added', added), ...listed('removed', removed), ...listed('changed', changed) };
      log.info({ kind, ...fields, ...line }, 'Registry changed');
    }
    warnOf(
      servicesRemoved,
      'Services are gone from the registry',
      'Nobody knows their addresses any more; who dials them is treated as with any unknown destination',
    );
    warnOf(
      servicesEmptied,
      'Services have no ready endpoint any more',
      'Whoever dials them has nowhere to go until a pod or an EndpointSlice of theirs is ready again',
    );
  };
}
