import type { Address } from '../../addresses.ts';
import { formatAddress } from '../../addresses.ts';
import { DeniedError } from '../../errors.ts';
import type { Slots } from '../slots.ts';
import { createSlots } from '../slots.ts';

/**
 * Connections to applications that are being made. A burst of 1,024 to an application that answers takes no longer with
 * 16 at once than with all, and fits into its queue; a port that does not answer never has all places, or all that may wait, of those that do.
 */
export const dialLimits = { perDestination: 64, waiting: 4096, waitingPerDestination: 2048 } as const;

/** Turns to dial an application. */
export interface Dials {
  /**
   * Waits for a turn in the order of asking; resolves with a function that ends it. Rejects with the signal's reason, or
   * with `DeniedError` at once when too many wait.
   */
  take(destination: Address, signal: AbortSignal): Promise<() => void>;
}

interface Port {
  readonly turns: Slots;
  waiting: number;
}

/** `places` are those of all connections; one destination gets half of them at most. */
export function createDials(places: number): Dials {
  const perDestination = Math.max(1, Math.min(dialLimits.perDestination, Math.floor(places / 2)));
  const dialled = new Map<string, Port>();
  let waiting = 0;

  const portOf = (name: string): Port => {
    const port = dialled.get(name) ?? { turns: createSlots(perDestination), waiting: 0 };
    dialled.set(name, port);
    return port;
  };
  const turn = (name: string, port: Port, release: () => void) => () => {
    release();
    // A later turn may have made the entry anew.
    if (port.turns.inUse === 0 && dialled.get(name) === port) dialled.delete(name);
  };

  return {
    async take(destination, signal) {
      const name = formatAddress(destination);
      const port = portOf(name);
      const free = port.turns.tryTake();
      if (free !== undefined) return turn(name, port, free);
      if (waiting >= dialLimits.waiting || port.waiting >= dialLimits.waitingPerDestination)
        throw new DeniedError('connection_limit', `${waiting} connections wait for applications that do not answer`);
      waiting += 1;
      port.waiting += 1;
      try {
        return turn(name, port, await port.turns.take(signal));
      } finally {
        waiting -= 1;
        port.waiting -= 1;
      }
    },
  };
}
