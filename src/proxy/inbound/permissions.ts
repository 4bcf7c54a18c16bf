import type { PolicyState } from '../../control-api.ts';
import { DeniedError } from '../../errors.ts';
import type { InboundFloor } from '../../policy/authorize.ts';
import { authorize, decideInbound, policyDecisionOf } from '../../policy/authorize.ts';
import type { InboundPermit } from '../../policy/permit.ts';
import { outcomeOf } from '../account.ts';
import type { Cut, Ground } from '../carry.ts';
import type { ProxyParts } from '../parts.ts';

/** What inbound connections are permitted by, held against the policy for as long as they are carried. */
export interface Permissions {
  /**
   * What a connection rests on; to be asked right before its first byte. Throws `DeniedError` when the policy that is in force
   * now does not permit it any more.
   */
  ground(permit: InboundPermit): Ground;
  /**
   * The policy is another one: what it does not permit is cut, `policy_change`, a slice in each turn of the event loop. While
   * there is none that can be enforced, what is open goes on: nobody has said that it may not.
   */
  recheck(): void;
  /** How many connections are held. */
  readonly size: number;
}

/**
 * A decision takes microseconds; what a cut brings about, with two sockets and a line, up to a millisecond, most of it after the slice. What
 * is carried waits for one slice at most.
 */
export const sliceLimits = { ms: 5, cuts: 10 };

interface Held {
  readonly permit: InboundPermit;
  readonly cut: Cut;
}

export function createPermissions(
  { policy, clock }: Pick<ProxyParts, 'policy' | 'clock'>,
  floor: InboundFloor,
): Permissions {
  const held = new Set<Held>();
  let waiting: Iterator<Held> | undefined;

  /** Whether it is cut. */
  const judge = ({ permit, cut }: Held, current: PolicyState): boolean => {
    const decision = decideInbound(permit.request, current, floor);
    if (decision.kind === 'permitted') return false;
    // Where no policy is to be named, the one that allowed it is not to be named either.
    const facts = { decision: policyDecisionOf(decision) ?? {} };
    const { detail = '' } = outcomeOf(new DeniedError(decision.reason, decision.why));
    cut('policy_change', { detail, facts });
    return true;
  };

  const judgeSlice = () => {
    const current = policy.current();
    const sinceMs = clock.monotonic();
    let cuts = 0;
    while (current !== undefined && cuts < sliceLimits.cuts && clock.monotonic() - sinceMs < sliceLimits.ms) {
      const next = waiting?.next();
      if (next === undefined || next.done === true) {
        waiting = undefined;
        return;
      }
      if (held.has(next.value) && judge(next.value, current)) cuts += 1;
    }
    // When one arrives that can be enforced, all begins anew.
    if (current === undefined) waiting = undefined;
    else setImmediate(judgeSlice);
  };

  return {
    ground(permit) {
      const decidedBy = policy.current();
      // It may have changed while the application was dialled.
      const { decision } = authorize(permit.request, decidedBy, floor);
      return {
        decision: policyDecisionOf(decision),
        carry(cut) {
          const one: Held = { permit, cut };
          held.add(one);
          const current = policy.current();
          if (current !== undefined && current !== decidedBy) judge(one, current);
          return () => void held.delete(one);
        },
      };
    },
    recheck() {
      const isRunning = waiting !== undefined;
      waiting = [...held].values();
      if (!isRunning) judgeSlice();
    },
    get size() {
      return held.size;
    },
  };
}
