import type { Clock } from '../clock.ts';
import { createListeners } from '../listeners.ts';
import type { RootSet } from './root-set.ts';

/** The roots of now, which a rotation replaces while they are used. */
export interface HeldRoots {
  readonly current: RootSet;
  /** Grows with each change of the roots, and from one run to the next. */
  readonly sequence: number;
  replace(roots: RootSet): void;
  /** Calls `listener` after each change, until the returned function is called. */
  subscribe(listener: () => void): () => void;
}

export function holdRoots(initial: RootSet, clock: Clock): HeldRoots {
  const listeners = createListeners();
  // Seconds since the epoch: nothing is kept between two runs, and the next one goes on above this one.
  const sequenceNow = () => Math.floor(clock.now() / 1000);
  let current = initial;
  let sequence = sequenceNow();
  return {
    get current() {
      return current;
    },
    get sequence() {
      return sequence;
    },
    replace(roots) {
      current = roots;
      sequence = Math.max(sequence + 1, sequenceNow());
      listeners.tell();
    },
    subscribe: listeners.subscribe,
  };
}
