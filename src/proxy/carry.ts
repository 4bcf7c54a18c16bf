import type { Account, Established } from './account.ts';
import type { Leg } from './leg.ts';
import type { ProxyParts } from './parts.ts';
import type { RelayLimits } from './relay.ts';
import { relay } from './relay.ts';

/**
 * The last two stages of every connection: relays until both sides have ended, then closes the account. A stop waits for
 * it and resets it at the drain deadline.
 */
export async function carry(
  account: Account,
  facts: Established,
  downstream: Leg,
  upstream: Leg,
  { clock, drain }: Pick<ProxyParts, 'clock' | 'drain'>,
  limits: RelayLimits,
): Promise<void> {
  const carried = relay(downstream, upstream, limits, clock);
  account.established(facts, carried.bytes);
  const untrack = drain.track(() => carried.abort('drain_deadline'));
  const reason = await carried.closed;
  untrack();
  account.close({ kind: 'closed', reason });
}
