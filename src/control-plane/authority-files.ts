import type { KeyObject } from 'node:crypto';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigurationError } from '../errors.ts';
import { writeDurably } from './atomic-file.ts';
import { createRoot, newKeyPair, rootProblems } from './authority.ts';
import type { RootSet } from './root-set.ts';
import { isSameCertificate } from './root-set.ts';

/** All that a control plane must keep between two runs. */
export interface AuthorityKeys extends RootSet {
  /** P-256; signs workload tokens. */
  readonly tokenKey: KeyObject;
}

/** The files that hold an authority, in whatever folder they lie; the later ones only during a rotation of the root. */
export const authorityFiles = {
  rootKey: 'root-key.pem',
  root: 'root.pem',
  tokenKey: 'token-key.pem',
  nextRootKey: 'next-root-key.pem',
  nextRoot: 'next-root.pem',
  previousRoot: 'previous-root.pem',
  bridge: 'bridge.pem',
} as const;
export type AuthorityFile = keyof typeof authorityFiles;
export const lastingFiles = ['rootKey', 'root', 'tokenKey'] as const satisfies readonly AuthorityFile[];
/** The files to read of a folder that has `names`: the lasting ones whether or not they are there. */
export function filesToRead(names: readonly string[]): readonly AuthorityFile[] {
  return (Object.keys(authorityFiles) as AuthorityFile[]).filter(
    (file) => lastingFiles.some((lasting) => lasting === file) || names.includes(authorityFiles[file]),
  );
}

/** Whether a file is for nobody else; the others may be seen by all. */
export function isSecret(file: AuthorityFile): boolean {
  return authorityFiles[file].endsWith('-key.pem');
}

/** What was read; undefined for a file of a rotation that is not there. */
export type AuthorityTexts = Readonly<Partial<Record<AuthorityFile, string>>>;

export function createAuthorityKeys(trustDomain: string, nowMs: number): AuthorityKeys {
  return { root: createRoot(trustDomain, nowMs), tokenKey: newKeyPair().privateKey };
}

/**
 * Makes `folder` appear with the three lasting files by one rename: whoever is killed meanwhile leaves none or all of them.
 * Folder 0700, files 0600. `draft` is the beginning of a path beside it, on the same file system. Throws as `fs` does, also
 * when `folder` is there and not empty.
 */
export async function writeAuthorityFolder(folder: string, draft: string, keys: AuthorityKeys): Promise<void> {
  const texts: Record<(typeof lastingFiles)[number], string> = {
    rootKey: privatePem(keys.root.key),
    root: keys.root.certificate.toString(),
    tokenKey: privatePem(keys.tokenKey),
  };
  const made = await mkdtemp(draft);
  try {
    for (const name of lastingFiles) await writeDurably(join(made, authorityFiles[name]), texts[name], 0o600);
    await rename(made, folder);
  } catch (error) {
    await rm(made, { recursive: true, force: true }).catch(() => undefined);
    throw error;
  }
}

/** The keys in the texts of the files of `folder`; throws `ConfigurationError` with every problem, which quotes none of them. */
export function parseAuthorityKeys(folder: string, texts: AuthorityTexts): AuthorityKeys {
  const problems: string[] = [];
  const parse = <T>(name: AuthorityFile, what: string, read: (text: string) => T): T | undefined => {
    const text = texts[name];
    if (text === undefined) return undefined;
    try {
      return read(text);
    } catch {
      // The library's own message may quote the file.
      problems.push(`${join(folder, authorityFiles[name])} holds no ${what} in PEM`);
      return undefined;
    }
  };
  const key = (name: AuthorityFile) => parse(name, 'private key', createPrivateKey);
  const certificate = (name: AuthorityFile) => parse(name, 'certificate', (text) => new X509Certificate(text));
  const [rootKey, root, tokenKey] = [key('rootKey'), certificate('root'), key('tokenKey')];
  const [nextRootKey, nextRoot] = [key('nextRootKey'), certificate('nextRoot')];
  const [previousRoot, bridge] = [certificate('previousRoot'), certificate('bridge')];
  if (tokenKey !== undefined && tokenKey.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
    problems.push(`${join(folder, authorityFiles.tokenKey)} is not a P-256 key`);
  }
  const others = new Set([root, nextRoot, previousRoot].flatMap((one) => one?.fingerprint256 ?? []));
  if (others.size > 2)
    problems.push(`${folder} holds three roots, expected two at most: remove the previous one first`);
  if (problems.length > 0 || !rootKey || !root || !tokenKey) throw new ConfigurationError(problems);
  return { ...rootSetOf({ rootKey, root, nextRootKey, nextRoot, previousRoot, bridge }), tokenKey };
}

interface RootParts {
  readonly rootKey: KeyObject;
  readonly root: X509Certificate;
  readonly nextRootKey: KeyObject | undefined;
  readonly nextRoot: X509Certificate | undefined;
  readonly previousRoot: X509Certificate | undefined;
  readonly bridge: X509Certificate | undefined;
}

/**
 * The certificate that matches the key issues, whichever file it is in: the rename of the key is the switch, and every
 * other file may lag behind it.
 */
function rootSetOf({ rootKey, root, nextRootKey, nextRoot, previousRoot, bridge }: RootParts): RootSet {
  const issuing = [root, nextRoot, previousRoot].find((one) => one?.checkPrivateKey(rootKey)) ?? root;
  const other = [root, nextRoot, previousRoot].find((one) => one !== undefined && !isSameCertificate(one, issuing));
  const set = { root: { certificate: issuing, key: rootKey } };
  if (other === undefined) return set;
  const isPrevious = isSameCertificate(issuing, root)
    ? !isSameCertificate(other, nextRoot)
    : isSameCertificate(issuing, nextRoot);
  if (!isPrevious) return { ...set, next: { certificate: other, key: nextRootKey } };
  return { ...set, previous: other, ...(isBridge(bridge, issuing, other) && { bridge }) };
}

function isBridge(bridge: X509Certificate | undefined, issuing: X509Certificate, previous: X509Certificate): boolean {
  return bridge?.publicKey.equals(issuing.publicKey) === true && bridge.verify(previous.publicKey);
}

/** Why the keys of `folder` cannot be used for `trustDomain` now, each as one sentence. A previous root may have ended. */
export function authorityProblems(keys: AuthorityKeys, folder: string, trustDomain: string, nowMs: number): string[] {
  const { root, next, previous } = keys;
  const look = (certificate: X509Certificate, file: AuthorityFile, key?: KeyObject) =>
    rootProblems(
      { certificate, key },
      trustDomain,
      file === 'previousRoot' ? 0 : nowMs,
      join(folder, authorityFiles[file]),
    );
  return [
    ...look(root.certificate, 'root', root.key),
    ...(next === undefined ? [] : look(next.certificate, 'nextRoot', next.key)),
    ...(previous === undefined ? [] : look(previous, 'previousRoot')),
  ];
}

/** The permissions of a mode as a person writes them: `0640`. */
export function octal(mode: number): string {
  return `0${(mode & 0o777).toString(8).padStart(3, '0')}`;
}

export function privatePem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}
