import { networkInterfaces } from 'node:os';
import type { Address } from '../../addresses.ts';
import { canonicalIp, formatAddress, isGlobal } from '../../addresses.ts';
import type { Clock } from '../../clock.ts';
import { DeniedError } from '../../errors.ts';

/** Which addresses an inbound connection may ask for at all, before any policy. */
export interface InboundGuard {
  /** Where it is delivered; throws `DeniedError`. */
  check(destination: Address): Address;
}

/** The global addresses of this pod, as they are now. */
export interface PodAddresses {
  has(ip: string): boolean;
  all(): readonly string[];
}

/** Asking the kernel costs too much for each connection, and addresses of a pod change rarely. */
const addressesMaxAgeMs = 1000;

export function createPodAddresses(clock: Clock): PodAddresses {
  let known: ReadonlySet<string> = new Set();
  let readAtMs = Number.NEGATIVE_INFINITY;
  const current = () => {
    if (clock.monotonic() - readAtMs >= addressesMaxAgeMs) {
      known = readAddresses();
      readAtMs = clock.monotonic();
    }
    return known;
  };
  return { has: (ip) => current().has(ip), all: () => [...current()] };
}

function readAddresses(): ReadonlySet<string> {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const global = all.map(({ address }) => canonicalIp(address)).filter((ip) => ip !== undefined && isGlobal(ip));
  return new Set(global as string[]);
}

/**
 * With capture: a global address of this pod, and not a port of ours. Never loopback, so that nobody reaches through the
 * sidecar what the application offers to itself alone; never another host, so that the sidecar is no open relay.
 */
export function createPodGuard(addresses: Pick<PodAddresses, 'has'>, reservedPorts: ReadonlySet<number>): InboundGuard {
  return {
    check(destination) {
      if (!isGlobal(destination.ip) || !addresses.has(destination.ip)) {
        throw new DeniedError('not_this_pod', `${formatAddress(destination)} is not an address of this pod`);
      }
      if (reservedPorts.has(destination.port)) {
        throw new DeniedError('reserved_port', `Port ${destination.port} belongs to the sidecar`);
      }
      return destination;
    },
  };
}

/**
 * Without capture: exactly the ports that were declared, each delivered to its own address. The address that the peer
 * asks for is the one it knows this host by, which says nothing here.
 */
export function createDeclaredGuard(deliveries: readonly Address[]): InboundGuard {
  const byPort = new Map(deliveries.map((address) => [address.port, address]));
  return {
    check(destination) {
      const delivery = byPort.get(destination.port);
      if (delivery !== undefined) return delivery;
      throw new DeniedError('not_this_pod', `${formatAddress(destination)} is not among the declared deliveries`);
    },
  };
}
