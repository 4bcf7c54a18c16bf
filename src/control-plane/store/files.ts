import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../errors.ts';
import { shown } from '../policy/finding.ts';
import { notInForce } from '../policy/not-in-force.ts';
import { foreignPrincipals } from '../policy/own-domain.ts';
import type { FileNote, Note } from './note.ts';
import type { RegistryObject, RegistryObjects } from './objects.ts';
import { collectObjects } from './objects.ts';
import type { ReadText } from './yaml.ts';
import { readBytes } from './yaml.ts';

/** Bounds of a registry directory: what one start or reload may read. */
export const directoryLimits = { files: 1000, bytesPerFile: 1024 * 1024, bytes: 16 * 1024 * 1024 } as const;

/** A file with everything that tells one content from another without reading it. */
export interface FileState {
  readonly path: string;
  readonly bytes: number;
  readonly fingerprint: string;
}

export type LoadResult =
  | {
      readonly kind: 'loaded';
      readonly objects: RegistryObjects;
      readonly ignored: readonly string[];
      /** What is wrong with single objects of policy, or worth knowing of them. */
      readonly notes: readonly FileNote[];
    }
  /** What is wrong with a file, or with the directory. */
  | { readonly kind: 'broken'; readonly problems: readonly FileNote[] };

const extension = /\.(?:ya?ml|json)$/;

/** The files that make the registry: `*.yaml`, `*.yml` and `*.json` right in the directory, none that is hidden. Throws as `fs` does. */
export async function listFiles(directory: string): Promise<readonly FileState[]> {
  const names = (await readdir(directory)).filter((name) => extension.test(name) && !name.startsWith('.')).sort();
  const states = await Promise.all(
    names.slice(0, directoryLimits.files + 1).map((name) => stateOf(join(directory, name))),
  );
  return states.filter((state) => state !== undefined);
}

/** Undefined for what is no file. Throws as `fs` does. */
export async function stateOf(path: string): Promise<FileState | undefined> {
  const entry = await stat(path, { bigint: true });
  if (!entry.isFile()) return undefined;
  const { size, ino, mtimeNs, ctimeNs } = entry;
  return { path, bytes: Number(size), fingerprint: `${path}:${ino}:${size}:${mtimeNs}:${ctimeNs}` };
}

/** Reads the registry from files, and remembers the parsed text of each as long as the file stays the same. */
export interface RegistryReader {
  load(files: readonly FileState[]): Promise<LoadResult>;
}

export interface MeshNames {
  /** Policies of it are about the whole mesh. */
  readonly rootNamespace: string;
  /** Of which principals may be: the mesh's own, and those of federated meshes. */
  readonly trustDomains: readonly string[];
}

export function createRegistryReader(mesh: MeshNames): RegistryReader {
  let remembered = new Map<string, ReadText>();
  return {
    async load(files) {
      const tooMuch = limitProblems(files);
      if (tooMuch.length > 0) return { kind: 'broken', problems: tooMuch };
      const results = new Map<string, ReadText>();
      const texts: NamedText[] = [];
      for (const { path, fingerprint } of files) {
        const read = remembered.get(fingerprint) ?? (await readFileText(path));
        results.set(fingerprint, read);
        texts.push({ path, read });
      }
      remembered = results;
      return merge(texts, mesh);
    },
  };
}

