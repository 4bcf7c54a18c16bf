import type { PolicyState } from '../../control-api.ts';
import { reservedOutbound, sidecarPorts } from '../../ports.ts';
import type { AddressRange } from '../../prefix-table.ts';
import { formatRange, mergeRanges } from '../../prefix-table.ts';
import type { RegistryObjects } from '../store/objects.ts';
import type { ServiceEntry } from './service-entry.ts';

export type Registered = NonNullable<PolicyState['registered']>;

/**
 * So many ranges a sidecar is told of, and so many pairs of a range and a port are merged for it. Of more it is told that
 * everything is registered: then it asks for each address, and who is in no entry is refused.
 */
export const registeredLimits = { ranges: 10_000, pairs: 100_000 } as const;

/** No ports are every port. */
const everything: Registered = ['0.0.0.0/0', '::/0'].map((cidr) => ({ cidr, ports: [] }));

interface Prepared {
  readonly shared: readonly ServiceEntry[];
  /** Those that not everybody sees, by namespace. */
  readonly special: ReadonlyMap<string, readonly ServiceEntry[]>;
  readonly made: Map<string, Registered>;
}

const prepared = new WeakMap<readonly ServiceEntry[], Prepared>();

/** What ServiceEntries register for a namespace, in the fewest ranges; the same object for the same state and all who see the same. */
export function registeredFor(
  { serviceEntries }: Pick<RegistryObjects, 'serviceEntries'>,
  namespace: string,
): Registered {
  const { shared, special, made } = prepare(serviceEntries);
  const own = special.get(namespace) ?? [];
  const key = own.length === 0 ? '' : namespace;
  const known = made.get(key);
  if (known !== undefined) return known;
  const registered = register([...shared, ...own]);
  made.set(key, registered);
  return registered;
}

function prepare(entries: readonly ServiceEntry[]): Prepared {
  const known = prepared.get(entries);
  if (known !== undefined) return known;
  const special = new Map<string, ServiceEntry[]>();
  for (const entry of entries)
    if (entry.exportTo !== 'all') for (const namespace of new Set(entry.exportTo)) add(special, namespace, [entry]);
  const made = { shared: entries.filter(({ exportTo }) => exportTo === 'all'), special, made: new Map() };
  prepared.set(entries, made);
  return made;
}

const reserved = reservedOutbound(sidecarPorts);

function register(entries: readonly ServiceEntry[]): Registered {
  const pairs = entries.reduce((sum, { ranges, ports }) => sum + ranges.length * Math.max(1, ports.length), 0);
  if (pairs > registeredLimits.pairs) return everything;
  const everyPort = mergeRanges(entries.filter(({ ports }) => ports === 'every').flatMap(({ ranges }) => ranges));
  const rows = new Map(everyPort.map((range) => [formatRange(range), [] as number[]]));
  const isWhole = new Set(rows.keys());
  for (const [port, ranges] of [...byPort(entries)].sort(([one], [other]) => one - other))
    for (const range of mergeRanges(ranges)) {
      const cidr = formatRange(range);
      if (!isWhole.has(cidr)) add(rows, cidr, [port]);
    }
  return rows.size > registeredLimits.ranges ? everything : [...rows].map(([cidr, ports]) => ({ cidr, ports }));
}

function byPort(entries: readonly ServiceEntry[]): ReadonlyMap<number, AddressRange[]> {
  const all = new Map<number, AddressRange[]>();
  for (const { ports, ranges } of entries)
    for (const { number } of ports === 'every' ? [] : ports) if (!reserved.has(number)) add(all, number, ranges);
  return all;
}

function add<K, T>(lists: Map<K, T[]>, key: K, items: readonly T[]): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [...items]);
  else for (const item of items) list.push(item);
}
