import { open, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { readBoundedFile } from '../../bounded-file.ts';
import type { Clock } from '../../clock.ts';
import { ConfigurationError, codeOf, FailureError, messageOf, UnavailableError } from '../../errors.ts';
import { tryLock } from '../../libc.ts';
import { writeError, writeFileAtomically } from '../atomic-file.ts';
import { octal } from '../authority-files.ts';
import type { RevocationList } from './list.ts';
import { emptyList, listLimits, parseRevocationList, printRevocationList, RevocationListError } from './list.ts';

/** Where it is in a state directory. */
export const revocationsFileName = 'revocations.json';

/** The list in a file; undefined when there is no file. Throws `ConfigurationError`, which names the file and each problem. */
export async function readRevocationFile(path: string): Promise<RevocationList | undefined> {
  const refusal = ({ mode }: { readonly mode: number }) =>
    (mode & 0o002) === 0 ? undefined : `can be written by everybody (mode ${octal(mode)})`;
  try {
    return parseRevocationList((await readBoundedFile(path, listLimits.fileBytes, refusal)).toString());
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    if (error instanceof RevocationListError)
      throw new ConfigurationError(
        error.problems.map((problem) => `${path}: ${problem}`),
        { cause: error },
      );
    throw new ConfigurationError(`${messageOf(error)}, expected a file of revocations`, { cause: error });
  }
}

/** How long a change waits for another one that is being made. */
export const lockPatienceMs = 10_000;
const lockIntervalMs = 20;

/**
 * Changes a file of revocations as a whole, one change at a time, whoever else is at it on this host; a new file gets
 * `mode`. `change` returns undefined to leave the file as it is. Throws `RemoraError`.
 */
export async function changeRevocationFile(
  clock: Clock,
  path: string,
  mode: number,
  change: (list: RevocationList) => RevocationList | undefined,
): Promise<void> {
  const target = await targetOf(path);
  await using _lock = await lockFolder(clock, dirname(target));
  const before = (await readRevocationFile(target)) ?? emptyList;
  const after = change(before);
  if (after !== undefined) await writeFileAtomically(target, printed(path, after), await modeOf(target, mode));
}

function printed(path: string, list: RevocationList): string {
  try {
    return printRevocationList(list);
  } catch (error) {
    throw new FailureError(`Cannot write ${path}: ${messageOf(error)}`, { cause: error });
  }
}

/** Behind a link the file itself is replaced, not the link. */
async function targetOf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw writeError(path, error);
  }
  try {
    return join(await realpath(dirname(path)), basename(path));
  } catch (error) {
    if (codeOf(error) === 'ENOENT')
      throw new FailureError(`Cannot write ${path}: the folder ${dirname(path)} does not exist`, { cause: error });
    throw writeError(path, error);
  }
}

async function modeOf(path: string, mode: number): Promise<number> {
  try {
    return (await stat(path)).mode & 0o777;
  } catch {
    return mode;
  }
}

/** The folder and not the file, which each change replaces. */
async function lockFolder(clock: Clock, folder: string): Promise<AsyncDisposable> {
  const handle = await open(folder, 'r').catch((error: unknown) => {
    throw writeError(folder, error);
  });
  const untilMs = clock.monotonic() + lockPatienceMs;
  try {
    while (!tryLock(handle.fd)) {
      if (clock.monotonic() > untilMs)
        throw new UnavailableError(`Somebody else has been changing ${folder} for 10 s, expected an end of that`);
      await clock.sleep(lockIntervalMs);
    }
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}
