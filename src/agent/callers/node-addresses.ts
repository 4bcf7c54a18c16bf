import { readFileSync } from 'node:fs';
import { canonicalIp } from '../../addresses.ts';
import type { Clock } from '../../clock.ts';

/** Routes change rarely. */
const maxAgeMs = 60_000;

/** proc(5): IPv4 in the byte order of the host, which is little-endian wherever this runs. */
const routeFiles = { v4: '/proc/net/route', v6: '/proc/net/ipv6_route' } as const;

/**
 * Whether an address is that of the node: one that the settings name, or the gateway of the default route of this pod. The
 * kubelet calls from it, and so does everything else that runs on the node or whose address the node translates.
 */
export function createNodeAddresses(
  clock: Pick<Clock, 'monotonic'>,
  given: string | undefined,
  read: (path: string) => string = readRoutes,
): { has(ip: string): boolean } {
  let known: ReadonlySet<string> = new Set();
  let readAtMs = Number.NEGATIVE_INFINITY;
  return {
    has(ip) {
      if (clock.monotonic() - readAtMs >= maxAgeMs) {
        readAtMs = clock.monotonic();
        known = new Set([
          ...(given === undefined ? [] : [given]),
          ...gatewaysOfIpv4(read(routeFiles.v4)),
          ...gatewaysOfIpv6(read(routeFiles.v6)),
        ]);
      }
      return known.has(ip);
    },
  };
}

/** Without the file there is no such family. */
function readRoutes(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function gatewaysOfIpv4(text: string): string[] {
  return text.split('\n').flatMap((line) => {
    const [, destination, gateway = '', , , , , mask] = line.trim().split(/\s+/);
    const isDefault = destination === '00000000' && mask === '00000000' && gateway !== '00000000';
    if (!isDefault || !/^[0-9A-F]{8}$/i.test(gateway)) return [];
    return [[...Buffer.from(gateway, 'hex')].reverse().join('.')];
  });
}

function gatewaysOfIpv6(text: string): string[] {
  return text.split('\n').flatMap((line) => {
    const [destination = '', prefix, , , gateway = ''] = line.trim().split(/\s+/);
    const isDefault = /^0{32}$/.test(destination) && prefix === '00' && !/^0{32}$/.test(gateway);
    if (!isDefault || !/^[0-9a-f]{32}$/i.test(gateway)) return [];
    const ip = canonicalIp(gateway.replace(/(?<=^(?:.{4})+)(?=.)/g, ':'));
    return ip === undefined ? [] : [ip];
  });
}
