import { applyPatch } from 'rfc6902';
import type { Node, Pair, YAMLMap, YAMLSeq } from 'yaml';
import { isMap, isSeq, visit } from 'yaml';
import type { Operation } from './patch.ts';
import { pointer, pointerParts } from './patch.ts';
import { lastScalar } from './yaml-places.ts';
import type { Place, SourceDocument } from './yaml-source.ts';
import { isMergeKey } from './yaml-source.ts';

/** A value that stands nowhere in the text yet; later operations may change what is in the box. */
export interface Fresh {
  value: unknown;
}

/** A pair of a mapping in the text, and what becomes of it. */
export interface PairEdit {
  readonly pair: Pair;
  readonly key: string;
  fresh?: Fresh;
  isRemoved?: true;
}

export interface MapEdit {
  readonly kind: 'map';
  readonly node: YAMLMap;
  readonly pairs: readonly PairEdit[];
  /** Members that are new, in order. */
  readonly added: Map<string, Fresh>;
}

/** An item of a sequence: from the text by its index there, new, or new in the place of one from the text. */
export interface ItemEdit {
  readonly index?: number;
  fresh?: Fresh;
}

export interface SeqEdit {
  readonly kind: 'seq';
  readonly node: YAMLSeq;
  readonly items: ItemEdit[];
}

type Edit = MapEdit | SeqEdit;

/** What becomes of each collection that changes, or that holds one that does. */
export type Edits = ReadonlyMap<Node, Edit>;

/** The patch does not fit the document: a mistake of the program, not of the document. */
export class UnfitPatchError extends TypeError {}

/**
 * What a patch (RFC 6902) changes in the text of a document. Where an alias is changed, its place gets a copy; where
 * something with an anchor is changed, those who use the anchor get a copy of what it was. Throws `UnfitPatchError`.
 */
export function editsOf(document: SourceDocument, patch: readonly Operation[]): Edits {
  const edits = new Map<Node, Edit>();
  for (const operation of patch) {
    const problem = apply(document, edits, operation);
    if (problem !== undefined) throw new UnfitPatchError(`${operation.op} ${operation.path} ${problem}`);
  }
  const replaced = replacedNodes(edits);
  for (const node of replaced) edits.delete(node);
  expandAliases(document, edits, replaced);
  return edits;
}

/** Why the operation does not fit, or undefined when it was applied. */
function apply(document: SourceDocument, edits: Map<Node, Edit>, operation: Operation): string | undefined {
  const parts = pointerParts(operation.path);
  let node: Node | null = document.contents;
  for (const [depth, part] of parts.entries()) {
    const edit = editFor(document, edits, node);
    if (edit === undefined) return 'leads through a plain value';
    const rest = parts.slice(depth + 1);
    if (rest.length === 0)
      return edit.kind === 'map' ? changeMember(edit, part, operation) : changeItem(edit, part, operation);
    const isRemoval = operation.op === 'remove' && rest.length === 1;
    const child = edit.kind === 'map' ? memberOf(document, edit, part) : itemOf(edit, part);
    if (child === undefined) return 'leads nowhere';
    const { holder, source } = child;
    if (holder.fresh !== undefined || source === null || !isChangedInPlace(source, isRemoval, edits)) {
      holder.fresh ??= { value: currentOf(document, edits, source) };
      return changeFresh(holder.fresh, rest, operation);
    }
    node = source;
  }
  return 'names no member';
}

function editFor(document: SourceDocument, edits: Map<Node, Edit>, node: Node | null): Edit | undefined {
  if (node === null) return undefined;
  const edit = edits.get(node) ?? newEdit(document, node);
  if (edit !== undefined) edits.set(node, edit);
  return edit;
}

function newEdit(document: SourceDocument, node: Node): Edit | undefined {
  if (isMap(node)) {
    const pairs = node.items.map((pair): PairEdit => ({ pair, key: document.keyOf(pair) }));
    return { kind: 'map', node, pairs, added: new Map() };
  }
  if (!isSeq(node)) return undefined;
  return { kind: 'seq', node, items: node.items.map((_, index) => ({ index })) };
}

function changeMember({ pairs, added }: MapEdit, key: string, operation: Operation): string | undefined {
  const own = pairs.find((edit) => edit.key === key && !isMergeKey(edit.pair) && edit.isRemoved === undefined);
  if (operation.op === 'remove') {
    if (own !== undefined) own.isRemoved = true;
    else if (!added.delete(key)) return 'removes nothing';
    return undefined;
  }
  const { value } = operation;
  if (own === undefined) added.set(key, { value });
  else own.fresh = { value };
  return undefined;
}

function changeItem({ items }: SeqEdit, part: string, operation: Operation): string | undefined {
  const index = part === '-' ? items.length : indexOf(part);
  if (index === undefined || index > items.length) return 'is no place in the sequence';
  if (operation.op === 'add') {
    items.splice(index, 0, { fresh: { value: operation.value } });
    return undefined;
  }
  const item = items[index];
  if (item === undefined) return 'is no place in the sequence';
  if (operation.op === 'replace') item.fresh = { value: operation.value };
  else return 'takes an item out of a sequence that is the document';
  return undefined;
}

