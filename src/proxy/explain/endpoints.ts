import type { Address } from '../../addresses.ts';
import { formatAddress } from '../../addresses.ts';
import type { Destination, Endpoint } from '../../control-api.ts';
import type { HandshakeError } from '../../errors.ts';
import { DeniedError } from '../../errors.ts';
import type { ShownEndpointFacts, ShownRefusal } from '../../explain-api.ts';
import { lapseOf } from '../../identity/verify-peer.ts';
import type { OutboundRules } from '../../policy/admit.ts';
import { admit } from '../../policy/admit.ts';
import type { OutboundPermit, PermittedEndpoint } from '../../policy/permit.ts';
import { expectedIdOf } from '../outbound/expected-id.ts';
import type { OpenParts, OpenSettings, TunnelledEndpoint } from '../outbound/open.ts';
import { tunnelKeyOf } from '../outbound/open.ts';
import type { DirectEndpoint } from '../outbound/open-direct.ts';
import type { ProxyParts } from '../parts.ts';
import { currentIdentity } from '../parts.ts';
import type { TunnelKey } from '../transport/hbone/pool.ts';
import type { Tunnel } from '../transport/hbone/tunnel.ts';
import { knownAgainst } from './known-against.ts';
import { ownRemedies, withRemedy } from './remedies.ts';
import { refusalBy, refusalOf } from './verdict.ts';

export type EndpointParts = Pick<OpenParts, 'clock' | 'identity' | 'pool' | 'endpoints'> &
  Pick<ProxyParts, 'revocations'>;

type Use = Pick<ShownEndpointFacts, 'use' | 'why' | 'isReady' | 'isTerminating'>;

/** Each endpoint that the registry names, those that a connection is drawn from first. `permit` is undefined when it is refused. */
export function explainEndpoints(
  original: Address,
  destination: Destination,
  permit: OutboundPermit | undefined,
  rules: OutboundRules,
  facts: (endpoint: PermittedEndpoint, use: Use) => ShownEndpointFacts,
): ShownEndpointFacts[] {
  const explained = destination.endpoints.map((endpoint) => {
    const alone = admittedAlone(original, destination, endpoint, rules);
    const { ready: isReady, terminating: isTerminating } = endpoint;
    const use = { isReady, isTerminating, ...useOf(endpoint, alone, permit) };
    return alone instanceof DeniedError ? unused(endpoint, use) : facts(alone, use);
  });
  const order = { chosen_from: 0, reserve: 1, not_used: 2 };
  return explained.sort((one, other) => order[one.use] - order[other.use]);
}

/** The same decision for this endpoint as if there were no other. */
function admittedAlone(
  original: Address,
  destination: Destination,
  endpoint: Endpoint,
  rules: OutboundRules,
): PermittedEndpoint | DeniedError {
  try {
    const alone = { ...destination, endpoints: [endpoint] };
    return admit(original, { kind: 'known', destination: alone }, rules).endpoints[0] as PermittedEndpoint;
  } catch (error) {
    if (error instanceof DeniedError) return error;
    throw error;
  }
}

function useOf(
  { ready: isReady }: Endpoint,
  alone: PermittedEndpoint | DeniedError,
  permit: OutboundPermit | undefined,
): Pick<Use, 'use' | 'why'> {
  if (alone instanceof DeniedError) {
    if (alone.reason === 'mtls_required')
      return { use: 'not_used', why: 'It has no sidecar, and this pod sends nothing in plaintext' };
    const missing = isReady ? 'It has no address' : 'It is not ready';
    return { use: 'not_used', why: alone.reason === 'no_endpoint' ? missing : alone.message };
  }
  const isOne = ({ key }: PermittedEndpoint) => key === alone.key;
  if (permit?.endpoints.some(isOne)) return { use: 'chosen_from' };
  if (permit?.leaving?.some(isOne))
    return { use: 'reserve', why: 'It is terminating: it is tried when none of the others takes the connection' };
  return { use: 'not_used', why: 'It is terminating, and others are ready' };
}

