import type { Stats } from 'node:fs';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { codeOf } from './errors.ts';

/** A file that cannot be read as expected; the message begins with the path and never carries a part of the content. */
export class BoundedFileError extends Error {
  /** Of the system, such as `ENOENT`; empty when the file itself is not as expected. */
  readonly code: string;

  constructor(path: string, why: string, code = '') {
    super(`${path} ${why}`);
    this.name = 'BoundedFileError';
    this.code = code;
  }
}

/**
 * The content of a regular file of at most `maxBytes`; `refusal` says what is wrong with the file that was opened, if
 * anything, before it is read. Throws `BoundedFileError`.
 */
export async function readBoundedFile(
  path: string,
  maxBytes: number,
  refusal: (file: Stats) => string | undefined = () => undefined,
): Promise<Buffer> {
  try {
    // Without O_NONBLOCK a pipe in the place of the file would hold a thread of the pool forever.
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stats = await file.stat();
    if (!stats.isFile()) throw new BoundedFileError(path, 'is not a regular file');
    const why = refusal(stats);
    if (why !== undefined) throw new BoundedFileError(path, why);
    const buffer = Buffer.alloc(maxBytes + 1);
    let length = 0;
    for (let bytesRead = -1; bytesRead !== 0 && length < buffer.length; length += bytesRead) {
      ({ bytesRead } = await file.read(buffer, length, buffer.length - length, length));
    }
    if (length > maxBytes) throw new BoundedFileError(path, `is larger than ${maxBytes} bytes`);
    return buffer.subarray(0, length);
  } catch (error) {
    if (error instanceof BoundedFileError) throw error;
    const code = codeOf(error);
    throw new BoundedFileError(path, `cannot be read (${code})`, code);
  }
}
