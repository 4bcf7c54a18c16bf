import { BoundedFileError, readBoundedFile } from '../bounded-file.ts';
import type { Clock } from '../clock.ts';
import { withDeadline } from './deadline.ts';

/** How long a file may take; milliseconds. */
export const patienceMs = 2000;

/** The content of a regular file. Throws `BoundedFileError`. */
export type ReadFile = (path: string) => Promise<Buffer>;

/**
 * Reads files of others, without which this sidecar goes on: one that hangs, as on a network file system whose server is
 * gone, is given up after `patienceMs`. Until its read is over no other file is begun: each would hold a thread of a pool that
 * our own files need, too.
 */
export function createPatientReader(clock: Clock, maxBytes: number, readFile = readBoundedFile): ReadFile {
  let hanging: string | undefined;
  return async (path) => {
    if (hanging !== undefined)
      throw new BoundedFileError(path, hanging === path ? 'hangs' : `is not read while ${hanging} hangs`);
    const late = () => {
      hanging = path;
      return new BoundedFileError(path, `cannot be read within ${patienceMs} ms`);
    };
    const content = readFile(path, maxBytes).finally(() => {
      hanging = undefined;
    });
    return withDeadline(clock, patienceMs, late, undefined, () => content);
  };
}
