import type { Address } from '../../addresses.ts';
import { formatAddress } from '../../addresses.ts';
import { ConnectionError, HandshakeError } from '../../errors.ts';
import { parseSpiffeId } from '../../identity/spiffe-id.ts';
import type { OutboundPermit, PermittedEndpoint } from '../../policy/permit.ts';
import type { Established } from '../account.ts';
import { withDeadline } from '../deadline.ts';
import type { Leg } from '../leg.ts';
import { socketLeg } from '../leg.ts';
import type { ProxyParts } from '../parts.ts';
import { currentIdentity } from '../parts.ts';
import type { SocketOptions } from '../transport/connect.ts';
import { openSocket } from '../transport/connect.ts';
import type { TunnelPool } from '../transport/hbone/pool.ts';

export interface OpenSettings extends SocketOptions {
  readonly connectTimeoutMs: number;
  /** From the request for a tunnel to the peer's answer; longer than the peer's own connect deadline, so that its reason arrives. */
  readonly openTimeoutMs: number;
  /** The port on which other sidecars serve HBONE. */
  readonly hbonePort: number;
}

export interface Opened {
  readonly leg: Leg;
  readonly facts: Pick<Established, 'transport' | 'security' | 'endpoint' | 'service' | 'peerId' | 'localId'>;
}

type OpenParts = Pick<ProxyParts, 'clock' | 'identity'> & { readonly pool: TunnelPool };

/** An endpoint that cannot be reached is passed over, but the application does not wait for a whole fleet. */
const maxEndpointsTried = 3;

/**
 * Opens the way to one of the permitted endpoints, in random order; another one is tried when an endpoint cannot be
 * reached or is not who it should be; never after a refusal, and never one in plaintext after one with a sidecar. Throws
 * the last failure.
 */
export async function open(
  permit: OutboundPermit,
  connectionId: string,
  parts: OpenParts,
  settings: OpenSettings,
  outer: AbortSignal,
): Promise<Opened> {
  const candidates = shuffled(permit.endpoints, parts.clock.random).slice(0, maxEndpointsTried);
  let failure: unknown;
  let isMeshed = false;
  for (const endpoint of candidates) {
    // Whoever cuts a handshake must not be able to choose plaintext by it.
    if (isMeshed && endpoint.transport === 'plaintext') continue;
    isMeshed ||= endpoint.transport === 'hbone';
    try {
      const { leg, facts } = await openEndpoint(endpoint, connectionId, parts, settings, outer);
      return { leg, facts: { ...facts, service: permit.service } };
    } catch (error) {
      failure = error;
      if (outer.aborted || !isUnreachable(error)) break;
    }
  }
  throw failure;
}

function isUnreachable(error: unknown): boolean {
  return (
    error instanceof HandshakeError ||
    (error instanceof ConnectionError && (error.reason.startsWith('upstream_') || error.reason === 'tunnel_lost'))
  );
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  return items
    .map((item) => ({ item, order: random() }))
    .sort((a, b) => a.order - b.order)
    .map(({ item }) => item);
}

function openEndpoint(
  endpoint: PermittedEndpoint,
  connectionId: string,
  parts: OpenParts,
  settings: OpenSettings,
  outer: AbortSignal,
): Promise<Opened> {
  switch (endpoint.transport) {
    case 'plaintext':
      return openPlaintext(endpoint.address, parts, settings, outer);
    case 'hbone':
      return openTunnelled(endpoint, connectionId, parts, settings, outer);
    default:
      return endpoint satisfies never;
  }
}

async function openPlaintext(
  address: Address,
  { clock }: OpenParts,
  settings: OpenSettings,
  outer: AbortSignal,
): Promise<Opened> {
  const late = () =>
    new ConnectionError('upstream_timeout', `${formatAddress(address)} did not accept a connection in time`);
  const socket = await withDeadline(clock, settings.connectTimeoutMs, late, outer, (signal) =>
    openSocket(address, { ...settings, allowHalfOpen: true }, signal),
  );
  return { leg: socketLeg(socket), facts: { transport: 'plaintext', security: 'plaintext', endpoint: address } };
}

async function openTunnelled(
  { address, spiffeId, via }: Extract<PermittedEndpoint, { transport: 'hbone' }>,
  connectionId: string,
  parts: OpenParts,
  settings: OpenSettings,
  outer: AbortSignal,
): Promise<Opened> {
  const expected = parseSpiffeId(spiffeId);
  if (expected.kind === 'invalid') {
    throw new HandshakeError(
      'peer_identity',
      `The registry expects '${spiffeId}' at ${formatAddress(address)}, which is no SPIFFE ID`,
    );
  }
  const local = currentIdentity(parts);
  const key = { address: via ?? { ip: address.ip, port: settings.hbonePort }, expectedId: expected.id, local };
  const late = () =>
    new ConnectionError('upstream_timeout', `No answer for ${formatAddress(address)} through its sidecar in time`);
  const { leg, tunnel } = await withDeadline(parts.clock, settings.openTimeoutMs, late, outer, (signal) =>
    parts.pool.open(key, { destination: address, connectionId }, signal),
  );
  const { peer, local: shown } = tunnel.mutualTls;
  return {
    leg,
    facts: {
      transport: 'hbone',
      security: 'mutual_tls',
      endpoint: address,
      peerId: peer.spiffeId.uri,
      localId: shown.spiffeId.uri,
    },
  };
}
