import type { Node } from 'yaml';
import { isCollection, isMap, isSeq, visit } from 'yaml';
import type { Layout } from './yaml-block.ts';
import { blockLines, indented, isBlock, itemLines, memberLines, stepOf } from './yaml-block.ts';
import type { Edits, Fresh, MapEdit, PairEdit, SeqEdit } from './yaml-edit.ts';
import { flowSplices } from './yaml-flow.ts';
import type { Pieces } from './yaml-places.ts';
import {
  columnOf,
  endOf,
  indicatorEnd,
  innerComments,
  itemPieces,
  lastScalar,
  lineEnd,
  piecesOf,
  startOf,
  UnusualLayoutError,
} from './yaml-places.ts';
import { scalarText } from './yaml-scalar.ts';
import type { SourceDocument } from './yaml-source.ts';
import { endsWithoutLineEnd } from './yaml-source.ts';
import type { Splice } from './yaml-splice.ts';

/** The text of the input and the layout of the document in it. */
interface Page {
  readonly text: string;
  readonly layout: Layout;
}

/** How edits change the text: everything that is not changed stays byte for byte. Throws `UnusualLayoutError`. */
export function splicesOf(text: string, document: SourceDocument, edits: Edits): Splice[] {
  const page = { text, layout: layoutOf(text, document) };
  // What is inside of a collection is written before what follows it: both may go to the same place.
  const innermostFirst = [...edits.values()].sort((a, b) => (b.node.range?.[0] ?? 0) - (a.node.range?.[0] ?? 0));
  return innermostFirst.flatMap((edit) => {
    if (edit.node.flow === true) return flowSplices(text, edit);
    return edit.kind === 'map' ? mapSplices(page, edit) : seqSplices(page, edit);
  });
}

/** As the first collections of the document have it. */
function layoutOf(text: string, { contents, range: [start, end] }: SourceDocument): Layout {
  let mappingStep: number | undefined;
  let sequenceStep: number | undefined;
  visit(contents, {
    Pair(_, pair, path) {
      const parent = path.at(-1);
      const value = pair.value;
      if (!isMap(parent) || !isCollection(value) || parent.flow === true || value.flow === true) return undefined;
      const step = columnOf(value) - columnOf(parent);
      if (isSeq(value)) sequenceStep ??= step;
      else mappingStep ??= step;
      return mappingStep === undefined || sequenceStep === undefined ? undefined : visit.BREAK;
    },
  });
  const lineBreak = text.indexOf('\n', start);
  const isCrlf = lineBreak > 0 && lineBreak < end && text[lineBreak - 1] === '\r';
  return { mappingStep: mappingStep ?? 2, sequenceStep: sequenceStep ?? 0, lineEnd: isCrlf ? '\r\n' : '\n' };
}

function mapSplices(page: Page, edit: MapEdit): Splice[] {
  const { pairs, added, node } = edit;
  const lines = [...added].flatMap(([key, { value }]) => memberLines(key, value, page.layout));
  const splices = pairs.flatMap((pair) =>
    pair.fresh === undefined || pair.isRemoved ? [] : [pairReplaced(page, pair, pair.fresh, columnOf(node))],
  );
  const [firstRemoved, ...removed] = pairs.filter(({ isRemoved }) => isRemoved);
  if (firstRemoved === undefined)
    return [...splices, ...linesBehind(page, lastOf(edit), indented(lines, columnOf(node)))];
  if (lines.length === 0 && removed.length + 1 === pairs.length)
    throw new UnusualLayoutError('a mapping would be left without members');
  return [
    ...splices,
    lines.length > 0 ? linesInstead(page, firstRemoved, lines, columnOf(node)) : pairRemoved(page, edit, firstRemoved),
    ...removed.map((pair) => pairRemoved(page, edit, pair)),
  ];
}

/** The value and the text behind which new lines go. */
interface Behind {
  readonly node: Node | null;
  readonly pieces: Pieces;
}

function lastOf({ pairs }: MapEdit): Behind {
  const last = pairs.at(-1);
  if (last === undefined) throw new UnusualLayoutError('a block mapping has no members');
  return behind(last);
}

function behind({ pair }: PairEdit): Behind {
  return { node: pair.value as Node | null, pieces: piecesOf(pair) };
}

/** New lines behind the line on which something ends. */
function linesBehind(page: Page, { node, pieces }: Behind, lines: readonly string[]): Splice[] {
  if (lines.length === 0) return [];
  const { text, layout } = page;
  const end = endOf(node, pieces);
  if (text[end - 1] === '\n') return [insertion(end, lines.map((line) => `${line}${layout.lineEnd}`).join(''))];
  const written = insertion(lineEnd(text, end), lines.map((line) => `${layout.lineEnd}${line}`).join(''));
  return [...stripped(text, node), written];
}

/** A block scalar that was cut by the end of the text stays without its last line end. */
function stripped(text: string, node: Node | null): Splice[] {
  const scalar = lastScalar(node);
  if (scalar === undefined || !endsWithoutLineEnd(scalar, text)) return [];
  const props = scalar.srcToken?.type === 'block-scalar' ? scalar.srcToken.props : [];
  const header = props.find(({ type }) => type === 'block-scalar-header');
  if (header === undefined || !('source' in header)) throw new UnusualLayoutError('a block scalar has no header');
  const end = header.offset + header.source.length;
  return [{ start: header.offset, end, text: `${header.source.replaceAll(/[-+]/g, '')}-` }];
}

