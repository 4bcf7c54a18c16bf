import type { Alias, Document, Node, Pair, ParsedNode, Scalar, YAMLMap } from 'yaml';
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseAllDocuments } from 'yaml';
import { messageOf } from '../errors.ts';
import { resolvePlain } from './yaml-scalar.ts';

/** Where a node stands: in which collection, and as which of its items. */
export interface Place {
  readonly parent: Node;
  readonly index: number;
}

/** One document, read as kubectl reads it. Its nodes know where in the text they stand. */
export interface SourceDocument {
  /** From 1. */
  readonly number: number;
  readonly contents: ParsedNode | null;
  /** What it means, aliases and merges expanded. */
  readonly value: unknown;
  /** What each alias in the text stands for, and where it stands. */
  readonly aliases: ReadonlyMap<Alias, { readonly target: Node; readonly place: Place }>;
  readonly range: readonly [start: number, end: number];
  /** A fresh copy of what a node means. */
  copyOf(node: Node | null): unknown;
  /** The key of a pair as JSON has it. */
  keyOf(pair: Pair): string;
}

export type Source =
  | { readonly kind: 'documents'; readonly documents: readonly SourceDocument[] }
  /** One sentence for each broken document. */
  | { readonly kind: 'broken'; readonly problems: readonly string[] };

/** What aliases may add to one document: what people write stays far below, a bomb does not. */
const mostAliasedNodes = 100_000;

/** No object of Kubernetes is nested deeper; without a bound the stack would be it. */
const mostLevels = 200;

class BrokenYaml extends Error {
  readonly offset: number;

  constructor(why: string, offset: number) {
    super(why);
    this.offset = offset;
  }
}

/**
 * Reads YAML 1.1, or JSON, as kubectl does, without changing anything. Every document that kubectl would refuse, or that
 * readers disagree about, is a problem: duplicate keys, unknown tags, aliases that recurse or explode. Documents that are read
 * for their `meaning` take half of the memory and cannot be edited.
 */
export function readSource(text: string, use: 'editing' | 'meaning' = 'editing'): Source {
  const lines = new LineCounter();
  const problems: string[] = [];
  const documents: SourceDocument[] = [];
  const broken = (number: number, offset: number, why: string) => {
    const { line, col } = lines.linePos(offset);
    problems.push(`Document ${number}, line ${Math.max(line, 1)}, column ${Math.max(col, 1)}: ${why}`);
  };
  for (const [index, document] of parse(text, lines, use === 'editing').entries()) {
    try {
      documents.push(readDocument(document, index + 1, text));
    } catch (error) {
      if (!(error instanceof BrokenYaml)) throw error;
      broken(index + 1, error.offset, error.message);
    }
  }
  return problems.length > 0 ? { kind: 'broken', problems } : { kind: 'documents', documents };
}

function parse(text: string, lineCounter: LineCounter, keepSourceTokens: boolean): readonly Document.Parsed[] {
  // Scalars stay text here, and are resolved as kubectl does it; duplicate keys are found in linear time below.
  const parsed = parseAllDocuments(text, {
    schema: 'failsafe',
    version: '1.1',
    resolveKnownTags: false,
    uniqueKeys: false,
    keepSourceTokens,
    prettyErrors: false,
    logLevel: 'silent',
    lineCounter,
  });
  return Array.isArray(parsed) ? parsed : [];
}

function readDocument(document: Document.Parsed, number: number, text: string): SourceDocument {
  const [error] = document.errors;
  if (error !== undefined) throw new BrokenYaml(sentenceOf(messageOf(error)), error.pos[0]);
  const reader = createReader(text);
  const contents = document.contents as ParsedNode | null;
  const value = reader.copyOf(contents);
  const [start, , end] = document.range;
  return { ...reader, number, contents, value, range: [start, end] };
}

/** The parser calls itself for each level, until the stack is full. */
function sentenceOf(message: string): string {
  return /call stack/.test(message)
    ? `it is nested deeper than ${mostLevels} levels`
    : `the YAML is not valid: ${message}`;
}

