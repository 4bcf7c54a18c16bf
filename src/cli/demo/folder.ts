import { chmod, chown, copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { codeOf, UnavailableError } from '../../errors.ts';

/** The files of one demo. */
export interface Folder {
  readonly path: string;
  /** The copy of manifests/demo that the control plane reads. */
  readonly registry: string;
  /** Changes a file of the registry, as an editor would. */
  editRegistry(file: string, change: (text: string) => string): Promise<void>;
  /** Adds a file of manifests/demo/later to the registry. */
  addToRegistry(file: string): Promise<void>;
  /** Writes a file that `uid` alone may read; resolves with its path. */
  writeSecret(name: string, text: string, uid: number): Promise<string>;
  /** Writes a file that everyone may read; resolves with its path. */
  writePublic(name: string, text: string): Promise<string>;
  /** Makes a folder that `uid` may write to and everyone may read; resolves with its path. */
  makeFolder(name: string, uid: number): Promise<string>;
  remove(): Promise<void>;
}

const manifests = resolve(import.meta.dirname, '../../../manifests/demo');

/** Makes the folder below the temporary folder of the system. Other users may pass through it, not list it. */
export async function createFolder(name: string): Promise<Folder> {
  const path = await mkdtemp(join(tmpdir(), `${name}-`));
  const registry = join(path, 'registry');
  const remove = () => rm(path, { recursive: true, force: true });
  try {
    await chmod(path, 0o711);
    await copyManifests(registry);
  } catch (error) {
    await remove();
    throw error;
  }
  return {
    path,
    registry,
    async editRegistry(file, change) {
      const target = join(registry, file);
      await replaceFile(target, change(await readFile(target, 'utf8')));
    },
    addToRegistry: async (file) =>
      replaceFile(join(registry, file), await readFile(join(manifests, 'later', file), 'utf8')),
    async writeSecret(file, text, uid) {
      const secret = join(path, file);
      await writeFile(secret, text, { mode: 0o400 });
      await chown(secret, uid, uid);
      return secret;
    },
    async writePublic(file, text) {
      const readable = join(path, file);
      await writeFile(readable, text);
      await chmod(readable, 0o644);
      return readable;
    },
    async makeFolder(folderName, uid) {
      const folder = join(path, folderName);
      await makeReadableFolder(folder);
      await chown(folder, uid, uid);
      return folder;
    },
    remove,
  };
}

async function copyManifests(registry: string): Promise<void> {
  await makeReadableFolder(registry);
  for (const file of await manifestFiles()) {
    const copy = join(registry, file);
    await copyFile(join(manifests, file), copy);
    await chmod(copy, 0o644);
  }
}

async function manifestFiles(): Promise<string[]> {
  try {
    const entries = await readdir(manifests, { withFileTypes: true });
    return entries.filter((entry) => entry.isFile()).map(({ name }) => name);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
    throw new UnavailableError(`${manifests} does not exist, expected the demo to run from a checkout`, {
      cause: error,
    });
  }
}

/** Whole or not at all, so that nobody reads half of it. */
async function replaceFile(path: string, text: string): Promise<void> {
  const half = join(dirname(path), `.${basename(path)}`);
  await writeFile(half, text);
  await chmod(half, 0o644);
  await rename(half, path);
}

/** Whatever the umask says. */
async function makeReadableFolder(path: string): Promise<void> {
  await mkdir(path);
  await chmod(path, 0o755);
}
