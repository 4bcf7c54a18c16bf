import type { Clock } from './clock.ts';
import type { ReadinessGate } from './outcomes.ts';
import { readinessGates } from './outcomes.ts';

/** Named gates that must all be open before the sidecar calls itself ready. */
export interface Readiness {
  open(gate: ReadinessGate): void;
  /** `why` is one sentence for a person, shown by the readiness probe. */
  close(gate: ReadinessGate, why: string): void;
  /** The closed gates with their reasons; empty when ready. */
  closed(): ReadonlyMap<ReadinessGate, string>;
  isReady(): boolean;
}

export function createReadiness(gates: readonly ReadinessGate[] = readinessGates): Readiness {
  const closed = new Map<ReadinessGate, string>(gates.map((gate) => [gate, 'Not yet']));
  return {
    open: (gate) => void closed.delete(gate),
    close: (gate, why) => void closed.set(gate, why),
    closed: () => closed,
    isReady: () => closed.size === 0,
  };
}

/**
 * Work that a stop waits for. A slot is reserved before the work begins, so that a drain misses nobody.
 */
export interface Drain {
  readonly size: number;
  /** Registers running work; `force` ends it at once. Call the returned function when the work has ended; idempotent. */
  track(force: () => void): () => void;
  /** Resolves when nothing is tracked, or after `deadlineMs`; then forces the rest. Resolves with how many were forced. */
  finish(deadlineMs: number): Promise<number>;
}

export function createDrain(clock: Clock): Drain {
  const running = new Set<() => void>();
  let onEmpty: (() => void) | undefined;

  const untilEmpty = (deadlineMs: number) =>
    new Promise<void>((resolve) => {
      if (running.size === 0) return resolve();
      const timer = clock.after(deadlineMs, resolve);
      onEmpty = () => {
        timer.cancel();
        resolve();
      };
    });

  return {
    get size() {
      return running.size;
    },
    track(force) {
      const entry = () => force();
      running.add(entry);
      return () => {
        running.delete(entry);
        if (running.size === 0) onEmpty?.();
      };
    },
    async finish(deadlineMs) {
      await untilEmpty(deadlineMs);
      const rest = [...running];
      for (const force of rest) force();
      return rest.length;
    },
  };
}
