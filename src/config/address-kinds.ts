import type { Address } from '../addresses.ts';
import { canonicalIp, formatAddress, parseAddress, parsePort, splitHostPort } from '../addresses.ts';
import type { SpiffeId } from '../identity/spiffe-id.ts';
import { isTrustDomain, parseSpiffeId } from '../identity/spiffe-id.ts';
import { controlPlanePorts } from '../ports.ts';
import { isCidr } from '../prefix-table.ts';
import { scalar } from './kinds.ts';

export const port = scalar<number>({
  name: 'a port',
  expected: 'a number from 1 to 65535',
  placeholder: 'port',
  inFile: 'number',
  parse: parsePort,
});

export const ipAddress = scalar<string>({
  name: 'an address',
  expected: 'an IP literal without a zone such as 10.0.0.7 or ::',
  placeholder: 'ip',
  parse: canonicalIp,
});

export const cidr = scalar<string>({
  name: 'a range of addresses',
  expected: 'an IP literal with a prefix length such as 10.0.0.0/8',
  placeholder: 'cidr',
  // Without its length a range is one address, and the rest of it unprotected.
  parse: (text) => (isCidr(text) && text.includes('/') ? text : undefined),
});

export const trustDomain = scalar<string>({
  name: 'a trust domain',
  expected: 'lower-case letters, digits, dots, dashes and underscores such as cluster.local',
  placeholder: 'domain',
  parse: (text) => (isTrustDomain(text) ? text : undefined),
});

export const spiffeId = scalar<SpiffeId>({
  name: 'a SPIFFE ID',
  expected: 'a URI such as spiffe://cluster.local/ns/shop/sa/web',
  placeholder: 'spiffe-id',
  parse: (text) => {
    const parsed = parseSpiffeId(text);
    return parsed.kind === 'id' ? parsed.id : undefined;
  },
  show: ({ uri }) => uri,
});

/** A name of a Kubernetes object. RFC 1123 subdomain. */
export const objectName = scalar<string>({
  name: 'a name',
  expected: 'lower-case letters, digits, dashes and dots such as web-7d4b9',
  placeholder: 'name',
  parse: (text) => (text.length <= 253 && /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/.test(text) ? text : undefined),
});

export const hostName = scalar<string>({
  name: 'a host name',
  expected: 'a DNS name or an IP literal',
  placeholder: 'name',
  parse: (text) => (isHost(text) ? text : undefined),
});

function isHost(text: string): boolean {
  return (
    canonicalIp(text) !== undefined ||
    (text.length <= 253 && /^[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?$/.test(text))
  );
}

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** `host:port`; the host is a DNS name or an IP literal. */
export function parseHostPort(text: string): HostPort | undefined {
  const parts = splitHostPort(text);
  return parts !== undefined && isHost(parts.host) ? parts : undefined;
}

/** The origin of an HTTPS server, `https://host:port`; the control plane's port when none is written. */
export const httpsOrigin = scalar<string>({
  name: 'an HTTPS address',
  expected: `https://HOST or https://HOST:PORT, without a path (port ${controlPlanePorts.api} when none is given)`,
  placeholder: 'url',
  parse: (text) => {
    const authority = /^https:\/\/([^/?#@\s]+)\/?$/.exec(text)?.[1] ?? '';
    const withPort =
      /:\d+$/.test(authority) && !authority.endsWith(']') ? authority : `${authority}:${controlPlanePorts.api}`;
    return parseHostPort(withPort) === undefined ? undefined : `https://${withPort}`;
  },
});

/** Whether a canonical address is this host's own loopback. */
export function isLoopback(ip: string): boolean {
  return ip === '::1' || /^127\./.test(ip);
}

/** An address on loopback with its port. */
export const loopbackAddress = scalar<Address>({
  name: 'an address on loopback',
  expected: '127.0.0.1:PORT or [::1]:PORT',
  placeholder: 'ip:port',
  parse: (text) => {
    const address = parseAddress(text);
    return address !== undefined && isLoopback(address.ip) ? address : undefined;
  },
  show: formatAddress,
});

/** Where the admin pages are served: loopback, or a unix socket. */
export type AdminListener =
  | { readonly kind: 'tcp'; readonly address: Address }
  | { readonly kind: 'unix'; readonly path: string };

export const adminListener = scalar<AdminListener>({
  name: 'an admin listener',
  expected: '127.0.0.1:PORT, [::1]:PORT or the absolute path of a unix socket',
  placeholder: 'ip:port|path',
  parse: (text) => {
    // 107 bytes are what sockaddr_un holds; a longer path would be cut by the kernel's interface.
    if (text.startsWith('/'))
      return Buffer.byteLength(text) <= 107 && !text.includes('\0') ? { kind: 'unix', path: text } : undefined;
    const address = loopbackAddress.parse(text);
    return address === undefined ? undefined : { kind: 'tcp', address };
  },
  show: (listener) => (listener.kind === 'unix' ? listener.path : loopbackAddress.show(listener.address)),
});
