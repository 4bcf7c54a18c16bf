import { createPrivateKey, X509Certificate } from 'node:crypto';
import { open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigurationError, codeOf, messageOf } from '../errors.ts';
import { writeError, writeFileAtomically } from './atomic-file.ts';
import { authorityFiles, privatePem } from './authority-files.ts';
import type { SigningCertificate } from './ca.ts';
import { isSameCertificate } from './root-set.ts';

/**
 * The steps of a rotation of the root on the files of a state directory. Each is a row of writes, and whoever is killed
 * between two leaves a folder from which the same root issues and the same roots are trusted as before it or after it;
 * `settleRoots` then brings the files in order.
 */
export type Write = () => Promise<void>;

/** The next root is trusted once its certificate is there; its key alone is nothing. */
export function addWrites(folder: string, { certificate, key }: SigningCertificate): readonly Write[] {
  return [
    () => put(folder, authorityFiles.nextRootKey, privatePem(key)),
    () => put(folder, authorityFiles.nextRoot, certificate.toString()),
  ];
}

/** The rename of the key is the switch, and the end of the old key. */
export function switchWrites(folder: string, previous: X509Certificate, bridge: X509Certificate): readonly Write[] {
  return [
    () => put(folder, authorityFiles.bridge, bridge.toString()),
    () => put(folder, authorityFiles.previousRoot, previous.toString()),
    () => move(folder, authorityFiles.nextRootKey, authorityFiles.rootKey),
    () => move(folder, authorityFiles.nextRoot, authorityFiles.root),
  ];
}

export function removeWrites(folder: string): readonly Write[] {
  return [() => drop(folder, authorityFiles.previousRoot), () => drop(folder, authorityFiles.bridge)];
}

export function abortWrites(folder: string): readonly Write[] {
  return [() => drop(folder, authorityFiles.nextRoot), () => drop(folder, authorityFiles.nextRootKey)];
}

/**
 * Ends a switch whose key has been renamed, takes back one whose key has not, and removes what interrupted steps and writes
 * left behind. Leaves files alone that it does not understand: whoever reads them next says what is wrong.
 */
export async function settleRoots(folder: string): Promise<void> {
  for (const name of await readdir(folder)) if (/^[\w-]+\.pem\.[0-9a-f]+\.new$/.test(name)) await drop(folder, name);
  const [root, next] = await Promise.all([certificateIn(folder, 'root'), certificateIn(folder, 'nextRoot')]);
  const key = await textIn(folder, authorityFiles.rootKey);
  if (root === undefined || key === undefined) return;
  if (next !== undefined && !isKeyOf(root, key) && isKeyOf(next, key)) {
    if ((await certificateIn(folder, 'previousRoot')) === undefined)
      await put(folder, authorityFiles.previousRoot, root.toString());
    return move(folder, authorityFiles.nextRoot, authorityFiles.root);
  }
  if (!isKeyOf(root, key)) return;
  if (isSameCertificate(next, root)) await drop(folder, authorityFiles.nextRoot);
  if ((await textIn(folder, authorityFiles.nextRoot)) === undefined) await drop(folder, authorityFiles.nextRootKey);
  if (isSameCertificate(await certificateIn(folder, 'previousRoot'), root))
    await drop(folder, authorityFiles.previousRoot);
  if ((await textIn(folder, authorityFiles.previousRoot)) === undefined) await drop(folder, authorityFiles.bridge);
}

async function put(folder: string, name: string, text: string): Promise<void> {
  await writeFileAtomically(join(folder, name), text, 0o600);
  await syncFolder(folder);
}

async function move(folder: string, from: string, to: string): Promise<void> {
  await rename(join(folder, from), join(folder, to)).catch(fails(join(folder, to)));
  await syncFolder(folder);
}

async function drop(folder: string, name: string): Promise<void> {
  await rm(join(folder, name), { force: true }).catch(fails(join(folder, name)));
  await syncFolder(folder);
}

/** With the name of the file and what can be done about it, for whoever takes the step. */
function fails(path: string): (error: unknown) => never {
  return (error) => {
    throw writeError(path, error);
  };
}

/** So that a power cut keeps the order of the writes. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder).catch(fails(folder));
  try {
    await handle.sync().catch(fails(folder));
  } finally {
    await handle.close();
  }
}

async function textIn(folder: string, name: string): Promise<string | undefined> {
  try {
    return await readFile(join(folder, name), 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw new ConfigurationError(`Cannot read ${join(folder, name)}: ${messageOf(error)}`, { cause: error });
  }
}

async function certificateIn(
  folder: string,
  file: 'root' | 'nextRoot' | 'previousRoot',
): Promise<X509Certificate | undefined> {
  const text = await textIn(folder, authorityFiles[file]);
  try {
    return text === undefined ? undefined : new X509Certificate(text);
  } catch {
    return undefined;
  }
}

function isKeyOf(certificate: X509Certificate, keyPem: string): boolean {
  try {
    return certificate.checkPrivateKey(createPrivateKey(keyPem));
  } catch {
    return false;
  }
}
