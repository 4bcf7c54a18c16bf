import type { Address } from '../../addresses.ts';
import { formatAddress } from '../../addresses.ts';
import { DeniedError } from '../../errors.ts';
import type { Slots } from '../slots.ts';
import { createSlots } from '../slots.ts';

/**
 * Connections to applications that are being made. A burst of 1,024 to an application that answers takes no longer with
 * 16 at once than with all, and fits into its queue; a port that does not answer never has all places of those that do.
 */
export const dialLimits = { perDestination: 64, waiting: 4096 } as const;

/** Turns to dial an application. */
export interface Dials {
  /**
   * Waits for a turn in the order of asking; resolves with a function that ends it. Rejects with the signal's reason, or
   * with `DeniedError` at once when too many wait.
   */
  take(destination: Address, signal: AbortSignal): Promise<() => void>;
}

/** `places` are those of all connections; one destination gets half of them at most. */
export function createDials(places: number): Dials {
  const perDestination = Math.max(1, Math.min(dialLimits.perDestination, Math.floor(places / 2)));
  const dialled = new Map<string, Slots>();
  let waiting = 0;

  const turn = (name: string, slots: Slots, release: () => void) => () => {
    release();
    // A later turn may have made the entry anew.
    if (slots.inUse === 0 && dialled.get(name) === slots) dialled.delete(name);
  };

  return {
    async take(destination, signal) {
      const name = formatAddress(destination);
      const slots = dialled.get(name) ?? createSlots(perDestination);
      dialled.set(name, slots);
      const free = slots.tryTake();
      if (free !== undefined) return turn(name, slots, free);
      if (waiting >= dialLimits.waiting)
        throw new DeniedError('connection_limit', `${waiting} connections wait for applications that do not answer`);
      waiting += 1;
      try {
        return turn(name, slots, await slots.take(signal));
      } finally {
        waiting -= 1;
      }
    },
  };
}
