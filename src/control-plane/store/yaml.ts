import * as v from 'valibot';
import type { Alias, Document, Node } from 'yaml';
import { isNode, LineCounter, parseAllDocuments, visit } from 'yaml';
import { messageOf } from '../../errors.ts';
import type { Kind, RegistryObject } from './objects.ts';
import { kinds } from './objects.ts';

/** A place in a file, counted from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

export interface ReadObject {
  readonly entry: RegistryObject;
  readonly position: Position;
}

/** The whole text or nothing; `ignored` names the kinds that are none of ours. */
export type YamlResult =
  | { readonly kind: 'objects'; readonly objects: readonly ReadObject[]; readonly ignored: readonly string[] }
  | { readonly kind: 'broken'; readonly position: Position; readonly why: string };

/** How often aliases may be expanded in one document; what people write stays far below, a bomb does not. */
const maxAliasCount = 50;

/**
 * Reads Kubernetes objects from YAML 1.2 (so JSON too), one or many documents, `List`s taken apart. Never throws and
 * never trusts: duplicate keys, unknown tags, recursive or exploding aliases, NUL and byte order marks break the text.
 */
export function readYaml(text: string): YamlResult {
  const lines = new LineCounter();
  const objects: ReadObject[] = [];
  const ignored: string[] = [];
  const forbidden = /[\0\uFEFF]/.exec(text);
  if (forbidden !== null) return broken(positionIn(text, forbidden.index), 'NUL or a byte order mark is not text');
  if (text.trim() === '') return broken({ line: 1, column: 1 }, 'the file is empty');
  for (const document of parseAllDocuments(text, { lineCounter: lines, prettyErrors: false })) {
    try {
      readDocument(document, lines, objects, ignored);
    } catch (error) {
      if (error instanceof BrokenYaml) return broken(positionAt(lines, error.offset), error.message);
      return broken(positionAt(lines, document.range[0]), messageOf(error));
    }
  }
  return { kind: 'objects', objects, ignored };
}

class BrokenYaml extends Error {
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

function readDocument(document: Document.Parsed, lines: LineCounter, objects: ReadObject[], ignored: string[]): void {
  const [problem] = [...document.errors, ...document.warnings];
  if (problem !== undefined) throw new BrokenYaml(messageOf(problem), problem.pos[0]);
  refuseRecursion(document);
  const value: unknown = document.toJS({ maxAliasCount });
  for (const { object, path } of objectsIn(value)) {
    const kind = kindOf(object);
    if (kind === undefined)
      throw new BrokenYaml('no apiVersion and kind, expected a Kubernetes object', offsetOf(document, path));
    if (isKnown(kind)) {
      const position = positionAt(lines, offsetOf(document, path));
      objects.push({ entry: checkObject(document, kind, object, path), position });
    } else {
      ignored.push(kind);
    }
  }
}

/** The library hands out a structure that contains itself. */
function refuseRecursion(document: Document.Parsed): void {
  visit(document, {
    Alias(_, alias: Alias, path) {
      const target = alias.resolve(document);
      if (target === undefined || path.includes(target)) {
        throw new BrokenYaml(`The alias *${alias.source} has no anchor in front of it`, alias.range?.[0] ?? 0);
      }
    },
  });
}

type Path = readonly (string | number)[];

/** The objects of one document: none when it is empty, the items of a `List`. */
function objectsIn(value: unknown): { readonly object: unknown; readonly path: Path }[] {
  if (value === null || value === undefined) return [];
  const list = v.safeParse(
    v.object({ apiVersion: v.literal('v1'), kind: v.literal('List'), items: v.array(v.unknown()) }),
    value,
  );
  if (!list.success) return [{ object: value, path: [] }];
  return list.output.items.map((object, index) => ({ object, path: ['items', index] }));
}

function kindOf(object: unknown): string | undefined {
  const parsed = v.safeParse(v.object({ apiVersion: v.string(), kind: v.string() }), object);
  return parsed.success ? `${parsed.output.apiVersion}/${parsed.output.kind}` : undefined;
}

function isKnown(kind: string): kind is Kind {
  return Object.hasOwn(kinds, kind);
}

function checkObject(document: Document.Parsed, kind: Kind, object: unknown, path: Path): RegistryObject {
  const parsed = v.safeParse(kinds[kind] as v.GenericSchema, object, { abortEarly: true });
  // The schema that was looked up under `kind` made the object.
  if (parsed.success) return { kind, object: parsed.output } as RegistryObject;
  const [issue] = parsed.issues;
  const keys = (issue.path ?? []).map(({ key }) => key as string | number);
  throw new BrokenYaml(`${kind}: ${keys.join('.')} ${wordsOf(issue)}`, offsetOf(document, [...path, ...keys]));
}

function wordsOf(issue: v.BaseIssue<unknown>): string {
  const isOurs = issue.message.startsWith('is ');
  return isOurs ? `${issue.received} ${issue.message}` : `is ${issue.received}, expected ${issue.expected}`;
}

/** Where a value is written, or the nearest thing around it that is. */
function offsetOf(document: Document.Parsed, path: Path): number {
  const node: unknown = document.getIn(path, true);
  if (isNode(node)) return (node as Node).range?.[0] ?? 0;
  return path.length === 0 ? document.range[0] : offsetOf(document, path.slice(0, -1));
}

function positionAt(lines: LineCounter, offset: number): Position {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(line, 1), column: Math.max(col, 1) };
}

function positionIn(text: string, index: number): Position {
  const before = text.slice(0, index).split('\n');
  return { line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}

function broken(position: Position, why: string): YamlResult {
  return { kind: 'broken', position, why };
}