function unused({ address, transport, spiffeId }: Endpoint, use: Use): ShownEndpointFacts {
  const expected = spiffeId === '' ? {} : { expectedId: spiffeId };
  return { address, transport, ...expected, ...use, connections: 0, tunnels: 0, streams: 0 };
}

/** What is known of one endpoint without dialling it. */
export function endpointFacts(
  endpoint: PermittedEndpoint,
  use: Use,
  parts: EndpointParts,
  settings: Pick<OpenSettings, 'hbonePort'>,
): ShownEndpointFacts {
  const { address, transport } = endpoint;
  const aside = parts.endpoints.whySetAside(endpoint);
  return {
    address: formatAddress(address),
    transport,
    ...use,
    ...(aside && {
      setAside: { ...refusalOf(aside.outcome), failures: aside.failures, forSeconds: aside.forMs / 1000 },
    }),
    connections: parts.endpoints.connections(endpoint),
    ...(endpoint.transport === 'hbone' ? tunnelledFacts(endpoint, parts, settings) : { tunnels: 0, streams: 0 }),
    ...(endpoint.transport === 'direct' && directFacts(endpoint, parts)),
  };
}

function directFacts(endpoint: DirectEndpoint, parts: EndpointParts) {
  const refusal = refusalIn(parts, () => {
    const expectedId = expectedIdOf(endpoint);
    const { bundles } = currentIdentity(parts);
    return knownAgainst(expectedId, { bundles, revocations: parts.revocations.current() });
  });
  return { expectedId: endpoint.spiffeId, ...(refusal && { refusal }) };
}

function tunnelledFacts(endpoint: TunnelledEndpoint, parts: EndpointParts, settings: Pick<OpenSettings, 'hbonePort'>) {
  const via = formatAddress(endpoint.via ?? { ip: endpoint.address.ip, port: settings.hbonePort });
  const tunnels = [...parts.pool.tunnels()].filter(
    ({ key }) => formatAddress(key.address) === via && key.expectedId.uri === endpoint.spiffeId,
  );
  const refusal = refusalIn(parts, () => againstTunnel(endpoint, tunnels, parts, settings));
  return {
    via,
    expectedId: endpoint.spiffeId,
    ...(refusal && { refusal }),
    tunnels: tunnels.length,
    streams: tunnels.reduce((sum, tunnel) => sum + tunnel.streams(), 0),
  };
}

/** A tunnel that is open was proved already; a new one would be proved now. */
function againstTunnel(
  endpoint: TunnelledEndpoint,
  tunnels: readonly Tunnel[],
  parts: EndpointParts,
  settings: Pick<OpenSettings, 'hbonePort'>,
): HandshakeError | undefined {
  const key = tunnelKeyOf(endpoint, parts, settings);
  const trust = { bundles: key.local.bundles, revocations: parts.revocations.current() };
  if (tunnels.some((tunnel) => isUsable(tunnel, key, { ...trust, nowMs: parts.clock.now() }))) return undefined;
  return knownAgainst(key.expectedId, trust);
}

/** Why a connection would be refused before anything is dialled: what `find` finds, or throws. */
function refusalIn(parts: EndpointParts, find: () => HandshakeError | undefined): ShownRefusal | undefined {
  try {
    const against = find();
    return against && refusalBy(against);
  } catch (error) {
    const refusal = refusalBy(error);
    return refusal.reason === 'identity_expired' ? withRemedy(refusal, ownRemedies(parts.identity)) : refusal;
  }
}

function isUsable(tunnel: Tunnel, { local }: TunnelKey, circumstances: Parameters<typeof lapseOf>[1]): boolean {
  const isOfOurs = tunnel.key.local.leaf.fingerprint256 === local.leaf.fingerprint256;
  return isOfOurs && tunnel.hasRoom() && lapseOf(tunnel.proof.peer, circumstances) === undefined;
}
