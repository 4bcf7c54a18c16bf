import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../errors.ts';
import type { RegistryObject, RegistryObjects } from './objects.ts';
import { collectObjects } from './objects.ts';
import type { ReadObject } from './yaml.ts';
import { readYaml } from './yaml.ts';

/** Bounds of a registry directory: what one start or reload may read. */
export const directoryLimits = { files: 1000, bytesPerFile: 1024 * 1024, bytes: 16 * 1024 * 1024 } as const;

/** A file with everything that tells one content from another without reading it. */
export interface FileState {
  readonly path: string;
  readonly bytes: number;
  readonly fingerprint: string;
}

/** What is wrong with one file, or with the directory; `why` is one sentence without the place. */
export interface RegistryProblem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly why: string;
}

export type LoadResult =
  | { readonly kind: 'loaded'; readonly objects: RegistryObjects; readonly ignored: readonly string[] }
  | { readonly kind: 'broken'; readonly problems: readonly RegistryProblem[] };

const extension = /\.(?:ya?ml|json)$/;

/** The files that make the registry: `*.yaml`, `*.yml` and `*.json` right in the directory, none that is hidden. Throws as `fs` does. */
export async function listFiles(directory: string): Promise<readonly FileState[]> {
  const names = (await readdir(directory)).filter((name) => extension.test(name) && !name.startsWith('.')).sort();
  const states = await Promise.all(
    names.slice(0, directoryLimits.files + 1).map((name) => stateOf(join(directory, name))),
  );
  return states.filter((state) => state !== undefined);
}

async function stateOf(path: string): Promise<FileState | undefined> {
  const entry = await stat(path, { bigint: true });
  if (!entry.isFile()) return undefined;
  const { size, ino, mtimeNs, ctimeNs } = entry;
  return { path, bytes: Number(size), fingerprint: `${path}:${ino}:${size}:${mtimeNs}:${ctimeNs}` };
}

/** Reads the registry from files, and remembers the parsed text of each as long as the file stays the same. */
export interface RegistryReader {
  load(files: readonly FileState[]): Promise<LoadResult>;
}

type FileResult =
  | { readonly kind: 'objects'; readonly objects: readonly ReadObject[]; readonly ignored: readonly string[] }
  | { readonly kind: 'broken'; readonly problem: RegistryProblem };

export function createRegistryReader(): RegistryReader {
  let remembered = new Map<string, FileResult>();
  return {
    async load(files) {
      const tooMuch = limitProblems(files);
      if (tooMuch.length > 0) return { kind: 'broken', problems: tooMuch };
      const results = new Map<string, FileResult>();
      for (const file of files) {
        results.set(file.fingerprint, remembered.get(file.fingerprint) ?? (await readRegistryFile(file.path)));
      }
      remembered = results;
      return merge(files.map(({ path, fingerprint }) => ({ path, result: results.get(fingerprint) })));
    },
  };
}

function limitProblems(files: readonly FileState[]): RegistryProblem[] {
  const { bytesPerFile } = directoryLimits;
  const problems = files
    .filter(({ bytes }) => bytes > bytesPerFile)
    .map(({ path, bytes }) => problem(path, `${bytes} bytes are more than ${bytesPerFile}`));
  const totalBytes = files.reduce((sum, { bytes }) => sum + bytes, 0);
  const first = files[0]?.path ?? '';
  if (files.length > directoryLimits.files)
    problems.push(problem(first, `more than ${directoryLimits.files} files stand beside it`));
  if (totalBytes > directoryLimits.bytes)
    problems.push(problem(first, `all files together are larger than ${directoryLimits.bytes} bytes`));
  return problems;
}

async function readRegistryFile(path: string): Promise<FileResult> {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(await readFile(path));
  } catch (error) {
    return { kind: 'broken', problem: problem(path, messageOf(error)) };
  }
  const read = readYaml(text);
  return read.kind === 'objects' ? read : { kind: 'broken', problem: { file: path, ...read.position, why: read.why } };
}

function merge(files: readonly { readonly path: string; readonly result: FileResult | undefined }[]): LoadResult {
  const problems: RegistryProblem[] = [];
  const ignored = new Set<string>();
  const entries = new Map<string, { readonly entry: RegistryObject; readonly path: string }>();
  for (const { path, result } of files) {
    if (result?.kind === 'broken') problems.push(result.problem);
    if (result?.kind !== 'objects') continue;
    for (const kind of result.ignored) ignored.add(kind);
    for (const { entry, position } of result.objects) {
      const name = nameOf(entry);
      const other = entries.get(name);
      if (other === undefined) entries.set(name, { entry, path });
      else problems.push({ file: path, ...position, why: `${name} is already in ${other.path}` });
    }
  }
  if (problems.length > 0) return { kind: 'broken', problems };
  return {
    kind: 'loaded',
    objects: collectObjects([...entries.values()].map(({ entry }) => entry)),
    ignored: [...ignored],
  };
}

/** Objects that belong to no namespace. */
const clusterKinds: readonly string[] = ['v1/Namespace', 'v1/Node'] satisfies readonly RegistryObject['kind'][];

function nameOf({ kind, object }: RegistryObject): string {
  const { namespace, name } = 'metadata' in object ? object.metadata : object;
  return clusterKinds.includes(kind) ? `${kind} ${name}` : `${kind} ${namespace}/${name}`;
}

function problem(file: string, why: string): RegistryProblem {
  return { file, line: 1, column: 1, why };
}
