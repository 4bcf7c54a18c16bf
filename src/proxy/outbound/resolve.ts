import type { Address } from '../../addresses.ts';
import { formatAddress } from '../../addresses.ts';
import type { Destination, PolicyState } from '../../control-api.ts';
import { codeOf, messageOf } from '../../errors.ts';
import type { Resolution } from '../../policy/admit.ts';
import { isRegistered } from '../../policy/registered.ts';
import { withDeadline } from '../deadline.ts';
import type { ProxyParts } from '../parts.ts';

/** What the registry answers; implemented by the agent's cache. */
export type Lookup =
  | { readonly kind: 'known'; readonly destination: Destination }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'unavailable'; readonly why: string };

export interface Registry {
  /** Must answer, or reject, once the signal is aborted. */
  lookup(address: Address, signal: AbortSignal): Promise<Lookup>;
}

export interface ResolveSettings {
  /** The ranges inside of which an address that the registry does not know is refused, and not passed through. */
  readonly meshNetworks: { has(ip: string): boolean };
  readonly resolveTimeoutMs: number;
}

class ResolveTimeout extends Error {
  readonly code = 'RESOLVE_TIMEOUT';
}

export interface ResolveParts extends Pick<ProxyParts, 'clock' | 'policy'> {
  readonly registry: Registry;
}

/**
 * Where a destination lies: inside the mesh networks, outside them in what a ServiceEntry registers, or in neither. While there is
 * no policy, nobody knows what is registered.
 */
export function placeOf(
  original: Address,
  policy: PolicyState | undefined,
  { meshNetworks }: Pick<ResolveSettings, 'meshNetworks'>,
): 'mesh' | 'registered' | 'outside' | 'no_policy' {
  if (meshNetworks.has(original.ip)) return 'mesh';
  if (policy === undefined) return 'no_policy';
  return isRegistered(policy, original) ? 'registered' : 'outside';
}

/**
 * What is known of a destination; the registry is asked for what is in the mesh networks or registered, and for nothing else.
 * Rejects only with the outer signal's reason.
 */
export async function resolve(
  original: Address,
  { registry, policy, clock }: ResolveParts,
  settings: ResolveSettings,
  outer: AbortSignal,
): Promise<Resolution> {
  const place = placeOf(original, policy.current(), settings);
  if (place === 'outside' || place === 'no_policy') return { kind: place };
  const late = () =>
    new ResolveTimeout(`no answer for ${formatAddress(original)} within ${settings.resolveTimeoutMs} ms`);
  try {
    const found = await withDeadline(clock, settings.resolveTimeoutMs, late, outer, (signal) =>
      registry.lookup(original, signal),
    );
    outer.throwIfAborted();
    return found;
  } catch (error) {
    if (codeOf(error) !== 'RESOLVE_TIMEOUT') throw error;
    return { kind: 'unavailable', why: messageOf(error) };
  }
}
