import type { Clock } from '../../clock.ts';

/** Addresses that the control plane does not know, for a short while: a port scan must not become a flood of questions. */
export interface UnknownAddresses {
  has(key: string): boolean;
  add(key: string): void;
  delete(key: string): void;
}

/** How long it is believed that an address is not known: a new Service is seen within this time; milliseconds. */
const memoryMs = 1000;
const maxAddresses = 10_000;

export function createUnknownAddresses(clock: Clock): UnknownAddresses {
  const until = new Map<string, number>();
  return {
    has(key) {
      const untilMs = until.get(key);
      if (untilMs === undefined) return false;
      if (untilMs > clock.monotonic()) return true;
      until.delete(key);
      return false;
    },
    add(key) {
      until.delete(key);
      const [oldest] = until.keys();
      if (until.size >= maxAddresses && oldest !== undefined) until.delete(oldest);
      until.set(key, clock.monotonic() + memoryMs);
    },
    delete: (key) => void until.delete(key),
  };
}
