import { watch } from 'node:fs';
import { dirname } from 'node:path';

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
