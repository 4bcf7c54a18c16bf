import type { Address } from '../addresses.ts';
import { formatAddress, parseAddress } from '../addresses.ts';
import type { Destination, Endpoint } from '../control-api.ts';
import { DeniedError } from '../errors.ts';
import type { OutboundPermit, PermittedEndpoint } from './permit.ts';
import { permitOutbound } from './permit.ts';

export const outboundPolicies = ['ALLOW_ANY', 'REGISTRY_ONLY'] as const;
export type OutboundPolicy = (typeof outboundPolicies)[number];

export const outboundFloors = ['plaintext', 'mutual_tls'] as const;
export type OutboundFloor = (typeof outboundFloors)[number];

/** What the registry says of a destination, once it was asked. */
export type Resolution =
  | { readonly kind: 'known'; readonly destination: Destination }
  /** Inside the mesh networks or registered, and the registry does not know it. */
  | { readonly kind: 'unknown' }
  /** Inside the mesh networks or registered, and nobody answered. */
  | { readonly kind: 'unavailable'; readonly why: string }
  /** Outside the mesh networks, and not registered; the registry was not asked. */
  | { readonly kind: 'outside' }
  /** Outside the mesh networks, and without a policy it is not known whether it is registered. */
  | { readonly kind: 'no_policy' };

export interface OutboundRules {
  readonly policy: OutboundPolicy;
  readonly minimum: OutboundFloor;
  /** This pod. */
  readonly self: { isOwnAddress(ip: string): boolean; spiffeId(): string };
}

/**
 * Whether, and how, the application's connection may leave. Throws `DeniedError`. A destination of the mesh is never
 * sent in clear because something failed: plaintext needs an endpoint that the registry declares plaintext, and the
 * pod's own floor.
 */
export function admit(original: Address, resolution: Resolution, rules: OutboundRules): OutboundPermit {
  const name = formatAddress(original);
  switch (resolution.kind) {
    case 'unavailable':
      throw new DeniedError('control_plane_unavailable', `The registry did not answer for ${name}: ${resolution.why}`);
    case 'unknown':
      throw new DeniedError('unknown_destination', `The registry does not know ${name}`);
    case 'no_policy':
      throw new DeniedError(
        'policy_unavailable',
        `No policy has arrived yet, which says whether ${name} is registered`,
      );
    case 'outside':
      return admitOutside(original, rules);
    case 'known':
      return admitKnown(name, resolution.destination, rules);
    default:
      return resolution satisfies never;
  }
}

/** A tunnel that the operator declared by hand: its endpoint and identity are the rule. */
export function admitDeclared(address: Address, via: Address | undefined, spiffeId: string): OutboundPermit {
  return permitOutbound({ service: undefined, endpoints: [tunnelled(address, spiffeId, via)] });
}

function admitOutside(original: Address, rules: OutboundRules): OutboundPermit {
  const name = formatAddress(original);
  if (rules.policy === 'REGISTRY_ONLY') {
    throw new DeniedError(
      'unknown_destination',
      `${name} is outside the mesh networks, no ServiceEntry registers it, and the outbound policy is REGISTRY_ONLY`,
    );
  }
  if (rules.minimum === 'mutual_tls') {
    throw new DeniedError(
      'mtls_required',
      `${name} is outside the mesh networks and this pod sends nothing in plaintext`,
    );
  }
  return permitOutbound({ service: undefined, endpoints: [inPlaintext(original)] });
}

/** The permits of destinations, as long as the registry's answer is the same: a Service may have a thousand endpoints. */
const permits = new WeakMap<Destination, { readonly rules: OutboundRules; readonly permit: OutboundPermit }>();

function admitKnown(name: string, destination: Destination, rules: OutboundRules): OutboundPermit {
  const last = permits.get(destination);
  if (last?.rules === rules && !hasOwn(last.permit, rules)) return last.permit;
  const permit = choosePermitted(name, destination, rules);
  // Addresses and identity of this pod can change, so whatever has to do with them is looked at each time.
  if (!hasOwn(permit, rules)) permits.set(destination, { rules, permit });
  return permit;
}

function hasOwn({ endpoints, leaving = [] }: OutboundPermit, { self }: OutboundRules): boolean {
  const isOwn = ({ address }: PermittedEndpoint) => self.isOwnAddress(address.ip);
  return endpoints.some(isOwn) || leaving.some(isOwn);
}

function choosePermitted(name: string, destination: Destination, rules: OutboundRules): OutboundPermit {
  const { service, entry, endpoints, problem, affinitySeconds } = destination;
  const shown = service ?? (entry === undefined ? name : `${name} (ServiceEntry ${entry})`);
  const serving = endpoints.filter(({ ready: isReady }) => isReady);
  // As kube-proxy does: those that are going away are used only when nobody else is left.
  const staying = serving.filter(({ terminating }) => !terminating);
  const ready = staying.length > 0 ? staying : serving;
  if (ready.length === 0)
    throw new DeniedError(
      'no_endpoint',
      `${shown} has no ready endpoint${problem === undefined ? '' : `: ${problem}`}`,
    );
  const isAllowed = ({ transport }: PermittedEndpoint) => transport !== 'plaintext' || rules.minimum === 'plaintext';
  const spoken = spokenOf(ready, rules);
  if (spoken.length === 0) throw new DeniedError('no_endpoint', `${shown} has no endpoint with an address`);
  const permitted = spoken.filter(isAllowed);
  if (permitted.length === 0) {
    throw new DeniedError('mtls_required', `${shown} has no sidecar and this pod sends nothing in plaintext`);
  }
  const affinity =
    affinitySeconds === undefined ? undefined : { destination: destination.address, idleMs: affinitySeconds * 1000 };
  // The registry's answer may be older than what goes on there, so whoever leaves is worth a try before nobody is.
  const leaving = ready === serving ? [] : serving.filter(({ terminating }) => terminating);
  return permitOutbound({
    service,
    endpoints: permitted,
    ...(leaving.length > 0 && { leaving: spokenOf(leaving, rules).filter(isAllowed) }),
    affinity,
  });
}

function spokenOf(endpoints: readonly Endpoint[], rules: OutboundRules): readonly PermittedEndpoint[] {
  return endpoints.map((endpoint) => reachedBy(endpoint, rules)).filter((endpoint) => endpoint !== undefined);
}

/** How an endpoint of the registry is dialled; undefined when it has no address. */
export function reachedBy(endpoint: Endpoint, { self }: Pick<OutboundRules, 'self'>): PermittedEndpoint | undefined {
  const address = parseAddress(endpoint.address);
  if (address === undefined) return undefined;
  // The pod's own endpoint always goes through its own inbound side: dialled as it is it would bypass the policy there.
  if (self.isOwnAddress(address.ip)) return tunnelled(address, self.spiffeId());
  const { transport, spiffeId } = endpoint;
  switch (transport) {
    case 'hbone':
      return tunnelled(address, spiffeId);
    case 'direct':
      return { transport, address, spiffeId, key: `${formatAddress(address)} ${spiffeId} directly` };
    case 'plaintext':
      return inPlaintext(address);
    default:
      return transport satisfies never;
  }
}

function tunnelled(address: Address, spiffeId: string, via?: Address): PermittedEndpoint {
  const name = `${formatAddress(address)} ${spiffeId}`;
  if (via === undefined) return { transport: 'hbone', address, spiffeId, key: name };
  return { transport: 'hbone', address, spiffeId, via, key: `${name} ${formatAddress(via)}` };
}

function inPlaintext(address: Address): PermittedEndpoint {
  return { transport: 'plaintext', address, key: formatAddress(address) };
}
