import type { KeyObject } from 'node:crypto';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigurationError } from '../errors.ts';
import { writeDurably } from './atomic-file.ts';
import { createRoot, newKeyPair } from './authority.ts';
import type { SigningCertificate } from './ca.ts';

/** All that a control plane must keep between two runs. */
export interface AuthorityKeys {
  readonly root: SigningCertificate;
  /** P-256; signs workload tokens. */
  readonly tokenKey: KeyObject;
}

/** The files that hold an authority, in whatever folder they lie. */
export const authorityFiles = { rootKey: 'root-key.pem', root: 'root.pem', tokenKey: 'token-key.pem' } as const;
export type AuthorityFile = keyof typeof authorityFiles;
export const authorityFileKeys = Object.keys(authorityFiles) as readonly AuthorityFile[];

export function createAuthorityKeys(trustDomain: string, nowMs: number): AuthorityKeys {
  return { root: createRoot(trustDomain, nowMs), tokenKey: newKeyPair().privateKey };
}

/**
 * Makes `folder` appear with all three files by one rename: whoever is killed meanwhile leaves none or all of them.
 * Folder 0700, files 0600. `draft` is the beginning of a path beside it, on the same file system. Throws as `fs` does, also
 * when `folder` is there and not empty.
 */
export async function writeAuthorityFolder(folder: string, draft: string, keys: AuthorityKeys): Promise<void> {
  const texts: Record<AuthorityFile, string> = {
    rootKey: privatePem(keys.root.key),
    root: keys.root.certificate.toString(),
    tokenKey: privatePem(keys.tokenKey),
  };
  const made = await mkdtemp(draft);
  try {
    for (const name of authorityFileKeys) await writeDurably(join(made, authorityFiles[name]), texts[name], 0o600);
    await rename(made, folder);
  } catch (error) {
    await rm(made, { recursive: true, force: true }).catch(() => undefined);
    throw error;
  }
}

/** The keys in the texts of the files of `folder`; throws `ConfigurationError` with every problem, which quotes none of them. */
export function parseAuthorityKeys(folder: string, texts: Readonly<Record<AuthorityFile, string>>): AuthorityKeys {
  const problems: string[] = [];
  const parse = <T>(name: AuthorityFile, what: string, read: (text: string) => T): T | undefined => {
    try {
      return read(texts[name]);
    } catch {
      // The library's own message may quote the file.
      problems.push(`${join(folder, authorityFiles[name])} holds no ${what} in PEM`);
      return undefined;
    }
  };
  const key = parse('rootKey', 'private key', createPrivateKey);
  const certificate = parse('root', 'certificate', (text) => new X509Certificate(text));
  const tokenKey = parse('tokenKey', 'private key', createPrivateKey);
  if (tokenKey !== undefined && tokenKey.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
    problems.push(`${join(folder, authorityFiles.tokenKey)} is not a P-256 key`);
  }
  if (problems.length > 0 || !key || !certificate || !tokenKey) throw new ConfigurationError(problems);
  return { root: { certificate, key }, tokenKey };
}

/** The permissions of a mode as a person writes them: `0640`. */
export function octal(mode: number): string {
  return `0${(mode & 0o777).toString(8).padStart(3, '0')}`;
}

function privatePem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}
