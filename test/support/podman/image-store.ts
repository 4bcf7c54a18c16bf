import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statfsSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
// @ts-expect-error The set-up scripts are plain JavaScript.
import { withLock } from '../../../scripts/setup/lock.mjs';

const root = resolve(import.meta.dirname, '../../..');

/**
 * Where tests keep images, between runs: git ignores it, `npm ci` removes it, and nothing of it is in the machine's own
 * storage. A stand-in for the base takes a minute to make, the image half a minute.
 */
export const cacheFolder = join(root, 'node_modules/.cache/remora-containers');
const storageConf = join(cacheFolder, 'storage.conf');
export const imageRoot = join(cacheFolder, 'images');
/** A folder for each podman of the tests, named after the process that runs it. */
export const runsFolder = join(cacheFolder, 'runs');

const overlayMagic = 0x794c7630;

/** Overlay, unless the checkout itself lies on one, as in an outer container: the kernel stacks no second on it. */
export function storageDriver(): 'overlay' | 'vfs' {
  return statfsSync(cacheFolder).type === overlayMagic ? 'vfs' : 'overlay';
}

/** The environment in which buildah works on the images of the tests. */
export function buildahEnvironment(): NodeJS.ProcessEnv {
  mkdirSync(imageRoot, { recursive: true });
  const settings = [
    `driver = "${storageDriver()}"`,
    `graphroot = "${imageRoot}"`,
    `runroot = "${join(cacheFolder, 'run')}"`,
  ];
  writeFileSync(storageConf, ['[storage]', ...settings, ''].join('\n'));
  return { ...process.env, CONTAINERS_STORAGE_CONF: storageConf };
}

/** Runs buildah on the images of the tests and returns its output. */
export function buildah(...args: readonly string[]): string {
  return execFileSync('buildah', args, {
    env: buildahEnvironment(),
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** The name of the image of this very source, on the stand-in for its base; built unless it is there. Needs root. */
export async function imageOfThisCheckout(): Promise<string> {
  const image = `localhost/remora:test-${sourceDigest()}`;
  mkdirSync(cacheFolder, { recursive: true });
  await withLock(cacheFolder, () => {
    for (const left of leftContainers()) buildah('rm', left);
    if (exists(image)) return;
    if (!isInUse()) for (const old of imagesOfEarlierSource()) buildah('rmi', old);
    const script = [join(root, 'scripts/image.mjs'), '--stand-in', '--tag', image];
    execFileSync(process.execPath, script, { cwd: root, env: buildahEnvironment(), stdio: ['ignore', 'pipe', 'pipe'] });
    buildah('rmi', '--prune');
  });
  return image;
}

/** Those of runs that were interrupted. Under the lock nobody else builds; a test that is running has its number in the name. */
function leftContainers(): string[] {
  const names = buildah('containers', '--format', '{{.ContainerName}}').split('\n').filter(Boolean);
  return names.filter((name) => {
    const maker = /^remora-test-(\d+)-/.exec(name)?.[1];
    return maker === undefined || !existsSync(`/proc/${maker}`);
  });
}

/** By pods of another run, whose podman reads these images without buildah's knowledge. */
function isInUse(): boolean {
  const runs = existsSync(runsFolder) ? readdirSync(runsFolder) : [];
  return runs.some((pid) => Number(pid) !== process.pid && existsSync(`/proc/${pid}`));
}

function exists(image: string): boolean {
  return spawnSync('buildah', ['inspect', '--type=image', image], { env: buildahEnvironment() }).status === 0;
}

function imagesOfEarlierSource(): string[] {
  const names = buildah('images', '--format', '{{.Name}}:{{.Tag}}').split('\n');
  return names.filter((name) => name.startsWith('localhost/remora:test-'));
}

/** Of everything that .dockerignore lets into the build, and of what builds it. */
function sourceDigest(): string {
  const files = ['Dockerfile', '.dockerignore', 'LICENSE', '.npmrc', 'package.json', 'package-lock.json'];
  for (const folder of ['src', 'scripts']) {
    const entries = readdirSync(join(root, folder), { recursive: true, withFileTypes: true });
    files.push(...entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name)));
  }
  const hash = createHash('sha256');
  for (const file of files.sort()) hash.update(`${file}\0`).update(readFileSync(resolve(root, file)));
  return hash.digest('hex').slice(0, 12);
}
