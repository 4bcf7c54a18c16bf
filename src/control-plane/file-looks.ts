import type { Clock, Timer } from '../clock.ts';
import type { WatchFiles } from '../file-watch.ts';
import { watchFiles } from '../file-watch.ts';

/** Looks at files again and again, one look at a time. */
export interface FileLooks {
  /** Waits for the look that runs. */
  close(): Promise<void>;
}

/** A file that is not replaced by a rename is written in pieces; a look at half of it would find nothing but a mistake. */
export const fileLookTimesMs = { poll: 5_000, settle: 50 } as const;

/**
 * Calls `look` soon after something changes beside one of the files, and at each poll, because events get lost. A change
 * during a look is looked at again. `look` must not reject.
 */
export function lookAtFiles(
  { clock, watch = watchFiles }: { readonly clock: Clock; readonly watch?: WatchFiles | undefined },
  paths: readonly string[],
  look: () => Promise<void>,
): FileLooks {
  let running: Promise<void> | undefined;
  let hasChanged = false;
  let soon: Timer | undefined;
  let isClosed = false;

  const lookNow = () => {
    soon?.cancel();
    soon = undefined;
    if (isClosed) return;
    hasChanged = running !== undefined;
    if (hasChanged) return;
    running = look().finally(() => {
      running = undefined;
      if (hasChanged) lookNow();
    });
  };
  /** The first change sets the time, so that changes without end cannot put the look off for ever. */
  const lookSoon = () => {
    if (!isClosed) soon ??= clock.after(fileLookTimesMs.settle, lookNow);
  };
  const poll = () => {
    timer = clock.after(fileLookTimesMs.poll, poll);
    lookNow();
  };
  let timer = clock.after(fileLookTimesMs.poll, poll);
  const stopWatching = watch(paths, lookSoon);
  return {
    async close() {
      isClosed = true;
      stopWatching();
      timer.cancel();
      soon?.cancel();
      await running;
    },
  };
}
