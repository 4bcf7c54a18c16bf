import type { InboundFloor } from '../../policy/authorize.ts';
import { authorize, decideInbound } from '../../policy/authorize.ts';
import type { InboundPermit } from '../../policy/permit.ts';
import type { Ground } from '../carry.ts';
import type { ProxyParts } from '../parts.ts';

/** What inbound connections are permitted by, held against the policy for as long as they are carried. */
export interface Permissions {
  /** What a connection rests on. Throws `DeniedError` when the policy that is in force now does not permit it any more. */
  ground(permit: InboundPermit): Ground;
  /** The policy is another one: what it does not permit is cut, `policy_change`, a slice in each turn of the event loop. */
  recheck(): void;
  /** How many connections are held. */
  readonly size: number;
}

/** Some 20 µs each at the worst: no more than a few milliseconds in one turn. */
const sliceSize = 200;

interface Held {
  readonly permit: InboundPermit;
  cut(): void;
}

export function createPermissions({ policy }: Pick<ProxyParts, 'policy'>, floor: InboundFloor): Permissions {
  const held = new Set<Held>();
  let waiting: Iterator<Held> | undefined;

  const judgeSlice = () => {
    const current = policy.current();
    for (let judged = 0; judged < sliceSize; judged += 1) {
      const next = waiting?.next();
      if (next === undefined || next.done === true) {
        waiting = undefined;
        return;
      }
      const { permit, cut } = next.value;
      if (held.has(next.value) && decideInbound(permit.request, current, floor).kind === 'refused') cut();
    }
    setImmediate(judgeSlice);
  };

  return {
    ground(permit) {
      // It may have changed while the application was dialled.
      authorize(permit.request, policy.current(), floor);
      return {
        carry(cut) {
          const one: Held = { permit, cut: () => cut('policy_change') };
          held.add(one);
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
