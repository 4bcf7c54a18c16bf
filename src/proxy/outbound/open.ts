import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Address } from '../../addresses.ts';
import { formatAddress } from '../../addresses.ts';
import { ConnectionError, codeOf, HandshakeError, withFacts } from '../../errors.ts';
import type { OutboundPermit, PermittedEndpoint } from '../../policy/permit.ts';
import type { RefusalFacts } from '../../refusal-facts.ts';
import type { Established, Outcome } from '../account.ts';
import { outcomeOf } from '../account.ts';
import { withDeadline } from '../deadline.ts';
import type { Leg } from '../leg.ts';
import { socketLeg } from '../leg.ts';
import type { ProxyParts } from '../parts.ts';
import { currentIdentity } from '../parts.ts';
import type { Proof } from '../proof.ts';
import type { SocketOptions } from '../transport/connect.ts';
import { openSocket } from '../transport/connect.ts';
import { tunnelFacts } from '../transport/hbone/facts.ts';
import type { TunnelKey, TunnelPool } from '../transport/hbone/pool.ts';
import { PeerFullError } from '../transport/hbone/wire.ts';
import type { Affinities } from './affinities.ts';
import { choose } from './choose.ts';
import type { EndpointBook } from './endpoint-book.ts';
import { setAsideLimits } from './endpoint-book.ts';
import { expectedIdOf } from './expected-id.ts';
import type { DirectParts, DirectSettings } from './open-direct.ts';
import { openDirect } from './open-direct.ts';

export interface OpenSettings extends SocketOptions, DirectSettings {
  readonly connectTimeoutMs: number;
  /** The port on which other sidecars serve HBONE. */
  readonly hbonePort: number;
}

export interface Opened {
  readonly leg: Leg;
  readonly facts: Omit<Established, 'originalDestination'>;
  /** Undefined in plaintext. */
  readonly proof: Proof | undefined;
}

export interface OpenParts extends Pick<ProxyParts, 'clock' | 'identity'>, DirectParts {
  readonly pool: TunnelPool;
  readonly endpoints: EndpointBook;
  readonly affinities: Affinities;
}

/** An endpoint that cannot be reached is passed over, but the application does not wait for a whole fleet. */
export const maxEndpointsTried = 3;

/**
 * Opens the way to one of the permitted endpoints. Another one is tried when an endpoint cannot be reached, has no room
 * or is not who it should be; never after a decision of its sidecar, and never one in plaintext after one with mutual TLS.
 * Throws the last failure.
 */
export async function open(
  permit: OutboundPermit,
  connectionId: string,
  parts: OpenParts,
  settings: OpenSettings,
  outer: AbortSignal,
): Promise<Opened> {
  const tried: PermittedEndpoint[] = [];
  // Where there is no other endpoint, nothing is gained by remembering failures.
  const hasChoice = permit.endpoints.length + (permit.leaving?.length ?? 0) > 1;
  let failure: unknown;
  while (tried.length < maxEndpointsTried) {
    const endpoint = next(permit, tried, parts);
    if (endpoint === undefined) break;
    tried.push(endpoint);
    const attempt = parts.endpoints.begin(endpoint);
    const startedMs = parts.clock.monotonic();
    try {
      const { leg, facts, proof } = await openEndpoint(endpoint, connectionId, parts, settings, outer);
      attempt.reached();
      whenClosed(leg.stream, attempt.end);
      return { leg, facts: { ...facts, service: permit.service }, proof };
    } catch (error) {
      failure = withFacts(error, factsOf(endpoint, permit));
      const fault =
        faultOfEndpoint(error) ?? (outer.aborted ? faultUnanswered(parts.clock.monotonic() - startedMs) : undefined);
      if (hasChoice && fault) attempt.failed(fault);
      attempt.end();
      if (outer.aborted || !isPassedOver(error)) break;
    }
  }
  throw failure;
}

/** What a failed attempt was for. */
function factsOf(endpoint: PermittedEndpoint, { service }: OutboundPermit): RefusalFacts {
  const expectedId = endpoint.transport === 'plaintext' ? undefined : endpoint.spiffeId;
  return { endpoint: endpoint.address, service, expectedId };
}

