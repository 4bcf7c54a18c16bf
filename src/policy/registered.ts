import type { Address } from '../addresses.ts';
import { isGlobal } from '../addresses.ts';
import type { PolicyState } from '../control-api.ts';
import type { PrefixTable } from '../prefix-table.ts';
import { createPrefixTable, parseRange } from '../prefix-table.ts';

type Registered = NonNullable<PolicyState['registered']>;

/** Ports by range; without one it is every port. */
const tables = new WeakMap<Registered, PrefixTable<ReadonlySet<number>>>();

/**
 * Whether a ServiceEntry registers an address, so that the registry is asked who is there. Never loopback and link-local ones.
 * What it is looked up in is made once for each policy; a look costs a few microseconds, however many ranges there are.
 */
export function isRegistered({ registered }: PolicyState, { ip, port }: Address): boolean {
  if (registered === undefined || registered.length === 0) return false;
  for (const ports of tableOf(registered).matches(ip)) if (ports.size === 0 || ports.has(port)) return isGlobal(ip);
  return false;
}

function tableOf(registered: Registered): PrefixTable<ReadonlySet<number>> {
  const known = tables.get(registered);
  if (known !== undefined) return known;
  const ranges = registered.flatMap(({ cidr, ports }) => {
    const range = parseRange(cidr);
    return range === undefined ? [] : [[range, new Set(ports)] as const];
  });
  const made = createPrefixTable(ranges);
  tables.set(registered, made);
  return made;
}
