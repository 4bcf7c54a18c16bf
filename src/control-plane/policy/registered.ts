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

/**
 * So much of it may be by entries of one namespace that others see: what that namespace registers beyond it is left out for others,
 * and its own sidecars are told that everything is registered.
 */
export const exportedLimits = { ranges: registeredLimits.ranges / 2, pairs: registeredLimits.pairs / 2 } as const;

/** No ports are every port. */
const everything: Registered = ['0.0.0.0/0', '::/0'].map((cidr) => ({ cidr, ports: [] }));

interface Prepared {
  readonly entries: readonly ServiceEntry[];
  /** Undefined when there are too many. */
  readonly shared: Registered | undefined;
  /** Entries that not everybody sees, by namespace. */
  readonly special: ReadonlyMap<string, readonly ServiceEntry[]>;
  /** Namespaces whose entries are too much for others. */
  readonly excessive: ReadonlySet<string>;
  /** By namespace, of those with entries of their own. */
  readonly made: Map<string, Registered>;
}

/** Of the last state: pods come and go all the time, and entries stay the same ones. */
let last: Prepared | undefined;

/** What ServiceEntries register for a namespace, in few ranges; the same object for the same entries and all who see the same ones. */
export function registeredFor(objects: Pick<RegistryObjects, 'serviceEntries'>, namespace: string): Registered {
  const { shared, special, excessive, made } = prepare(objects.serviceEntries);
  if (excessive.has(namespace)) return everything;
  const own = special.get(namespace);
  if (own === undefined) return shared ?? everything;
  const known = made.get(namespace) ?? together(shared, register(own)) ?? everything;
  made.set(namespace, known);
  return known;
}

/** The namespaces whose sidecars are told that everything is registered; `*` is every one. */
export function namespacesWithTooMuch(objects: Pick<RegistryObjects, 'serviceEntries'>): readonly string[] {
  const { shared, special, excessive } = prepare(objects.serviceEntries);
  if (shared === undefined) return ['*'];
  return [...new Set([...special.keys(), ...excessive])].filter(
    (namespace) => registeredFor(objects, namespace) === everything,
  );
}

function prepare(entries: readonly ServiceEntry[]): Prepared {
  if (last?.entries === entries) return last;
  if (last?.entries.length === entries.length && entries.every((entry, index) => entry === last?.entries[index]))
    return last;
  const excess = excessOf(entries);
  const kept = entries.filter((entry) => !excess.has(entry));
  const special = new Map<string, ServiceEntry[]>();
  for (const entry of kept)
    if (entry.exportTo !== 'all') for (const namespace of new Set(entry.exportTo)) add(special, namespace, [entry]);
  const shared = register(kept.filter(({ exportTo }) => exportTo === 'all'));
  const excessive = new Set([...excess].map(({ namespace }) => namespace));
  last = { entries, shared, special, excessive, made: new Map() };
  return last;
}

/** Entries that others see, beyond what each namespace may have of these, the first by age and name kept. */
function excessOf(entries: readonly ServiceEntry[]): ReadonlySet<ServiceEntry> {
  const excess = new Set<ServiceEntry>();
  const exported = entries.filter(
    ({ exportTo, namespace }) => exportTo === 'all' || exportTo.some((one) => one !== namespace),
  );
  for (const group of Map.groupBy(exported, ({ namespace }) => namespace).values()) {
    const used = { ranges: 0, pairs: 0 };
    for (const entry of group.toSorted(byAge)) {
      const next = { ranges: used.ranges + entry.ranges.length, pairs: used.pairs + pairsOf(entry) };
      if (next.ranges > exportedLimits.ranges || next.pairs > exportedLimits.pairs) excess.add(entry);
      else Object.assign(used, next);
    }
  }
  return excess;
}

function byAge(one: ServiceEntry, other: ServiceEntry): number {
  const [mine, others] = [one, other].map(({ creationTimestamp = '', name }) => `${creationTimestamp} ${name}`);
  return (mine ?? '') < (others ?? '') ? -1 : 1;
}

function pairsOf({ ranges, ports }: Pick<ServiceEntry, 'ranges' | 'ports'>): number {
  return ranges.length * (ports === 'every' ? 1 : ports.length);
}

function together(one: Registered | undefined, other: Registered | undefined): Registered | undefined {
  if (one === undefined || other === undefined || one.length + other.length > registeredLimits.ranges) return undefined;
  return [...one, ...other];
}

const reserved = reservedOutbound(sidecarPorts);

/** Of each set of ports in the fewest ranges; undefined when that is too much. */
function register(entries: readonly ServiceEntry[]): Registered | undefined {
  const pairs = entries.reduce((sum, entry) => sum + pairsOf(entry), 0);
  if (pairs > registeredLimits.pairs) return undefined;
  const rows = byPorts(entries).flatMap(({ ports, ranges }) =>
    mergeRanges(ranges).map((range) => ({ cidr: formatRange(range), ports })),
  );
  return rows.length > registeredLimits.ranges ? undefined : rows;
}

/** Entries for the same ports together: there are few such sets. */
function byPorts(entries: readonly ServiceEntry[]) {
  const all = new Map<string, AddressRange[]>();
  for (const { ports, ranges } of entries) {
    const numbers =
      ports === 'every' ? [] : ports.map(({ number }) => number).filter((number) => !reserved.has(number));
    if (ports === 'every' || numbers.length > 0) add(all, [...new Set(numbers)].sort(ascending).join(' '), ranges);
  }
  return [...all].map(([key, ranges]) => ({ ports: key === '' ? [] : key.split(' ').map(Number), ranges }));
}

const ascending = (one: number, other: number) => one - other;

function add<K, T>(lists: Map<K, T[]>, key: K, items: readonly T[]): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [...items]);
  else for (const item of items) list.push(item);
}
