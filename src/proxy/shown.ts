import { formatAddress } from '../addresses.ts';
import type { ShownConnection, ShownTunnel } from '../admin-api.ts';
import type { Clock } from '../clock.ts';
import { timestamp } from '../clock.ts';
import type { Endpoint } from '../control-api.ts';
import type { Direction } from '../outcomes.ts';
import { reachedBy } from '../policy/admit.ts';
import type { Accounts, LiveConnection } from './account.ts';
import { shownFacts } from './connection-line.ts';
import type { DataPlane, DataPlaneSettings } from './data-plane.ts';
import type { EndpointBook } from './outbound/endpoint-book.ts';
import type { Proof } from './proof.ts';
import type { MutualTls } from './transport/tls.ts';

/** A tunnel that is open, of either direction. */
export interface LiveTunnel {
  readonly name: string;
  readonly mutualTls: MutualTls;
  readonly proof: Proof;
  /** Wall time, milliseconds since the epoch. */
  readonly openedAtMs: number;
  streams(): number;
  isRetiring(): boolean;
}

/** What is carried now, made when a page asks for it. */
export function shownTraffic(clock: Clock, { live }: Accounts, { tunnels }: Pick<DataPlane, 'tunnels'>) {
  return {
    openNow: () => ({ connections: byDirection(live()), tunnels: byDirection(proofsOf(tunnels())) }),
    *connections() {
      for (const connection of live()) yield shownConnection(connection, clock.now());
    },
    tunnels: () => [...tunnels()].map((tunnel) => shownTunnel(tunnel, clock.now())),
  };
}

function* proofsOf(tunnels: Iterable<LiveTunnel>): Iterable<Proof> {
  for (const { proof } of tunnels) yield proof;
}

function byDirection(open: Iterable<{ readonly direction: Direction }>): Record<Direction, number> {
  const counts = { inbound: 0, outbound: 0 };
  for (const { direction } of open) counts[direction] += 1;
  return counts;
}

/** Whether an endpoint of the registry could not be reached lately, and is passed over for now. */
export function setAsideBy(book: EndpointBook, { outbound }: DataPlaneSettings): (endpoint: Endpoint) => boolean {
  return (endpoint) => {
    const reached = reachedBy(endpoint, outbound.rules);
    return reached !== undefined && book.isSetAside(reached);
  };
}

/** A connection as the admin pages show it: what its log line will say. `nowMs` is wall time. */
export function shownConnection(connection: LiveConnection, nowMs: number): ShownConnection {
  const { id, direction, peerAddress, openedAtMs, facts, bytes, proof } = connection;
  const { transport, security, originalDestination } = facts;
  return {
    id,
    direction,
    peerAddress: peerAddress === undefined ? 'unknown' : formatAddress(peerAddress),
    ...shownAge(openedAtMs, nowMs),
    ...shownFacts(facts),
    originalDestination: formatAddress(originalDestination),
    transport,
    security,
    ...(proof !== undefined && shownProof(proof)),
    ...bytes,
  };
}

/** A tunnel as the admin pages show it; wall time. */
export function shownTunnel(tunnel: LiveTunnel, nowMs: number): ShownTunnel {
  const { name, mutualTls, proof, openedAtMs } = tunnel;
  const { negotiated, ends } = mutualTls;
  const { direction, peer } = proof;
  const peerAddress = direction === 'outbound' ? ends.tunnelTo : ends.tunnelFrom;
  return {
    name,
    direction,
    peerId: peer.spiffeId.uri,
    peerAddress: peerAddress ?? 'unknown',
    ...shownAge(openedAtMs, nowMs),
    ...shownProof(proof),
    streams: tunnel.streams(),
    isRetiring: tunnel.isRetiring(),
    tlsVersion: negotiated.version,
    cipher: negotiated.cipher,
    group: negotiated.group,
  };
}

/** By the wall clock, which may have been set back since. */
function shownAge(openedAtMs: number, nowMs: number) {
  return { openedAt: timestamp(openedAtMs), ageSeconds: Math.max(0, Math.round((nowMs - openedAtMs) / 1000)) };
}

/** `endsAt` is when what rests on it will be cut if the peer is not proved anew until then. */
function shownProof({ peer, endsAtMs }: Proof) {
  return {
    peerNotAfter: timestamp(peer.notAfterMs),
    endsAt: Number.isFinite(endsAtMs) ? timestamp(endsAtMs) : null,
  };
}