/** One that is leaving goes before those that stay and are set aside; as everywhere, failures never lead to plaintext. */
function next(
  { endpoints, leaving = [], affinity }: OutboundPermit,
  tried: readonly PermittedEndpoint[],
  { affinities, endpoints: book, clock }: OpenParts,
): PermittedEndpoint | undefined {
  const kept = affinity && affinities.endpointOf(affinity);
  const draw = (from: readonly PermittedEndpoint[]) => choose(from, { tried, kept }, book, clock.random);
  const staying = draw(endpoints);
  const spare = staying === undefined || book.isSetAside(staying) ? draw(leaving) : undefined;
  const isBetter =
    spare && !book.isSetAside(spare) && (spare.transport !== 'plaintext' || staying?.transport === 'plaintext');
  const endpoint = isBetter ? spare : (staying ?? spare);
  // Before it is dialled, so that connections that begin together go there together.
  if (affinity && endpoint) affinities.remember(affinity, endpoint.key);
  return endpoint;
}

/** Whether another endpoint may take what this one did not: nothing was delivered, and it was not a decision. */
function isPassedOver(error: unknown): boolean {
  if (error instanceof HandshakeError || error instanceof PeerFullError) return true;
  return error instanceof ConnectionError && (error.reason.startsWith('upstream_') || error.reason === 'tunnel_lost');
}

/** What this host is short of itself, besides descriptors. */
const ownShortages: ReadonlySet<string> = new Set(['EADDRNOTAVAIL', 'ENOBUFS', 'ENOMEM']);

/**
 * What to hold against the endpoint; undefined when it was a decision, given up, or our own failure. One without room
 * counts: it has few connections, and would be drawn before all others.
 */
function faultOfEndpoint(error: unknown): Outcome | undefined {
  if (!isPassedOver(error) || ownShortages.has(codeOf((error as Error).cause))) return undefined;
  const outcome = outcomeOf(error);
  return outcome.reason === 'descriptor_limit' || outcome.reason === 'internal' ? undefined : outcome;
}

/**
 * A client with less patience than `connectTimeout` would never hear that nobody answers, and with session affinity it would
 * be sent there again and again.
 */
function faultUnanswered(waitedMs: number): Outcome | undefined {
  if (waitedMs < setAsideLimits.unansweredMs) return undefined;
  const detail = `The client gave up after ${Math.round(waitedMs)} ms without an answer`;
  return { kind: 'closed', reason: 'upstream_timeout', detail };
}

function whenClosed(stream: Duplex, callback: () => void): void {
  if (stream.closed) callback();
  else stream.once('close', callback);
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
    case 'direct':
      return openDirect(endpoint, () => connectTo(endpoint.address, parts, settings, outer), parts, settings, outer);
    default:
      return endpoint satisfies never;
  }
}

async function openPlaintext(
  address: Address,
  parts: OpenParts,
  settings: OpenSettings,
  outer: AbortSignal,
): Promise<Opened> {
  const socket = await connectTo(address, parts, settings, outer);
  const facts = { transport: 'plaintext', security: 'plaintext', endpoint: address } as const;
  return { leg: socketLeg(socket), facts, proof: undefined };
}

function connectTo(
  address: Address,
  { clock }: OpenParts,
  settings: OpenSettings,
  outer: AbortSignal,
): Promise<Socket> {
  const late = () =>
    new ConnectionError('upstream_timeout', `${formatAddress(address)} did not accept a connection in time`);
  return withDeadline(clock, settings.connectTimeoutMs, late, outer, (signal) =>
    openSocket(address, { ...settings, allowHalfOpen: true }, signal),
  );
}

async function openTunnelled(
  endpoint: TunnelledEndpoint,
  connectionId: string,
  parts: OpenParts,
  settings: OpenSettings,
  outer: AbortSignal,
): Promise<Opened> {
  const { address } = endpoint;
  const key = tunnelKeyOf(endpoint, parts, settings);
  // Connect, handshake and request have a deadline each, so that a slow way is not taken for a silent peer.
  const { leg, tunnel } = await parts.pool.open(key, { destination: address, connectionId }, outer);
  return { leg, proof: tunnel.proof, facts: { ...tunnelFacts(tunnel.mutualTls), endpoint: address } };
}

export type TunnelledEndpoint = Extract<PermittedEndpoint, { transport: 'hbone' }>;

/** The tunnels that may carry a connection to this endpoint. Throws `HandshakeError` and `DeniedError` where there can be none. */
export function tunnelKeyOf(
  endpoint: TunnelledEndpoint,
  parts: Pick<OpenParts, 'clock' | 'identity'>,
  { hbonePort }: Pick<OpenSettings, 'hbonePort'>,
): TunnelKey {
  const { address, via } = endpoint;
  const expectedId = expectedIdOf(endpoint);
  const local = currentIdentity(parts);
  return { address: via ?? { ip: address.ip, port: hbonePort }, expectedId, local };
}