function createReader(text: string): Pick<SourceDocument, 'aliases' | 'copyOf' | 'keyOf'> {
  const anchors = new Map<string, Node>();
  const aliases = new Map<Alias, { target: Node; place: Place }>();
  const open = new Set<Node>();
  let aliasDepth = 0;
  let aliasedNodes = 0;
  let levels = 0;

  const targetOf = (alias: Alias, place: Place): Node => {
    const target = aliases.get(alias)?.target ?? anchors.get(alias.source);
    if (target === undefined) throw new BrokenYaml(`the alias *${alias.source} has no anchor before it`, at(alias));
    if (open.has(target)) throw new BrokenYaml(`the alias *${alias.source} contains itself`, at(alias));
    // An anchor may be given again: an alias means what it meant where it stands.
    if (aliasDepth === 0 && !aliases.has(alias)) aliases.set(alias, { target, place });
    return target;
  };

  const read = (node: Node | null, place: Place | undefined): unknown => {
    if (node === null) return null;
    if (aliasDepth > 0 && ++aliasedNodes > mostAliasedNodes)
      throw new BrokenYaml(`the aliases stand for more than ${mostAliasedNodes} values`, at(node));
    if (isAlias(node)) return readAlias(node, place);
    if (node.anchor !== undefined && aliasDepth === 0) anchors.set(node.anchor, node);
    if (isScalar(node)) return readScalar(node, text);
    if (levels >= mostLevels) throw new BrokenYaml(`it is nested deeper than ${mostLevels} levels`, at(node));
    levels += 1;
    open.add(node);
    const value = readCollection(node);
    open.delete(node);
    levels -= 1;
    return value;
  };

  const readAlias = (alias: Alias, place: Place | undefined) => {
    if (place === undefined) throw new BrokenYaml(`the alias *${alias.source} has no anchor before it`, at(alias));
    const target = targetOf(alias, place);
    aliasDepth += 1;
    const value = read(target, place);
    aliasDepth -= 1;
    return value;
  };

  const readCollection = (node: Node): unknown => {
    if (isMap(node)) {
      checkTag(node, 'tag:yaml.org,2002:map');
      return readMap(node);
    }
    if (!isSeq(node)) throw new BrokenYaml('this is neither a value nor a collection', at(node));
    checkTag(node, 'tag:yaml.org,2002:seq');
    return node.items.map((item, index) => read(item as Node | null, { parent: node, index }));
  };

  const readMap = (node: YAMLMap): object => {
    const members = new Map<string, unknown>();
    const own = new Set<string>();
    for (const [index, pair] of node.items.entries()) {
      const place = { parent: node, index };
      const key = readKey(pair, place);
      if (own.has(key)) throw new BrokenYaml(`the key ${shownKey(key)} stands twice`, at(pair.key as Node));
      own.add(key);
      if (isMergeKey(pair)) merge(pair, place, members, own);
      else members.set(key, read(pair.value as Node | null, place));
    }
    // Not by assignment: a key may be called __proto__.
    return Object.fromEntries(members);
  };

  const readKey = (pair: Pair, place: Place): string => {
    const key = read(pair.key as Node | null, place);
    if (typeof key === 'object') throw new BrokenYaml('a key is not a plain value', at(pair.key as Node | null));
    return String(key);
  };

  /** What is merged gives way to the mapping's own keys, and a later merge to an earlier one. */
  const merge = (pair: Pair, place: Place, members: Map<string, unknown>, own: ReadonlySet<string>) => {
    const merged = read(pair.value as Node | null, place);
    const parts: unknown[] = Array.isArray(merged) ? merged : [merged];
    for (const part of parts) {
      if (typeof part !== 'object' || part === null || Array.isArray(part))
        throw new BrokenYaml('<< merges something that is not a mapping', at(pair.key as Node));
      for (const [key, value] of Object.entries(part)) {
        // go-yaml v2 lets a merge override what stands before it, other readers do not.
        if (own.has(key))
          throw new BrokenYaml(
            `the key ${shownKey(key)} stands before a merge that has it too, where readers disagree; expected the merge first`,
            at(pair.key as Node),
          );
        if (!members.has(key)) members.set(key, value);
      }
    }
  };

  const copyOf = (node: Node | null) => {
    aliasedNodes = 0;
    return read(node, node !== null && isAlias(node) ? aliases.get(node)?.place : undefined);
  };
  const keyOf = (pair: Pair) => readKey(pair, { parent: pair.key as Node, index: 0 });
  return { aliases, copyOf, keyOf };
}

/** Whether a pair merges other mappings into its own; a quoted `<<` is a key like any other. */
export function isMergeKey({ key }: Pair): boolean {
  return isScalar(key) && key.type === 'PLAIN' && key.source === '<<';
}

function at(node: Node | null): number {
  return node?.range?.[0] ?? 0;
}

function shownKey(key: string): string {
  return key.length > 60 ? `${key.slice(0, 60)}…` : key;
}

const typesByTag: Readonly<Record<string, readonly string[]>> = {
  'tag:yaml.org,2002:int': ['number'],
  'tag:yaml.org,2002:float': ['number'],
  'tag:yaml.org,2002:bool': ['boolean'],
  'tag:yaml.org,2002:null': ['object'],
};

function readScalar(node: Scalar, text: string): unknown {
  const written = chomped(node, text);
  const isPlain = node.type === 'PLAIN';
  if (node.tag === undefined) return isPlain ? resolvePlain(written) : written;
  if (node.tag === '!' || node.tag === 'tag:yaml.org,2002:str') return written;
  const types = Object.hasOwn(typesByTag, node.tag) ? typesByTag[node.tag] : undefined;
  const value = resolvePlain(written);
  if (types === undefined) throw new BrokenYaml(`the tag ${shownKey(node.tag)} is unknown`, at(node));
  if (!types.includes(typeof value)) throw new BrokenYaml(`the value is not what its tag ${node.tag} says`, at(node));
  return value;
}

/** A block scalar that is cut by the end of the text has no last line end, whatever its header says. */
function chomped(node: Scalar, text: string): string {
  const written = String(node.value ?? '');
  return endsWithoutLineEnd(node, text) ? written.replace(/\n$/, '') : written;
}

/** Whether a block scalar ends where the text ends, without a line end. */
export function endsWithoutLineEnd({ type, range }: Scalar, text: string): boolean {
  const isBlock = type === 'BLOCK_LITERAL' || type === 'BLOCK_FOLDED';
  return isBlock && range?.[1] === text.length && !text.endsWith('\n');
}

function checkTag(node: Node & { tag?: string }, expected: string): void {
  if (node.tag === undefined || node.tag === expected || node.tag === '!') return;
  throw new BrokenYaml(`the tag ${shownKey(node.tag)} is unknown`, at(node));
}
