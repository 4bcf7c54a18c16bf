import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { messageOf } from '../../errors.ts';
import type { FileState, NamedText } from '../store/files.ts';
import { directoryLimits, inFile, limitProblems, listFiles, readFileText, stateOf, wholeFile } from '../store/files.ts';
import type { FileNote } from '../store/note.ts';
import { readBytes } from '../store/yaml.ts';

/** What was named on a command line, read. */
export interface Inputs {
  readonly texts: readonly NamedText[];
  /** What could not be read, or is too much for a registry. */
  readonly notes: readonly FileNote[];
}

/** Files, directories as the control plane reads them, and standard input as `-`, each once. */
export async function readInputs(names: readonly string[], stdin: Readable): Promise<Inputs> {
  const texts = new Map<string, NamedText>();
  const notes: FileNote[] = [];
  for (const name of new Set(names)) {
    const read = name === '-' ? await readStandardInput(stdin) : await readPath(name);
    for (const text of read.texts) texts.set(text.path, text);
    notes.push(...read.notes);
  }
  return { texts: [...texts.values()], notes };
}

async function readPath(path: string): Promise<Inputs> {
  try {
    if (!(await stat(path)).isDirectory())
      return await readFiles(
        [await stateOf(path)].filter((one) => one !== undefined),
        path,
      );
    const { texts, notes } = await readFiles(await listFiles(path), path, '*.yaml, *.yml or *.json in it');
    return { texts, notes: [...(await foldersIn(path)), ...notes] };
  } catch (error) {
    return { texts: [], notes: [problem(path, `cannot be read: ${messageOf(error)}`)] };
  }
}

/** The control plane passes over folders in its registry, which whoever fills one may not know. Hidden ones are those of volumes. */
async function foldersIn(path: string): Promise<readonly FileNote[]> {
  const names = (await readdir(path)).filter((name) => !name.startsWith('.')).sort();
  const notes: FileNote[] = [];
  for (const file of names.map((name) => join(path, name))) {
    // A link to nothing is none.
    const entry = await stat(file).catch(() => undefined);
    if (entry?.isDirectory())
      notes.push({ ...problem(file, 'is a folder, which is not looked into: name it as well'), severity: 'warning' });
  }
  return notes;
}

async function readFiles(files: readonly FileState[], path: string, expected = 'one'): Promise<Inputs> {
  if (files.length === 0) return { texts: [], notes: [problem(path, `is no file, expected ${expected}`)] };
  const notes = limitProblems(files);
  const tooLarge = new Set(notes.map(({ file }) => file));
  const texts: NamedText[] = [];
  for (const { path: file } of files)
    if (!tooLarge.has(file)) texts.push({ path: file, read: await readFileText(file) });
  return { texts, notes };
}

async function readStandardInput(stdin: Readable): Promise<Inputs> {
  const name = '<stdin>';
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of stdin as AsyncIterable<Uint8Array>) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > directoryLimits.bytes)
      return { texts: [], notes: [problem(name, `is more than ${directoryLimits.bytes} bytes`)] };
  }
  return { texts: [{ path: name, read: await readBytes(Buffer.concat(chunks)) }], notes: [] };
}

function problem(file: string, why: string): FileNote {
  return { ...wholeFile(why), file };
}

/** Every note of what was read, in the order of the files and of the places in them. */
export function notesOf(texts: readonly NamedText[]): readonly FileNote[] {
  return texts.flatMap(({ path, read }) =>
    inFile(path, [...read.broken, ...read.notes]).toSorted(
      (one, other) => one.position.line - other.position.line || one.position.column - other.position.column,
    ),
  );
}