/** What is too much of a directory. */
export function limitProblems(files: readonly FileState[]): FileNote[] {
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

/** What stands in a file; one that cannot be read is broken as a whole. */
export async function readFileText(path: string): Promise<ReadText> {
  try {
    return await readBytes(await readFile(path));
  } catch (error) {
    return { objects: [], ignored: [], broken: [wholeFile(messageOf(error))], notes: [] };
  }
}

function merge(files: readonly NamedText[], mesh: MeshNames): LoadResult {
  const problems = [...files.flatMap(({ path, read }) => inFile(path, read.broken)), ...duplicates(files)];
  if (problems.length > 0) return { kind: 'broken', problems };
  return {
    kind: 'loaded',
    objects: collectObjects(files.flatMap(({ read }) => read.objects.map(({ entry }) => entry))),
    ignored: [...new Set(files.flatMap(({ read }) => read.ignored))],
    notes: [...files.flatMap(({ path, read }) => inFile(path, read.notes)), ...withoutEffect(files, mesh)],
  };
}

/** A file with what stands in it. */
export interface NamedText {
  readonly path: string;
  readonly read: ReadText;
}

export function inFile(file: string, notes: readonly Note[]): readonly FileNote[] {
  return notes.map((note) => ({ ...note, file }));
}

/** Objects that stand there twice: nobody knows which one is meant. */
export function duplicates(files: readonly NamedText[]): readonly FileNote[] {
  const seen = new Map<string, string>();
  const found: FileNote[] = [];
  for (const { path, read } of files) {
    for (const { entry, position } of read.objects) {
      const name = nameOf(entry);
      const other = seen.get(name);
      if (other === undefined) seen.set(name, path);
      else found.push({ ...wholeFile(`${name} is already in ${other}`), file: path, position });
    }
  }
  return found;
}

const peerKind = 'security.istio.io/v1/PeerAuthentication';

/**
 * What has no effect in this mesh as it is: PeerAuthentications that count for no workload, because of others in these files or of
 * the namespace they are in, and principals of trust domains that are none of its own.
 */
export function withoutEffect(files: readonly NamedText[], mesh: MeshNames): readonly FileNote[] {
  return [...notCounting(files, mesh.rootNamespace), ...foreign(files, mesh.trustDomains)];
}

function notCounting(files: readonly NamedText[], rootNamespace: string): readonly FileNote[] {
  const found = files.flatMap(({ path, read }) =>
    read.objects.flatMap(({ entry, position }) =>
      entry.kind === peerKind ? [{ file: path, position, object: entry.object }] : [],
    ),
  );
  const reasons = notInForce(
    found.map(({ object }) => object),
    rootNamespace,
  );
  return found.flatMap(({ file, position, object }) => {
    const why = reasons.get(object);
    const name = `${object.namespace}/${object.name}`;
    return why === undefined ? [] : [{ severity: 'warning', file, position, kind: peerKind, name, path: [], why }];
  });
}

const authorizationKind = 'security.istio.io/v1/AuthorizationPolicy';

function foreign(files: readonly NamedText[], trustDomains: readonly string[]): readonly FileNote[] {
  return files.flatMap(({ path, read }) =>
    read.objects.flatMap(({ entry, position }) => {
      if (entry.kind !== authorizationKind) return [];
      const [first, ...others] = foreignPrincipals(entry.object.policy, trustDomains);
      if (first === undefined) return [];
      const more = others.length === 0 ? '' : ` (and ${others.length} more)`;
      const why = `has the principal ${shown(first)}${more}, which nobody of ${trustDomains.join(', ')} has`;
      const name = `${entry.object.namespace}/${entry.object.name}`;
      return [{ severity: 'warning', file: path, position, kind: authorizationKind, name, path: [], why }];
    }),
  );
}

/** Objects that belong to no namespace. */
const clusterKinds: readonly string[] = ['v1/Namespace', 'v1/Node'] satisfies readonly RegistryObject['kind'][];

function nameOf({ kind, object }: RegistryObject): string {
  const { namespace, name } = 'metadata' in object ? object.metadata : object;
  return clusterKinds.includes(kind) ? `${kind} ${name}` : `${kind} ${namespace}/${name}`;
}

function problem(file: string, why: string): FileNote {
  return { ...wholeFile(why), file };
}

/** A note that is about a file as a whole. */
export function wholeFile(why: string): Note {
  return { severity: 'problem', position: { line: 1, column: 1 }, kind: '', name: '', path: [], why };
}
