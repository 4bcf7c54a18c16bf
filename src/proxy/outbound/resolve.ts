import type { Address } from '../../addresses.ts';
import { formatAddress } from '../../addresses.ts';
import type { Clock } from '../../clock.ts';
import type { Destination } from '../../control-api.ts';
import { codeOf, messageOf } from '../../errors.ts';
import type { Resolution } from '../../policy/admit.ts';
import { withDeadline } from '../deadline.ts';

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

/** What is known of a destination; addresses outside the mesh networks are not asked for. Rejects only with the outer signal's reason. */
export async function resolve(
  original: Address,
  registry: Registry,
  settings: ResolveSettings,
  clock: Clock,
  outer: AbortSignal,
): Promise<Resolution> {
  if (!settings.meshNetworks.has(original.ip)) return { kind: 'outside' };
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
