import type { Address } from '../../addresses.ts';
import { formatAddress } from '../../addresses.ts';
import type { HttpProbe } from '../../app-probes.ts';

/** One request of an HTTP probe. All go to the address of the pod; a redirect may change the rest. */
export interface Hop {
  readonly url: URL;
  readonly port: number;
  readonly isTls: boolean;
  /** With its query. */
  readonly path: string;
  /** The probe's own Host; undefined: the address. */
  readonly host: string | undefined;
}

export function startOf({ path, scheme, httpHeaders }: HttpProbe['httpGet'], address: Address): Hop {
  const isTls = scheme === 'HTTPS';
  const host = httpHeaders.find(({ name }) => name.toLowerCase() === 'host')?.value;
  const url = new URL(`${isTls ? 'https' : 'http'}://${formatAddress(address)}${pathToSend(path)}`);
  return { url, port: address.port, isTls, path, host: host === '' ? undefined : host };
}

/** A target as HTTP takes it: without a fragment, and with anything but visible ASCII percent-encoded. */
export function pathToSend(path: string): string {
  return (path.split('#', 1)[0] ?? '').replaceAll(/[^\x21-\x7e]+/gu, encodeURIComponent);
}

export type Next =
  /** The last answer counts. */
  | { readonly kind: 'answer' }
  | { readonly kind: 'hop'; readonly hop: Hop }
  /** Completes "… answered 302 with a redirect …". */
  | { readonly kind: 'bad'; readonly why: string };

const followed: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** What an answer leads to, as the kubelet sees it. Nothing of what the application wrote gets into the words but a port. */
export function nextHop(
  hop: Hop,
  status: number,
  location: string | undefined,
  reservedPorts: ReadonlySet<number>,
): Next {
  if (!followed.has(status) || location === undefined || location === '') return { kind: 'answer' };
  const url = URL.parse(location, hop.url.href);
  if (url === null) return { kind: 'bad', why: 'that is not a URL' };
  // Another host is dialled by nobody: not by the kubelet, and not by us for a peer.
  if (url.hostname !== hop.url.hostname) return { kind: 'answer' };
  const isTls = url.protocol === 'https:';
  if (!isTls && url.protocol !== 'http:') return { kind: 'bad', why: 'that is neither HTTP nor HTTPS' };
  const port = url.port === '' ? (isTls ? 443 : 80) : Number(url.port);
  if (port === 0 || reservedPorts.has(port)) {
    return { kind: 'bad', why: `to port ${port}, expected one of the application` };
  }
  const isAbsolute = /^[a-z][a-z0-9+.-]*:/i.test(location);
  const path = `${url.pathname}${url.search}`;
  return { kind: 'hop', hop: { url, port, isTls, path, host: isAbsolute ? undefined : hop.host } };
}
