import { randomBytes } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import type { RemoraError } from '../errors.ts';
import { codeOf, FailureError, messageOf, PermissionError } from '../errors.ts';

/**
 * Writes a file as a whole: whoever opens `path` finds the old text or the new one, also after a power cut. Throws
 * `PermissionError` or `FailureError`, also where there is no folder for it.
 */
export async function writeFileAtomically(path: string, text: string, mode: number): Promise<void> {
  const draft = `${path}.${randomBytes(6).toString('hex')}.new`;
  try {
    await writeDurably(draft, text, mode);
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true }).catch(() => undefined);
    throw writeError(path, error);
  }
}

/** Creates `path`, which must not exist, and waits until the disk has it. */
export async function writeDurably(path: string, text: string, mode: number): Promise<void> {
  const file = await open(path, 'wx', mode);
  try {
    // Again, because the umask has cut the mode of the open.
    await file.chmod(mode);
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** What the operator can do about a write that failed. */
export function writeError(path: string, error: unknown): RemoraError {
  const isForbidden = ['EACCES', 'EPERM', 'EROFS'].includes(codeOf(error));
  const message = `Cannot write ${path}: ${messageOf(error)}`;
  return isForbidden ? new PermissionError(message, { cause: error }) : new FailureError(message, { cause: error });
}
