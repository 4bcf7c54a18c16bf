import { isIPv4, isIPv6 } from 'node:net';
import { canonicalIp } from './addresses.ts';

/** An address range: those addresses of a family whose first `length` bits are `prefix`. */
export interface AddressRange {
  readonly family: 4 | 6;
  readonly prefix: bigint;
  readonly length: number;
}

const bitsOf = { 4: 32, 6: 128 } as const;

/** A range or a bare address, whatever its host bits; undefined when it is neither. A zone such as `%eth0` is refused. */
export function parseRange(text: string): AddressRange | undefined {
  const [ip = '', suffix, ...rest] = text.split('/');
  const family = isIPv4(ip) ? 4 : 6;
  if (rest.length > 0 || (family === 6 && (!isIPv6(ip) || ip.includes('%')))) return undefined;
  if (suffix !== undefined && !/^(?:0|[1-9]\d{0,2})$/.test(suffix)) return undefined;
  const length = suffix === undefined ? bitsOf[family] : Number(suffix);
  if (length > bitsOf[family]) return undefined;
  return { family, prefix: addressBits(ip, family) >> BigInt(bitsOf[family] - length), length };
}

/** Whether `text` is `address/prefix` or a bare address. */
export function isCidr(text: string): boolean {
  return parseRange(text) !== undefined;
}

/** `10.0.0.0/8`, without host bits. */
export function formatRange({ family, prefix, length }: AddressRange): string {
  const bits = prefix << BigInt(bitsOf[family] - length);
  const size = family === 4 ? 8n : 16n;
  const groups = Array.from({ length: family === 4 ? 4 : 8 }, (_, i) => {
    const shift = BigInt(bitsOf[family]) - size * BigInt(i + 1);
    return ((bits >> shift) & ((1n << size) - 1n)).toString(family === 4 ? 10 : 16);
  });
  const ip = groups.join(family === 4 ? '.' : ':');
  return `${canonicalIp(ip) ?? ip}/${length}`;
}

/** Whether every address of `inner` is in `outer`. */
export function holdsRange(outer: AddressRange, inner: AddressRange): boolean {
  if (outer.family !== inner.family || outer.length > inner.length) return false;
  return inner.prefix >> BigInt(inner.length - outer.length) === outer.prefix;
}

/** The fewest ranges that hold the same addresses, in their order. */
export function mergeRanges(ranges: readonly AddressRange[]): AddressRange[] {
  const merged: AddressRange[] = [];
  for (const range of inOrder(ranges)) {
    const last = merged.at(-1);
    if (last !== undefined && holdsRange(last, range)) continue;
    merged.push(range);
    for (let pair = merged.slice(-2); areHalves(pair); pair = merged.slice(-2)) {
      const { family, prefix, length } = pair[0] as AddressRange;
      merged.splice(-2, 2, { family, prefix: prefix >> 1n, length: length - 1 });
    }
  }
  return merged;
}

/** By the first address, the widest first. */
function inOrder(ranges: readonly AddressRange[]): readonly AddressRange[] {
  const placed = ranges.map((range) => ({
    range,
    first: range.prefix << BigInt(bitsOf[range.family] - range.length),
  }));
  placed.sort((one, other) => {
    if (one.range.family !== other.range.family) return one.range.family - other.range.family;
    if (one.first === other.first) return one.range.length - other.range.length;
    return one.first < other.first ? -1 : 1;
  });
  return placed.map(({ range }) => range);
}

function areHalves([one, other]: readonly AddressRange[]): boolean {
  if (one === undefined || other === undefined) return false;
  if (one.family !== other.family || one.length !== other.length || one.length === 0) return false;
  return one.prefix >> 1n === other.prefix >> 1n;
}

/** Values by address range, for questions by address. */
export interface PrefixTable<T> {
  /** Those of every range that holds the address, of the longest range first; within a range in the order in which they were given. */
  matches(ip: string): Iterable<T>;
}

export function createPrefixTable<T>(ranges: Iterable<readonly [AddressRange, T]>): PrefixTable<T> {
  const table = growingPrefixTable<T>();
  for (const [range, value] of ranges) table.add(range, value);
  return table;
}

/** A question costs one look for each length of a prefix that there is, however many ranges there are. */
export function growingPrefixTable<T>(): PrefixTable<T> & { add(range: AddressRange, value: T): void } {
  /** Of each family by length, the longest first. */
  const ordered: Record<4 | 6, [length: number, byPrefix: Map<bigint, T[]>][]> = { 4: [], 6: [] };
  const ofLength = (family: 4 | 6, length: number): Map<bigint, T[]> => {
    const known = ordered[family].find(([one]) => one === length);
    if (known !== undefined) return known[1];
    const made = new Map<bigint, T[]>();
    ordered[family].push([length, made]);
    ordered[family].sort(([one], [other]) => other - one);
    return made;
  };
  return {
    add({ family, prefix, length }, value) {
      const byPrefix = ofLength(family, length);
      const values = byPrefix.get(prefix);
      if (values === undefined) byPrefix.set(prefix, [value]);
      else values.push(value);
    },
    *matches(ip) {
      const family = isIPv4(ip) ? 4 : 6;
      if (ordered[family].length === 0) return;
      const bits = addressBits(ip, family);
      for (const [length, byPrefix] of ordered[family])
        yield* byPrefix.get(bits >> BigInt(bitsOf[family] - length)) ?? [];
    },
  };
}

function addressBits(ip: string, family: 4 | 6): bigint {
  if (family === 4) return BigInt(v4Number(ip));
  const [head = '', tail] = ip.split('::');
  const [front, back] = [head, tail ?? ''].map(groupsOf);
  const zeros = tail === undefined ? 0 : 8 - (front?.length ?? 0) - (back?.length ?? 0);
  const groups = [...(front ?? []), ...Array.from({ length: zeros }, () => '0'), ...(back ?? [])];
  return BigInt(`0x${groups.map((group) => group.padStart(4, '0')).join('')}`);
}

/** The last two groups may be written as an IPv4 address. */
function groupsOf(text: string): readonly string[] {
  if (text === '') return [];
  return text.split(':').flatMap((group) => {
    if (!group.includes('.')) return group;
    const hex = v4Number(group).toString(16).padStart(8, '0');
    return [hex.slice(0, 4), hex.slice(4)];
  });
}

function v4Number(ip: string): number {
  return ip.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
}
