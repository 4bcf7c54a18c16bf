import type { Stats } from 'node:fs';
import { constants } from 'node:fs';
import { lstat, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { readBoundedFile } from '../bounded-file.ts';
import { ConfigurationError, codeOf, FailureError, messageOf } from '../errors.ts';
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

/** A key has 240 bytes, a root has 700. */
const maxFileBytes = 64 * 1024;

/**
 * The keys that lie right in `directory`, which somebody else keeps: a Secret that Kubernetes mounts, with its symbolic
 * links, its owner root and a group that may read. Nothing is ever written. Throws `ConfigurationError` with every problem
 * when the world can read a key or change a file, or when they are incomplete, do not fit together or have expired.
 */
export async function openAuthorityDirectory(
  directory: string,
  trustDomain: string,
  nowMs: number,
): Promise<AuthorityKeys> {
  const keys = await readAuthorityDirectory(directory);
  const problems = authorityProblems(keys, directory, trustDomain, nowMs);
  if (problems.length > 0) throw new ConfigurationError(problems);
  return keys;
}

/** The same without a look at trust domain and dates. */
export async function readAuthorityDirectory(directory: string): Promise<AuthorityKeys> {
  return parseAuthorityKeys(directory, await readAuthorityTexts(directory));
}

async function readAuthorityTexts(directory: string): Promise<AuthorityTexts> {
  const problems = await folderProblems(directory);
  const texts: Partial<Record<AuthorityFile, string>> = {};
  for (const name of problems.length > 0 ? [] : filesToRead(await readdir(directory).catch(() => []))) {
    const path = join(directory, authorityFiles[name]);
    try {
      texts[name] = (await readBoundedFile(path, maxFileBytes, modeRefusal(name))).toString();
    } catch (error) {
      problems.push(
        `${messageOf(error)}, expected a file that remora authority made, for this user or its group alone`,
      );
    }
  }
  if (problems.length > 0) throw new ConfigurationError(problems);
  return texts;
}

async function folderProblems(directory: string): Promise<string[]> {
  let mode: number;
  try {
    ({ mode } = await stat(directory));
  } catch (error) {
    return [`${directory} cannot be read (${codeOf(error)}), expected the folder that remora authority makes`];
  }
  if ((mode & constants.S_IFMT) !== constants.S_IFDIR) return [`${directory} is not a folder, expected one`];
  // Kubernetes mounts Secrets with mode 1777: there nobody replaces the file of another.
  const isSticky = (mode & 0o1000) !== 0;
  if ((mode & 0o002) === 0 || isSticky) return [];
  return [`${directory} can be written by everybody (mode ${octal(mode)}), expected 0700`];
}

/** The group may read: it is how a pod that is not root is given a Secret. The root is no secret. */
function modeRefusal(name: AuthorityFile): (file: Stats) => string | undefined {
  return ({ mode }) => {
    if ((mode & 0o002) !== 0) return `can be written by everybody (mode ${octal(mode)})`;
    if ((mode & 0o004) !== 0 && isSecret(name)) return `can be read by everybody (mode ${octal(mode)})`;
    return undefined;
  };
}

/**
 * Makes a new authority in `directory`: all three files or none, folder 0700, files 0600. Throws `FailureError` when there
 * is something already, which stays as it is, and `PermissionError` when this user may not write there.
 */
export async function createAuthorityDirectory(directory: string, trustDomain: string, nowMs: number): Promise<void> {
  const folder = resolve(directory);
  await checkPlace(directory, folder);
  try {
    const draft = join(dirname(folder), `.${basename(folder)}-`);
    await writeAuthorityFolder(folder, draft, createAuthorityKeys(trustDomain, nowMs));
  } catch (error) {
    // The rename itself refuses, so that nothing can come between a look and it.
    const isOccupied = ['ENOTEMPTY', 'EEXIST', 'ENOTDIR'].includes(codeOf(error)) && (await isTaken(folder));
    throw isOccupied ? takenError(directory) : writeError(directory, error);
  }
}

/** What the file system would only hint at, with the name of a draft. */
async function checkPlace(directory: string, folder: string): Promise<void> {
  const above = dirname(folder);
  const isThere = await stat(above).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (!isThere) throw new FailureError(`${above} is not a folder, expected one to make ${basename(folder)} in`);
  const isLink = await lstat(folder).then(
    (found) => found.isSymbolicLink(),
    () => false,
  );
  if (isLink) throw new FailureError(`${directory} is a symbolic link, expected a new name or an empty folder`);
}

async function isTaken(folder: string): Promise<boolean> {
  try {
    return (await readdir(folder)).length > 0;
  } catch (error) {
    return codeOf(error) !== 'ENOENT';
  }
}

function takenError(directory: string): FailureError {
  return new FailureError(`${directory} is not an empty folder, expected a new one: an authority is never overwritten`);
}
