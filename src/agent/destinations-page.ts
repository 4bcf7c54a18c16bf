import type { DestinationsPage, ShownDestination } from '../admin-api.ts';
import type { Clock } from '../clock.ts';
import { timestamp } from '../clock.ts';
import type { Endpoint } from '../control-api.ts';
import type { CachedDestination } from './registry/destination-cache.ts';

export interface DestinationsShown {
  readonly clock: Clock;
  readonly destinations: Iterable<CachedDestination>;
  isSetAside(endpoint: Endpoint): boolean;
}

/** The registry's answers that this sidecar goes by, by address. */
export function destinationsPageOf({ clock, destinations, isSetAside }: DestinationsShown): DestinationsPage {
  const nowMs = clock.monotonic();
  const shown = [...destinations].map((cached) => shownDestination(cached, nowMs, isSetAside));
  return {
    now: timestamp(clock.now()),
    destinations: shown.sort((one, other) => (one.address < other.address ? -1 : 1)),
  };
}

function shownDestination(
  { destination, askedMs }: CachedDestination,
  nowMs: number,
  isSetAside: (endpoint: Endpoint) => boolean,
): ShownDestination {
  const { address, service, endpoints } = destination;
  return {
    address,
    service: service ?? null,
    ageSeconds: Math.round((nowMs - askedMs) / 1000),
    endpoints: endpoints.map((endpoint) => ({
      address: endpoint.address,
      spiffeId: endpoint.spiffeId === '' ? null : endpoint.spiffeId,
      transport: endpoint.transport,
      zone: endpoint.zone ?? null,
      ready: endpoint.ready,
      terminating: endpoint.terminating,
      isSetAside: isSetAside(endpoint),
    })),
  };
}
