import { access, chmod, cp, mkdir, mkdtemp, readFile, rm, rmdir, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import * as v from 'valibot';
import { parseJson } from '../../control-api.ts';
import { FailureError } from '../../errors.ts';
import type { Host } from '../../host.ts';
import type { ToolOptions } from '../../system-tool.ts';
import { runTool } from '../../system-tool.ts';
import type { Mount } from './pod-command.ts';

/** This program under paths that every user can read, wherever it was cloned to. */
export interface SharedProgram {
  /** What starts it, in a process that has the mounts. */
  readonly argv: readonly string[];
  readonly mounts: readonly Mount[];
  /** Where such a process finds a file of the checkout. */
  pathOf(file: string): string;
  /** Removes the folder of the mount points or of the copy, once no process uses it; idempotent. */
  remove(): Promise<void>;
}

/**
 * Lets the sidecar's user run a program that lies below a folder which only its owner may enter: the checkout and
 * Node.js are mounted at another place, for the processes of the pods alone. Where the files themselves are for their
 * owner only (a clone with umask 077) they are copied, with the folders of the checkout that `also` names. All of it
 * appears in a folder below `parent`, which everyone may enter.
 */
export async function shareProgram(
  program: Host['program'],
  env: ToolOptions['env'],
  also: readonly string[] = [],
  parent = tmpdir(),
): Promise<SharedProgram> {
  const [executable, ...rest] = program;
  const script = rest.at(-1) ?? '';
  const root = await rootOf(script);
  const folder = await mkdtemp(join(parent, 'remora-program-'));
  const checkout = join(folder, 'checkout');
  const runtime = join(folder, 'runtime');
  const moved = (path: string) => {
    if (isBelow(root, path)) return join(checkout, relative(root, path));
    return path === executable ? join(runtime, basename(executable)) : path;
  };
  await mkdir(checkout);
  await mkdir(runtime);
  const modules = join(root, 'node_modules');
  const decisive = [root, dirname(script), script, executable, ...((await exists(modules)) ? [modules] : [])];
  const mustCopy = !(await areForEveryone(decisive));
  if (mustCopy) {
    await copyProgram(root, checkout, also);
    if (!isBelow(root, executable)) await cp(executable, moved(executable));
  }
  await makeReadable(folder, env);
  return {
    argv: [executable, ...rest].map(moved),
    mounts: mustCopy ? [] : mountsOf(root, executable, checkout, runtime),
    pathOf: moved,
    remove: () =>
      mustCopy ? rm(folder, { recursive: true, force: true }) : removeMountPoints([checkout, runtime, folder]),
  };
}

function mountsOf(root: string, executable: string, checkout: string, runtime: string): Mount[] {
  const mounts = [{ source: root, target: checkout }];
  if (!isBelow(root, executable)) mounts.push({ source: dirname(executable), target: runtime });
  return mounts;
}

/** The folder of the package that a script belongs to, or the script's own folder for a bundle. */
async function rootOf(script: string): Promise<string> {
  for (let folder = dirname(script); folder !== dirname(folder); folder = dirname(folder)) {
    if (await exists(join(folder, 'package.json'))) return folder;
  }
  return dirname(script);
}

/** Whether the files may be read, and the folders entered, by everyone; the folders above them do not count. */
async function areForEveryone(paths: readonly string[]): Promise<boolean> {
  const all = await Promise.all(paths.map((path) => stat(path)));
  return all.every(
    (found) => (found.mode & (found.isDirectory() ? 0o005 : 0o004)) === (found.isDirectory() ? 0o005 : 0o004),
  );
}

const lockfile = v.object({ packages: v.record(v.string(), v.object({ dev: v.optional(v.boolean(), false) })) });

/** Only what runs: the tools of development are several times as large. */
async function copyProgram(root: string, checkout: string, also: readonly string[]): Promise<void> {
  const lockPath = join(root, 'package-lock.json');
  if (!(await exists(lockPath))) return cp(root, checkout, { recursive: true });
  const { packages } = parseJson(lockfile, await readFile(lockPath, 'utf8'));
  const needed = Object.keys(packages).filter((path) => path !== '' && !packages[path]?.dev);
  for (const path of ['package.json', 'src', ...also, ...needed]) {
    if (await exists(join(root, path))) await cp(join(root, path), join(checkout, path), { recursive: true });
  }
}

async function makeReadable(folder: string, env: ToolOptions['env']): Promise<void> {
  await chmod(folder, 0o755);
  const result = await runTool('chmod', ['-R', 'a+rX', folder], { env });
  if (result.kind === 'missing' || result.status !== 0)
    throw new FailureError(`Cannot make ${folder} readable for the user of the sidecar`);
}

/** Never recursive: were one of them still mounted, the checkout itself would be removed. */
async function removeMountPoints(folders: readonly string[]): Promise<void> {
  for (const folder of folders) {
    if (await exists(folder)) await rmdir(folder);
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

function isBelow(folder: string, path: string): boolean {
  return path.startsWith(`${folder}/`);
}
