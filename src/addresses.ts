import { BlockList, isIP, isIPv4, isIPv6, SocketAddress } from 'node:net';

/** An IP literal in canonical form (lower-case, compressed, IPv4-mapped unwrapped, no zone) and a port. */
export interface Address {
  readonly ip: string;
  readonly port: number;
}

const mappedPrefix = '::ffff:';

/** The canonical form of an IP literal, or undefined when it is not one; a zone such as `%eth0` is refused. */
export function canonicalIp(text: string): string | undefined {
  if (isIPv4(text)) return text;
  if (!isIPv6(text) || text.includes('%')) return undefined;
  const canonical = new SocketAddress({ address: text, family: 'ipv6' }).address;
  return canonical.startsWith(mappedPrefix) && isIPv4(canonical.slice(mappedPrefix.length))
    ? canonical.slice(mappedPrefix.length)
    : canonical;
}

/** `10.0.0.7:80`, `[2001:db8::7]:80`. */
export function formatAddress(address: Address): string {
  return isIPv6(address.ip) ? `[${address.ip}]:${address.port}` : `${address.ip}:${address.port}`;
}

/** A port in 1–65535 written in plain decimal, or undefined. */
export function parsePort(text: string): number | undefined {
  if (!/^[1-9]\d{0,4}$/.test(text)) return undefined;
  const port = Number(text);
  return port <= 65535 ? port : undefined;
}

/** Splits `host:port` and `[v6]:port`; undefined when either part is missing or the port is not a port. */
export function splitHostPort(text: string): { readonly host: string; readonly port: number } | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d+)$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = parsePort(match?.[3] ?? '');
  return host === undefined || port === undefined ? undefined : { host, port };
}

/** An IP literal with a port, or undefined; names are not looked up. */
export function parseAddress(text: string): Address | undefined {
  const parts = splitHostPort(text);
  const ip = parts && canonicalIp(parts.host);
  return parts === undefined || ip === undefined ? undefined : { ip, port: parts.port };
}

/** A set of address ranges; a range of IPv6 holds no IPv4 address, `::/0` neither. `cidrs` must each satisfy `isCidr` of prefix-table.ts. */
export function cidrSet(cidrs: readonly string[]): { has(ip: string): boolean } {
  // One list each: to a BlockList every IPv4 address lies in `::/0`, and to the kernel none does.
  const lists = { ipv4: new BlockList(), ipv6: new BlockList() };
  for (const cidr of cidrs) {
    const [ip = '', prefix] = cidr.split('/');
    const family = familyOf(ip);
    lists[family].addSubnet(ip, prefix === undefined ? (family === 'ipv4' ? 32 : 128) : Number(prefix), family);
  }
  return {
    has(ip) {
      const family = familyOf(ip);
      return lists[family].check(ip, family);
    },
  };
}

const familyOf = (ip: string) => (isIPv4(ip) ? 'ipv4' : 'ipv6');

/** No pod's address on the network is in these: loopback, link-local, unspecified, multicast, and what is reserved. */
export const neverGlobalRanges = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/3',
  '::/127',
  '::6/128',
  'fe80::/10',
  'ff00::/8',
] as const;

const neverGlobal = cidrSet(neverGlobalRanges);

/** Whether a canonical address can be a pod's own on the network: not loopback, link-local, unspecified or multicast. */
export function isGlobal(ip: string): boolean {
  return isIP(ip) !== 0 && !neverGlobal.has(ip);
}
