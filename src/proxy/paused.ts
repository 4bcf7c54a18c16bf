import type { Clock, Timer } from '../clock.ts';
import type { Leg } from './leg.ts';

/** Time between two looks at a leg that is paused. */
export const pausedCheckIntervalMs = 1000;

/**
 * Looks are made together, in ten groups: each wake-up costs more than many looks, and all legs in one group would hold up
 * the others.
 */
const groupMs = 100;

/**
 * Finds out that the peer of a leg went away while the leg was paused for a slow other side: nothing is read then, and
 * nothing else would tell before the other side moves, which may be never. Call the answer at each pause. A peer that has
 * ended is not looked at again: all it had to say is here, and waits for the other side as long as that takes.
 */
export function watchPaused(leg: Leg, clock: Clock, onCut: () => void): () => void {
  const { stream, peerState } = leg;
  let timer: Timer | undefined;
  let isDone = peerState === undefined;

  const look = () => {
    timer = undefined;
    if (isDone || !stream.isPaused()) return;
    const state = peerState?.();
    isDone = state !== 'open';
    if (state === 'cut') onCut();
    else watch();
  };
  // Not cancelled when the leg is resumed: a busy leg pauses often, and pays for one timer in each interval.
  const watch = () => {
    if (isDone) return;
    timer ??= clock.after(pausedCheckIntervalMs - (clock.monotonic() % groupMs), look);
  };
  stream.once('close', () => {
    isDone = true;
    timer?.cancel();
  });
  return watch;
}
