import type { Clock } from '../clock.ts';
import { timestamp } from '../clock.ts';
import type { Readiness } from '../lifecycle.ts';
import type { ReadinessGate } from '../outcomes.ts';

/** Remembers since when each gate is closed. */
export interface TimedReadiness extends Readiness {
  /** RFC 3339; undefined while it is open. Another reason for the same gate begins nothing anew. */
  closedSince(gate: ReadinessGate): string | undefined;
}

/** The same gates; those that are closed now are so since now. */
export function timedReadiness(clock: Pick<Clock, 'now'>, readiness: Readiness): TimedReadiness {
  const since = new Map([...readiness.closed().keys()].map((gate) => [gate, clock.now()]));
  return {
    ...readiness,
    open(gate) {
      since.delete(gate);
      readiness.open(gate);
    },
    close(gate, why) {
      if (!since.has(gate)) since.set(gate, clock.now());
      readiness.close(gate, why);
    },
    closedSince(gate) {
      const atMs = since.get(gate);
      return atMs === undefined ? undefined : timestamp(atMs);
    },
  };
}
