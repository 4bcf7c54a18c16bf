import { isDeepStrictEqual } from 'node:util';
import type { Document, Scalar, ScalarTag, Tags } from 'yaml';
import { isCollection, isMap, isNode, isSeq, LineCounter, parseAllDocuments, stringify, visit } from 'yaml';
import { shown } from '../config/given.ts';
import { messageOf } from '../errors.ts';
import { ambiguousMerge } from './merges.ts';
import type { Operation } from './patch.ts';
import { applyTo, pointerParts } from './patch.ts';

/** One document of a text, read as kubectl reads it. */
export interface YamlDocument {
  /** From 1. */
  readonly number: number;
  /** What it means; aliases and merges expanded. */
  readonly value: unknown;
  /** Its part of the text; the parts of all documents are the whole. */
  readonly source: string;
  readonly nodes: Document.Parsed;
}

export type YamlDocuments =
  | { readonly kind: 'documents'; readonly documents: readonly YamlDocument[] }
  /** One sentence for each broken document, with its place. */
  | { readonly kind: 'broken'; readonly problems: readonly string[] };

/** How often aliases may be expanded in one document; what people write stays far below, a bomb does not. */
const maxAliasCount = 100;

const mergeProblem =
  'A merge (<<) brings a key that stands before it, expected the merge first: readers differ in which counts';

/** Reads YAML 1.1, as kubectl does: `yes` is true and `010` is 8. Never throws. */
export function readYaml(text: string): YamlDocuments {
  const lineCounter = new LineCounter();
  const problems: string[] = [];
  const documents: YamlDocument[] = [];
  let start = 0;
  const broken = (offset: number, error: unknown) => {
    const { line, col } = lineCounter.linePos(offset);
    const place = `Document ${documents.length + 1}, line ${Math.max(line, 1)}, column ${Math.max(col, 1)}`;
    problems.push(`${place}: ${shown(messageOf(error))}`);
  };
  try {
    for (const nodes of parseAllDocuments(text, { ...reading, lineCounter })) {
      const [error] = [...nodes.errors, ...nodes.warnings];
      const end = nodes.range[2];
      try {
        if (error !== undefined) broken(error.pos[0], error);
        else if (isRecursive(nodes)) broken(start, 'An alias contains itself');
        else {
          const value: unknown = nodes.toJS({ maxAliasCount });
          const merge = ambiguousMerge(nodes);
          if (merge !== undefined) broken(merge, mergeProblem);
          else documents.push({ number: documents.length + 1, value, source: text.slice(start, end), nodes });
        }
      } catch (cause) {
        broken(start, cause);
      }
      start = end;
    }
  } catch (cause) {
    // A hundred thousand brackets exhaust the parser's stack.
    broken(start, cause);
  }
  if (problems.length > 0) return { kind: 'broken', problems };
  const last = documents.pop();
  // What the library gives to nobody, such as an empty line behind the last marker.
  if (last !== undefined) documents.push({ ...last, source: `${last.source}${text.slice(start)}` });
  return { kind: 'documents', documents };
}

export interface PatchedYaml {
  readonly text: string;
  /** False where the document uses aliases: a change in one place would change others, so that it is written anew. */
  readonly hasComments: boolean;
}

/**
 * The text of a document after a patch. Comments, order, quotes and the style of indentation stay; blank lines and the
 * blanks in front of comments are those of the library. Undefined when what was written would not mean what the patch says.
 */
export function patchedYaml(document: YamlDocument, patch: readonly Operation[]): PatchedYaml | undefined {
  const { nodes, source } = document;
  const value = patched(document.value, patch);
  const hasComments = !hasAliases(nodes);
  const written = hasComments ? edited(nodes, patch, source) : anew(nodes, value, source);
  const again = readYaml(written);
  if (again.kind === 'broken' || !isDeepStrictEqual(again.documents[0]?.value, value)) return undefined;
  return { text: withLineEnds(written, source), hasComments };
}

/** A copy with the patch applied. */
function patched(value: unknown, patch: readonly Operation[]): unknown {
  // By way of text: what an alias stands for is one object in two places.
  const copy: unknown = JSON.parse(JSON.stringify(value));
  applyTo(copy, patch);
  return copy;
}

