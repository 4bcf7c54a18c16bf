import type { ClosedReason } from '../outcomes.ts';
import type { PolicyDecision } from '../refusal-facts.ts';
import type { Account, Established, Outcome } from './account.ts';
import type { Leg } from './leg.ts';
import type { ProxyParts } from './parts.ts';
import type { Proof } from './proof.ts';
import type { RelayLimits } from './relay.ts';
import { relay } from './relay.ts';

/** What a connection rests on: it lasts as long as that holds. */
export interface Ground {
  /** Calls `cut` once, when it no longer holds; at once when that is so already. The returned function says that the connection has ended. */
  carry(cut: Cut): () => void;
  /** For the log line of the connection. */
  readonly decision?: PolicyDecision | undefined;
}

/** Ends a connection, and says what exactly was found. */
export type Cut = (reason: ClosedReason, found?: Pick<Outcome, 'detail' | 'facts'>) => void;

/** Undefined in plaintext, and where nobody was asked for permission. */
export interface Grounds {
  readonly proof?: Proof | undefined;
  readonly permission?: Ground | undefined;
}

/**
 * The last two stages of every connection: relays until both sides have ended, then closes the account. A stop waits for
 * it and resets it at the drain deadline. It is cut when what it rests on no longer holds.
 */
export async function carry(
  account: Account,
  facts: Established,
  downstream: Leg,
  upstream: Leg,
  { clock, drain }: Pick<ProxyParts, 'clock' | 'drain'>,
  limits: RelayLimits,
  { proof, permission }: Grounds = {},
): Promise<void> {
  const carried = relay(downstream, upstream, limits, clock);
  const decision = permission?.decision;
  account.established(decision === undefined ? facts : { ...facts, decision }, carried.bytes, proof);
  const untrack = drain.track(() => carried.abort('drain_deadline'));
  let cutFor: (Pick<Outcome, 'detail' | 'facts'> & { readonly reason: ClosedReason }) | undefined;
  const cut: Cut = (reason, found) => {
    cutFor ??= { reason, ...found };
    carried.abort(reason);
  };
  const forget = [proof?.carry(cut), permission?.carry(cut)];
  const reason = await carried.closed;
  for (const end of forget) end?.();
  untrack();
  // It may have ended by itself in the same turn: then that counts.
  if (cutFor?.reason === reason) return account.close({ kind: 'closed', ...cutFor });
  const doubt = reason === 'eof' || reason === 'reset' ? upstream.doubt?.() : undefined;
  account.close({ kind: 'closed', reason, ...(doubt !== undefined && { detail: doubt }) });
}
