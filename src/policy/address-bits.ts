/*
 * Addresses as texts of bits behind a mark of their family, so that a CIDR is a prefix like any other. IPv4 and IPv6 never hold
 * each other, `::/0` holds no IPv4 address either.
 */

/** `4` or `6` and the bits of a canonical address; undefined for what is no address. */
export function addressBits(ip: string): string | undefined {
  return ip.includes(':') ? ipv6Bits(ip) : ipv4Bits(ip);
}

/** The bits that the addresses of a block begin with: of `address/prefix`, or all of a bare address. Undefined for what is neither. */
export function blockBits(block: string): string | undefined {
  const slash = block.indexOf('/');
  const bits = addressBits(slash === -1 ? block : block.slice(0, slash));
  if (slash === -1 || bits === undefined) return bits;
  const prefix = block.slice(slash + 1);
  const length = /^\d{1,3}$/.test(prefix) ? Number(prefix) : Number.POSITIVE_INFINITY;
  return length < bits.length ? bits.slice(0, length + 1) : undefined;
}

function ipv4Bits(ip: string): string | undefined {
  const number = ipv4Number(ip);
  return number === undefined ? undefined : `4${number.toString(2).padStart(32, '0')}`;
}

function ipv4Number(ip: string): number | undefined {
  const parts = ip.split('.');
  if (parts.length !== 4) return undefined;
  let number = 0;
  for (const part of parts) {
    if (!/^(?:0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    number = number * 256 + Number(part);
  }
  return number;
}

function ipv6Bits(ip: string): string | undefined {
  const groups = groupsOf(withoutDots(ip) ?? '');
  if (groups === undefined) return undefined;
  let bits = '6';
  for (const group of groups) {
    if (!/^[0-9a-f]{1,4}$/i.test(group)) return undefined;
    bits += Number.parseInt(group, 16).toString(2).padStart(16, '0');
  }
  return bits;
}

/** The last 32 bits may be written as an IPv4 address. */
function withoutDots(ip: string): string | undefined {
  if (!ip.includes('.')) return ip;
  const last = ip.lastIndexOf(':') + 1;
  const number = ipv4Number(ip.slice(last));
  if (number === undefined) return undefined;
  return `${ip.slice(0, last)}${Math.floor(number / 65536).toString(16)}:${(number % 65536).toString(16)}`;
}

/** Eight of them; `::` stands for one or more that are zero. */
function groupsOf(ip: string): readonly string[] | undefined {
  const [head = '', tail, ...rest] = ip.split('::');
  if (rest.length > 0) return undefined;
  const before = head === '' ? [] : head.split(':');
  if (tail === undefined) return before.length === 8 ? before : undefined;
  const after = tail === '' ? [] : tail.split(':');
  const missing = 8 - before.length - after.length;
  return missing < 1 ? undefined : [...before, ...new Array<string>(missing).fill('0'), ...after];
}
