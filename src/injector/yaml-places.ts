import type { CST, Node, Pair, Scalar } from 'yaml';
import { isCollection, isMap, isScalar, isSeq } from 'yaml';

/** The pieces of text that make a pair or an item: what stands before it, its key, what stands between, its value. */
export type Pieces = CST.CollectionItem;

/** The text is laid out in a way that this program does not change. */
export class UnusualLayoutError extends Error {}

export function piecesOf({ srcToken }: Pair): Pieces {
  if (srcToken === undefined) throw new UnusualLayoutError('a pair has no text');
  return srcToken as Pieces;
}

export function itemPieces(sequence: Node, index: number): Pieces {
  const token = sequence.srcToken as { items?: Pieces[] } | undefined;
  const pieces = token?.items?.[index];
  if (pieces === undefined) throw new UnusualLayoutError('an item has no text');
  return pieces;
}

/** The column of a block collection, from 0. */
export function columnOf({ srcToken }: Node): number {
  if (srcToken?.type !== 'block-map' && srcToken?.type !== 'block-seq')
    throw new UnusualLayoutError('a collection has no column');
  return srcToken.indent;
}

const blanks: ReadonlySet<string> = new Set(['space', 'newline', 'comment', 'comma']);

/** Where a pair or an item begins, its anchor and tag included. */
export function startOf({ start, key, value }: Pieces): number {
  const offset = start.find(({ type }) => !blanks.has(type))?.offset ?? key?.offset ?? value?.offset;
  if (offset === undefined) throw new UnusualLayoutError('an item has no beginning');
  return offset;
}

/** Where the colon of a pair ends, or the dash of an item. */
export function indicatorEnd({ start, sep = [] }: Pieces): number {
  const found = [...sep, ...start].find(({ type }) => type === 'map-value-ind' || type === 'seq-item-ind');
  if (found === undefined) throw new UnusualLayoutError('a value has no indicator');
  return found.offset + found.source.length;
}

/** Where the value of a pair, or an item of a flow sequence, begins, its anchor and tag included. */
export function valueStart({ start, sep, value }: Pieces): number | undefined {
  return (sep ?? start).find(({ type }) => type === 'anchor' || type === 'tag')?.offset ?? value?.offset;
}

/** Comments between the indicator and the value. */
export function innerComments({ start, sep }: Pieces): string {
  return (sep ?? start)
    .filter(({ type }) => type === 'comment')
    .map(({ source }) => source)
    .join(' ');
}

/** Where a pair or an item ends, without comments behind it; behind a block scalar, that is the beginning of a line. */
export function endOf(node: Node | null, pieces: Pieces): number {
  return contentEnd(node) ?? lastPieceEnd(pieces);
}

function contentEnd(node: Node | null): number | undefined {
  if (node === null || (isScalar(node) && node.srcToken === undefined)) return undefined;
  if (isCollection(node) && node.flow !== true) return lastItemEnd(node) ?? node.range?.[1];
  return node.range?.[1];
}

function lastItemEnd(node: Node): number | undefined {
  const pair = isMap(node) ? node.items.at(-1) : undefined;
  if (pair !== undefined) return endOf(pair.value as Node | null, piecesOf(pair));
  if (!isSeq(node) || node.items.length === 0) return undefined;
  return endOf(node.items.at(-1) as Node | null, itemPieces(node, node.items.length - 1));
}

/** Of a value that is empty: behind its anchor or tag, else behind its indicator or key. */
function lastPieceEnd({ start, key, sep = [] }: Pieces): number {
  const last = [...start, ...(key === null || key === undefined ? [] : [key]), ...sep].findLast(
    ({ type }) => !blanks.has(type),
  );
  if (last === undefined) throw new UnusualLayoutError('an item has no end');
  return last.offset + ('source' in last ? last.source.length : 0);
}

/** The last scalar of a block collection or of a value: what stands directly before whatever is written behind it. */
export function lastScalar(node: Node | null): Scalar | undefined {
  if (isScalar(node)) return node;
  if (isMap(node) && node.flow !== true) return lastScalar(node.items.at(-1)?.value as Node | null);
  return isSeq(node) && node.flow !== true ? lastScalar(node.items.at(-1) as Node | null) : undefined;
}

/** Where the line that `offset` is in ends, before its line end. */
export function lineEnd(text: string, offset: number): number {
  const newline = text.indexOf('\n', offset);
  if (newline === -1) return text.length;
  return text[newline - 1] === '\r' ? newline - 1 : newline;
}

/** The blanks at the beginning of the line that `offset` is in. */
export function leadingBlanks(text: string, offset: number): string {
  const start = text.lastIndexOf('\n', offset - 1) + 1;
  return /^[ \t]*/.exec(text.slice(start, offset))?.[0] ?? '';
}
