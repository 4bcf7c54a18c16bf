import type { Address } from '../addresses.ts';
import { isGlobal } from '../addresses.ts';
import type { PolicyState } from '../control-api.ts';
import type { PrefixTable } from '../prefix-table.ts';
import { growingPrefixTable, parseRange } from '../prefix-table.ts';
import { finish } from './steps.ts';

type Registered = NonNullable<PolicyState['registered']>;

/** Ports by range; without one it is every port. */
const tables = new WeakMap<Registered, PrefixTable<ReadonlySet<number>>>();

/**
 * Whether a ServiceEntry registers an address, so that the registry is asked who is there. Never loopback and link-local ones.
 * What it is looked up in is made once for each policy; a look costs a few microseconds, however many ranges there are.
 */
export function isRegistered({ registered }: PolicyState, { ip, port }: Address): boolean {
  if (registered === undefined || registered.length === 0) return false;
  const table = tables.get(registered) ?? finish(prepareRegistered(registered));
  for (const ports of table.matches(ip)) if (ports.size === 0 || ports.has(port)) return isGlobal(ip);
  return false;
}

/** Makes what destinations are looked up in, in steps of some microseconds; else the first look does it at once. */
export function* prepareRegistered(registered: Registered): Generator<void, PrefixTable<ReadonlySet<number>>> {
  const known = tables.get(registered);
  if (known !== undefined) return known;
  const table = growingPrefixTable<ReadonlySet<number>>();
  for (const { cidr, ports } of registered) {
    const range = parseRange(cidr);
    if (range !== undefined) table.add(range, new Set(ports));
    yield;
  }
  tables.set(registered, table);
  return table;
}