function insertion(at: number, text: string): Splice {
  return { start: at, end: at, text };
}

/** The value of a pair, written anew. Comments on its line stay. */
function pairReplaced(page: Page, { pair }: PairEdit, { value }: Fresh, column: number): Splice {
  const pieces = piecesOf(pair);
  const lines = isBlock(value) ? indented(blockLines(value, page.layout), column + stepOf(value, page.layout)) : [];
  return replaced(page, { node: pair.value as Node | null, pieces }, value, lines);
}

function replaced({ text, layout }: Page, { node, pieces }: Behind, value: unknown, lines: readonly string[]): Splice {
  const start = indicatorEnd(pieces);
  const end = Math.max(lastLineEnd(text, endOf(node, pieces)), start);
  const rest = isBlock(value) ? text.slice(end, lineEnd(text, end)) : '';
  const comments = [innerComments(pieces), rest.trim()].filter((comment) => comment !== '').join(' ');
  const comment = comments === '' ? '' : ` ${comments}`;
  const written = isBlock(value) ? [comment, ...lines] : [` ${scalarText(value)}${comment}`];
  return { start, end: end + rest.length, text: written.join(layout.lineEnd) };
}

/** Behind a block scalar, the end of its last line instead of the beginning of the next. */
function lastLineEnd(text: string, end: number): number {
  return text[end - 1] === '\n' ? lineEnd(text, end - 1) : end;
}

/** New members in the place of one that is removed. */
function linesInstead({ text, layout }: Page, removed: PairEdit, lines: readonly string[], column: number): Splice {
  const { node, pieces } = behind(removed);
  const written = lines.join(`${layout.lineEnd}${' '.repeat(column)}`);
  return { start: startOf(pieces), end: lastLineEnd(text, endOf(node, pieces)), text: written };
}

/** Takes away the lines of a pair; the first pair behind a dash shares its line, and gives way to the next one. */
function pairRemoved({ text }: Page, { pairs }: MapEdit, removed: PairEdit): Splice {
  const { node, pieces } = behind(removed);
  const start = startOf(pieces);
  const lineStart = text.lastIndexOf('\n', start - 1) + 1;
  if (text.slice(lineStart, start).trim() !== '') {
    const next = pairs[pairs.indexOf(removed) + 1];
    if (next === undefined) throw new UnusualLayoutError('a mapping would be left without members');
    return { start, end: startOf(piecesOf(next.pair)), text: '' };
  }
  return { ...linesOf(text, lineStart, endOf(node, pieces)), text: '' };
}

/**
 * The lines from the one that begins at `start` to the one on which something ends, with the line end before them and
 * without their own: what is written behind the last one stays.
 */
function linesOf(text: string, start: number, end: number): { start: number; end: number } {
  if (text[end - 1] === '\n') return { start, end };
  if (start === 0) return { start, end: Math.min(text.length, text.indexOf('\n', end) + 1 || text.length) };
  return { start: lineEnd(text, start - 1), end: lineEnd(text, end) };
}

function seqSplices(page: Page, { node, items }: SeqEdit): Splice[] {
  const column = columnOf(node);
  const splices: Splice[] = [];
  let previous: Behind | undefined;
  for (const item of items) {
    const { index, fresh } = item;
    if (index === undefined) {
      const lines = itemLines(fresh?.value, page.layout);
      splices.push(
        ...(previous === undefined
          ? itemFirst(page, node, lines)
          : linesBehind(page, previous, indented(lines, column))),
      );
      continue;
    }
    previous = { node: node.items[index] as Node | null, pieces: itemPieces(node, index) };
    if (fresh !== undefined) splices.push(itemReplaced(page, previous, fresh, column));
  }
  return splices;
}

/** In front of the first item, and of the comments above it: they are about that item. */
function itemFirst({ text, layout }: Page, node: Node, lines: readonly string[]): Splice[] {
  const column = columnOf(node);
  const dash = startOf(itemPieces(node, 0));
  const lineStart = text.lastIndexOf('\n', dash - 1) + 1;
  // Behind another dash the first item has no line of its own.
  if (text.slice(lineStart, dash).trim() !== '')
    return [
      insertion(
        dash,
        lines.map((line, index) => `${index === 0 ? '' : ' '.repeat(column)}${line}${layout.lineEnd}`).join('') +
          ' '.repeat(column),
      ),
    ];
  return [
    insertion(
      commentsAbove(text, lineStart),
      indented(lines, column)
        .map((line) => `${line}${layout.lineEnd}`)
        .join(''),
    ),
  ];
}

/** The beginning of the comments and blank lines directly above a line. */
function commentsAbove(text: string, lineStart: number): number {
  let start = lineStart;
  while (start > 0) {
    const above = text.lastIndexOf('\n', start - 2) + 1;
    if (!/^[ \t]*(?:#.*)?\r?\n$/.test(text.slice(above, start))) break;
    start = above;
  }
  return start;
}

function itemReplaced(page: Page, item: Behind, { value }: Fresh, column: number): Splice {
  const lines = isBlock(value) ? blockLines(value, page.layout) : [];
  const splice = replaced(page, item, value, indented(lines, column + 2));
  // The first line stands behind the dash, unless a comment does.
  const [first = ''] = lines;
  const separator = `${page.layout.lineEnd}${' '.repeat(column + 2)}${first}`;
  return splice.text.startsWith(separator) && isBlock(value)
    ? { ...splice, text: ` ${splice.text.slice(separator.length - first.length)}` }
    : splice;
}
