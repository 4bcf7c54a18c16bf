import type { Account, Established } from './account.ts';
import type { Leg } from './leg.ts';
import type { ProxyParts } from './parts.ts';
import type { Proof } from './proof.ts';
import type { RelayLimits } from './relay.ts';
import { relay } from './relay.ts';

/**
 * The last two stages of every connection: relays until both sides have ended, then closes the account. A stop waits for
 * it and resets it at the drain deadline. What is carried in a tunnel is cut when its proof no longer holds.
 */
export async function carry(
  account: Account,
  facts: Established,
  downstream: Leg,
  upstream: Leg,
  { clock, drain }: Pick<ProxyParts, 'clock' | 'drain'>,
  limits: RelayLimits,
  proof?: Proof,
): Promise<void> {
  const carried = relay(downstream, upstream, limits, clock);
  account.established(facts, carried.bytes, proof);
  const untrack = drain.track(() => carried.abort('drain_deadline'));
  const forget = proof?.carry(carried.abort);
  const reason = await carried.closed;
  forget?.();
  untrack();
  account.close({ kind: 'closed', reason });
}