const reading = {
  version: '1.1',
  merge: true,
  prettyErrors: false,
  logLevel: 'silent',
  customTags: (tags: Tags): Tags =>
    tags
      .filter((tag): tag is ScalarTag => typeof tag === 'object' && !unread.has(tag.tag) && tag.format !== 'TIME')
      .map(asItWas),
} as const;

/** What JSON does not have, kubectl reads as text. */
const unread: ReadonlySet<string> = new Set(['tag:yaml.org,2002:timestamp', 'tag:yaml.org,2002:binary']);

/** A number or word that is not changed is written as it was: `0644`, `yes`, and numbers that are too long for JavaScript. */
function asItWas(tag: ScalarTag): ScalarTag {
  const { stringify: write } = tag;
  if (write === undefined || tag.tag === 'tag:yaml.org,2002:str') return tag;
  return { ...tag, stringify: (item: Scalar, ...rest) => item.source ?? write(item, ...rest) };
}

function isRecursive(nodes: Document.Parsed): boolean {
  let found = false;
  visit(nodes, {
    Alias(_, alias, path) {
      const target = alias.resolve(nodes);
      found ||= target !== undefined && path.includes(target);
    },
  });
  return found;
}

function hasAliases(nodes: Document.Parsed): boolean {
  let found = false;
  visit(nodes, {
    Alias() {
      found = true;
      return visit.BREAK;
    },
  });
  return found;
}

function edited(nodes: Document.Parsed, patch: readonly Operation[], source: string): string {
  const copy = nodes.clone();
  for (const operation of patch) apply(copy, operation);
  return `${copy.toString(layoutOf(source))}${endOf(nodes)}`;
}

/** The marker that may be all that separates a document from the next one; a copy does not have it. */
function endOf({ directives }: Document.Parsed): string {
  return directives.docEnd ? '...\n' : '';
}

function apply(document: Document, operation: Operation): void {
  const path = pointerParts(operation.path);
  if (operation.op === 'remove') return void document.deleteIn(path);
  const parent = document.getIn(path.slice(0, -1), true);
  const key = path.at(-1) ?? '';
  const node = document.createNode(operation.value, { aliasDuplicateObjects: false });
  // An empty `[]` becomes lines like its neighbours.
  if (isCollection(parent) && parent.items.length === 0) parent.flow = false;
  if (isSeq(parent) && operation.op === 'add') {
    const index = key === '-' ? parent.items.length : Number(key);
    const next = parent.items[index];
    if (index === 0 && isNode(next)) {
      // The library gives the comment above the first item to the sequence; it is about the item.
      next.commentBefore = [parent.commentBefore, next.commentBefore].filter(Boolean).join('\n') || null;
      parent.commentBefore = null;
    }
    parent.items.splice(index, 0, node);
  } else if (isMap(parent)) {
    parent.set(key, node);
  } else {
    document.setIn(path, node);
  }
}

function anew(nodes: Document.Parsed, value: unknown, source: string): string {
  const marker = nodes.directives.docStart === true ? '---\n' : '';
  return `${marker}${stringify(value, { ...layoutOf(source), version: '1.1', aliasDuplicateObjects: false })}${endOf(nodes)}`;
}

/** As the text has it, so that the sidecar is the only difference. */
function layoutOf(source: string) {
  const [, step = '  '] = /^[^\s#-].*:[ \t]*\r?\n(?:[ \t]*#.*\r?\n)*( +)[^\s#-]/m.exec(source) ?? [];
  const [, above, dash] = /^( *)(?:- +)*[^\s#-].*:[ \t]*\r?\n(?:[ \t]*#.*\r?\n)*( *)- /m.exec(source) ?? [];
  return {
    lineWidth: 0,
    indent: Math.max(2, step.length),
    indentSeq: above === undefined || dash === undefined || dash.length > above.length,
    flowCollectionPadding: /[{[] \S/.test(source),
  };
}

function withLineEnds(written: string, source: string): string {
  const text = source.endsWith('\n') ? written : written.replace(/\n$/, '');
  return source.includes('\r\n') ? text.replaceAll(/\r?\n/g, '\r\n') : text;
}
