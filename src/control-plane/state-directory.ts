import type { KeyObject } from 'node:crypto';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigurationError, codeOf, messageOf } from '../errors.ts';
import { writeDurably, writeError } from './atomic-file.ts';
import { createRoot, newKeyPair, rootProblems } from './authority.ts';
import type { SigningCertificate } from './ca.ts';

/** All that a control plane must keep between two runs. */
export interface AuthorityKeys {
  readonly root: SigningCertificate;
  /** P-256; signs workload tokens. */
  readonly tokenKey: KeyObject;
}

const folderName = 'authority';
const draftPrefix = '.authority-';
const files = { rootKey: 'root-key.pem', root: 'root.pem', tokenKey: 'token-key.pem' } as const;
type FileName = keyof typeof files;

export function createAuthorityKeys(trustDomain: string, nowMs: number): AuthorityKeys {
  return { root: createRoot(trustDomain, nowMs), tokenKey: newKeyPair().privateKey };
}

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
  const contents = await readContents(folder);
  const keys = parseKeys(folder, contents);
  const problems = rootProblems(keys.root, trustDomain, nowMs, join(folder, files.root));
  if (problems.length > 0) throw new ConfigurationError(problems);
  return keys;
}

/** The keys of a control plane that has already run; throws `ConfigurationError`. */
export async function readStateDirectory(directory: string): Promise<AuthorityKeys> {
  const folder = join(directory, folderName);
  if (await exists(folder)) return parseKeys(folder, await readContents(folder));
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
    const draft = await mkdtemp(join(directory, draftPrefix));
    const texts: Record<FileName, string> = {
      rootKey: privatePem(keys.root.key),
      root: keys.root.certificate.toString(),
      tokenKey: privatePem(keys.tokenKey),
    };
    for (const name of Object.keys(files) as FileName[])
      await writeDurably(join(draft, files[name]), texts[name], 0o600);
    await rename(draft, join(directory, folderName));
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

async function readContents(folder: string): Promise<Record<FileName, string>> {
  const problems: string[] = [];
  const texts: Record<FileName, string> = { rootKey: '', root: '', tokenKey: '' };
  const { mode } = await stat(folder);
  if ((mode & 0o022) !== 0) problems.push(`${folder} can be written by others (mode ${octal(mode)}), expected 0700`);
  for (const name of Object.keys(files) as FileName[]) {
    const path = join(folder, files[name]);
    try {
      texts[name] = await readPrivately(path, name);
    } catch (error) {
      problems.push(error instanceof ConfigurationError ? error.message : absence(path, folder, error));
    }
  }
  if (problems.length > 0) throw new ConfigurationError(problems);
  return texts;
}

async function readPrivately(path: string, name: FileName): Promise<string> {
  const { mode } = await stat(path);
  if (name !== 'root' && (mode & 0o077) !== 0) {
    throw new ConfigurationError(`${path} can be read by others (mode ${octal(mode)}), expected 0600`);
  }
  return readFile(path, 'utf8');
}

function absence(path: string, folder: string, error: unknown): string {
  if (codeOf(error) !== 'ENOENT') return `Cannot read ${path}: ${messageOf(error)}`;
  return `${path} is missing, restore it, or move ${folder} away to begin with a new authority that nobody trusts yet`;
}

function parseKeys(folder: string, texts: Record<FileName, string>): AuthorityKeys {
  const problems: string[] = [];
  const parse = <T>(name: FileName, what: string, read: (text: string) => T): T | undefined => {
    try {
      return read(texts[name]);
    } catch {
      // The library's own message may quote the file.
      problems.push(`${join(folder, files[name])} holds no ${what} in PEM`);
      return undefined;
    }
  };
  const key = parse('rootKey', 'private key', createPrivateKey);
  const certificate = parse('root', 'certificate', (text) => new X509Certificate(text));
  const tokenKey = parse('tokenKey', 'private key', createPrivateKey);
  if (tokenKey !== undefined && tokenKey.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
    problems.push(`${join(folder, files.tokenKey)} is not a P-256 key`);
  }
  if (problems.length > 0 || !key || !certificate || !tokenKey) throw new ConfigurationError(problems);
  return { root: { certificate, key }, tokenKey };
}

function privatePem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}

function octal(mode: number): string {
  return `0${(mode & 0o777).toString(8).padStart(3, '0')}`;
}