function indexOf(part: string): number | undefined {
  return /^(?:0|[1-9]\d{0,8})$/.test(part) ? Number(part) : undefined;
}

/** A value below a collection: where a new one goes, and the node that is in the text. */
interface Child {
  readonly holder: { fresh?: Fresh };
  readonly source: Node | null;
}

function memberOf(document: SourceDocument, edit: MapEdit, key: string): Child | undefined {
  const own = edit.pairs.find((pair) => pair.key === key && !isMergeKey(pair.pair) && pair.isRemoved === undefined);
  if (own !== undefined) return { holder: own, source: own.pair.value as Node | null };
  const added = edit.added.get(key) ?? merged(document, edit, key);
  if (added === undefined) return undefined;
  edit.added.set(key, added);
  return { holder: { fresh: added }, source: null };
}

/** A member that came by a merge becomes one of the mapping's own. */
function merged(document: SourceDocument, { node }: MapEdit, key: string): Fresh | undefined {
  const members = document.copyOf(node) as object;
  const value = Object.hasOwn(members, key) ? (members as Record<string, unknown>)[key] : undefined;
  return value === undefined ? undefined : { value };
}

function itemOf({ node, items }: SeqEdit, part: string): Child | undefined {
  const item = items[indexOf(part) ?? items.length];
  if (item === undefined) return undefined;
  return { holder: item, source: item.index === undefined ? null : (node.items[item.index] as Node | null) };
}

/** Not an alias, nor the empty `{}`, which becomes lines. */
function isChangedInPlace(node: Node, isRemoval: boolean, edits: Edits): boolean {
  if (isRemoval) return isMap(node) && hasPlainLines(node, edits);
  return (isMap(node) || isSeq(node)) && node.items.length > 0;
}

/** Whether a member of the mapping can be taken out of the text: it is its own, the only one, and no block scalar claims lines. */
function hasPlainLines(node: YAMLMap, edits: Edits): boolean {
  const edit = edits.get(node);
  const hasRemoved = edit?.kind === 'map' && edit.pairs.some(({ isRemoved }) => isRemoved);
  return (
    !hasRemoved &&
    !node.items.some((pair) => isMergeKey(pair) || lastScalar(pair.value as Node | null)?.type?.startsWith('BLOCK'))
  );
}

/** What a node means with the changes so far. */
function currentOf(document: SourceDocument, edits: Edits, node: Node | null): unknown {
  const edit = node === null ? undefined : edits.get(node);
  if (edit === undefined) return document.copyOf(node);
  const meant = ({ fresh }: { fresh?: Fresh }, source: unknown) =>
    fresh === undefined ? currentOf(document, edits, source as Node | null) : fresh.value;
  if (edit.kind === 'seq')
    return edit.items.map((item) => meant(item, item.index === undefined ? null : edit.node.items[item.index]));
  const members = new Map<string, unknown>(Object.entries(document.copyOf(node) as object));
  for (const pair of edit.pairs) {
    if (pair.isRemoved) members.delete(pair.key);
    else if (!isMergeKey(pair.pair)) members.set(pair.key, meant(pair, pair.pair.value));
  }
  for (const [key, { value }] of edit.added) members.set(key, value);
  return Object.fromEntries(members);
}

function changeFresh(fresh: Fresh, rest: readonly string[], operation: Operation): string | undefined {
  if (typeof fresh.value !== 'object' || fresh.value === null) return 'leads through a plain value';
  const [problem] = applyPatch(fresh, [{ ...operation, path: pointer('value', ...rest) }]);
  return problem === null ? undefined : problem?.message;
}

/** Gives each alias whose anchor is changed or written anew a copy of what the anchor was. */
function expandAliases(document: SourceDocument, edits: Map<Node, Edit>, replaced: ReadonlySet<Node>): void {
  const changed = new Set([...edits.keys(), ...replaced]);
  for (const [alias, { target, place }] of document.aliases) {
    const isInText = !replaced.has(alias) && !replaced.has(place.parent);
    if (isInText && changed.has(target)) holderOf(document, edits, place).fresh ??= { value: document.copyOf(alias) };
  }
}

function holderOf(document: SourceDocument, edits: Map<Node, Edit>, { parent, index }: Place): { fresh?: Fresh } {
  const edit = editFor(document, edits, parent);
  return (edit?.kind === 'map' ? edit.pairs[index] : edit?.items.find((item) => item.index === index)) ?? {};
}

/** Every node of the text that is taken away or written anew. */
function replacedNodes(edits: Edits): ReadonlySet<Node> {
  const nodes = new Set<Node>();
  const collect = (node: unknown) =>
    visit(node as Node, {
      Node(_, inner) {
        nodes.add(inner);
      },
    });
  for (const edit of edits.values()) {
    if (edit.kind === 'map')
      for (const { pair, fresh, isRemoved } of edit.pairs) {
        if ((fresh !== undefined || isRemoved) && pair.value !== null) collect(pair.value);
      }
    else
      for (const { index, fresh } of edit.items)
        if (fresh !== undefined && index !== undefined) collect(edit.node.items[index]);
  }
  return nodes;
}
