import { watch } from 'node:fs';
import { dirname } from 'node:path';
import type { Clock } from './clock.ts';

/** Calls `onChange` when something changes beside one of the files; returns the function that stops it. */
export type WatchFiles = (paths: readonly string[], onChange: () => void) => () => void;

/**
 * Watches the folders of the files, because files are replaced by renaming and a watched file would be the old one. Only
 * a hint: events get lost, and a folder that cannot be watched is not an error. Poll as well.
 */
export const watchFiles: WatchFiles = (paths, onChange) => {
  const stops = [...new Set(paths.map((path) => dirname(path)))].map((folder) => {
    try {
      const watcher = watch(folder, { persistent: false }, onChange);
      watcher.on('error', () => watcher.close());
      return () => watcher.close();
    } catch {
      return () => undefined;
    }
  });
  return () => {
    for (const stop of stops) stop();
  };
};

export interface FollowedFiles {
  readonly paths: readonly string[];
  readonly pollIntervalMs: number;
}

/** Whoever replaces several files makes several events; milliseconds. */
const settleMs = 200;

/**
 * Calls `look` at once, a moment after something has changed beside one of the files, and at each poll; one call at a time.
 * Resolves when the call that runs, if any, is over after `close`. What `look` throws ends the process.
 */
export function followFiles(
  { clock, watch: watchThem = watchFiles }: { readonly clock: Clock; readonly watch?: WatchFiles | undefined },
  { paths, pollIntervalMs }: FollowedFiles,
  look: () => Promise<void>,
): { close(): Promise<void> } {
  const stopping = new AbortController();
  /** Also set while the files are being read: what was read may be old then. */
  let hasChanged = false;
  let wake: () => void = () => undefined;

  const untilNextLook = async () => {
    if (!hasChanged) {
      const changed = new AbortController();
      wake = () => changed.abort();
      const awake = AbortSignal.any([changed.signal, stopping.signal]);
      await clock.sleep(pollIntervalMs, awake).catch(() => stopping.signal.throwIfAborted());
    }
    if (hasChanged) await clock.sleep(settleMs, stopping.signal);
    hasChanged = false;
  };
  const run = async () => {
    while (!stopping.signal.aborted) {
      await look();
      await untilNextLook();
    }
  };

  const stopWatching = watchThem(paths, () => {
    hasChanged = true;
    wake();
  });
  const running = run().catch((error: unknown) => {
    if (!stopping.signal.aborted) throw error;
  });
  return {
    async close() {
      stopping.abort(new Error('The files are followed no more'));
      stopWatching();
      await running;
    },
  };
}
