import { mkdir, open, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigurationError, codeOf, FailureError, messageOf, RemoraError } from '../errors.ts';
import { SystemCallError, tryLock } from '../libc.ts';
import { writeError } from './atomic-file.ts';
import type { AuthorityFile, AuthorityKeys, AuthorityTexts } from './authority-files.ts';
import {
  authorityFiles,
  authorityProblems,
  createAuthorityKeys,
  filesToRead,
  isSecret,
  octal,
  parseAuthorityKeys,
  writeAuthorityFolder,
} from './authority-files.ts';
import { settleRoots } from './root-steps.ts';

const folderName = 'authority';
const draftPrefix = '.authority-';

/**
 * The keys in `<directory>/authority`, made there when that folder does not exist. The folder appears with all of its
 * files by one rename, so that a start that is killed leaves none or a complete one; folder 0700, files 0600. Throws
 * `ConfigurationError` with every problem when what is there is incomplete, does not fit together or can be read by others.
 */
export async function openStateDirectory(
  directory: string,
  trustDomain: string,
  nowMs: number,
): Promise<AuthorityKeys> {
  const folder = join(directory, folderName);
  if (!(await exists(folder))) await createFolder(directory, createAuthorityKeys(trustDomain, nowMs));
  await removeDrafts(directory);
  await settle(folder);
  const keys = parseAuthorityKeys(folder, await readContents(folder));
  const problems = authorityProblems(keys, folder, trustDomain, nowMs);
  if (problems.length > 0) throw new ConfigurationError(problems);
  return keys;
}

/**
 * Keeps every other control plane from `<directory>/authority`, which is made when it does not exist, until it is closed or this
 * process ends. Throws `FailureError` while another one has it, and as writing does. Where the file system has no locks, nobody is
 * kept out.
 */
export async function lockStateDirectory(
  directory: string,
  trustDomain: string,
  nowMs: number,
): Promise<{ close(): Promise<void> }> {
  const folder = join(directory, folderName);
  if (!(await exists(folder))) await createFolder(directory, createAuthorityKeys(trustDomain, nowMs));
  const handle = await open(folder).catch((error: unknown) => {
    throw writeError(folder, error);
  });
  if (isLocked(handle.fd)) return handle;
  await handle.close();
  throw new FailureError(`A control plane that runs already has ${folder}, expected one for each state directory`);
}

function isLocked(fd: number): boolean {
  try {
    return tryLock(fd);
  } catch (error) {
    if (error instanceof SystemCallError) return true;
    throw error;
  }
}

/** The folder of the keys, in a state directory. */
export function authorityFolder(directory: string): string {
  return join(directory, folderName);
}

/** The keys of a control plane that has already run; throws `ConfigurationError`. */
export async function readStateDirectory(directory: string): Promise<AuthorityKeys> {
  const folder = join(directory, folderName);
  if (await exists(folder)) return parseAuthorityKeys(folder, await readContents(folder));
  throw new ConfigurationError(
    `${folder} does not exist, expected the state directory of a control plane that has run`,
  );
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw new ConfigurationError(`Cannot read ${path}: ${messageOf(error)}`, { cause: error });
  }
}

async function createFolder(directory: string, keys: AuthorityKeys): Promise<void> {
  try {
    await makeFolder(directory);
    await writeAuthorityFolder(join(directory, folderName), join(directory, draftPrefix), keys);
  } catch (error) {
    // Another control plane that started at the same time was first: its keys are as good, and they are what is read.
    if (await exists(join(directory, folderName))) return;
    throw writeError(join(directory, folderName), error);
  }
}

/** One level only: the folder above it must be there, and Node.js's recursive way never ends in some file systems. */
async function makeFolder(directory: string): Promise<void> {
  try {
    await mkdir(directory, { mode: 0o700 });
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error;
  }
}

/** What starts that were killed, or were second, left behind. */
async function removeDrafts(directory: string): Promise<void> {
  const names = await readdir(directory).catch(() => []);
  for (const name of names.filter((one) => one.startsWith(draftPrefix))) {
    await rm(join(directory, name), { recursive: true, force: true }).catch(() => undefined);
  }
}

async function settle(folder: string): Promise<void> {
  try {
    await settleRoots(folder);
  } catch (error) {
    throw error instanceof RemoraError ? error : writeError(folder, error);
  }
}

async function readContents(folder: string): Promise<AuthorityTexts> {
  const problems: string[] = [];
  const texts: Partial<Record<AuthorityFile, string>> = {};
  const { mode } = await stat(folder);
  if ((mode & 0o022) !== 0) problems.push(`${folder} can be written by others (mode ${octal(mode)}), expected 0700`);
  for (const name of filesToRead(await readdir(folder))) {
    const path = join(folder, authorityFiles[name]);
    try {
      texts[name] = await readPrivately(path, name);
    } catch (error) {
      problems.push(error instanceof ConfigurationError ? error.message : absence(path, folder, error));
    }
  }
  if (problems.length > 0) throw new ConfigurationError(problems);
  return texts;
}

async function readPrivately(path: string, name: AuthorityFile): Promise<string> {
  const { mode } = await stat(path);
  if (isSecret(name) && (mode & 0o077) !== 0) {
    throw new ConfigurationError(`${path} can be read by others (mode ${octal(mode)}), expected 0600`);
  }
  return readFile(path, 'utf8');
}

function absence(path: string, folder: string, error: unknown): string {
  if (codeOf(error) !== 'ENOENT') return `Cannot read ${path}: ${messageOf(error)}`;
  return `${path} is missing, restore it, or move ${folder} away to begin with a new authority that nobody trusts yet`;
}
