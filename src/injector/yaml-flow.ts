import type { Node } from 'yaml';
import type { Fresh, MapEdit, SeqEdit } from './yaml-edit.ts';
import type { Pieces } from './yaml-places.ts';
import {
  endOf,
  indicatorEnd,
  itemPieces,
  leadingBlanks,
  piecesOf,
  startOf,
  UnusualLayoutError,
  valueStart,
} from './yaml-places.ts';
import { flowText, jsonText } from './yaml-scalar.ts';
import type { Splice } from './yaml-splice.ts';

/** How edits change the text of a flow collection, which is what JSON is. */
export function flowSplices(text: string, edit: MapEdit | SeqEdit): Splice[] {
  const style = styleOf(text, edit.node);
  return edit.kind === 'map' ? mapSplices(edit, style) : seqSplices(edit, style);
}

interface FlowStyle {
  /** What follows the comma between two items. */
  readonly separator: string;
  /** What follows the colon of a pair. */
  readonly colon: string;
  write(value: unknown): string;
}

/** As the collection has it: an item on each line, or all on one; with blanks or without any, as JSON that a program wrote. */
function styleOf(text: string, node: Node): FlowStyle {
  const [start = 0, end = 0] = node.range ?? [];
  const first = /\S/.exec(text.slice(start + 1))?.index ?? 0;
  const opening = text.slice(start + 1, start + 1 + first);
  if (opening.includes('\n')) {
    const outer = leadingBlanks(text, start);
    const inner = opening.slice(opening.lastIndexOf('\n') + 1);
    const step = inner.startsWith(outer) && inner.length > outer.length ? inner.slice(outer.length) : '  ';
    const lineEnd = opening.includes('\r\n') ? '\r\n' : '\n';
    const write = (value: unknown) => jsonText(value, step).replaceAll('\n', `${lineEnd}${inner}`);
    return { separator: `${lineEnd}${inner}`, colon: ' ', write };
  }
  const isDense = !/[,:]\s/.test(text.slice(start, end).replaceAll(/"(?:[^"\\]|\\.)*"/g, '""'));
  if (isDense && text[start + 1] === '"') return { separator: '', colon: '', write: (value) => jsonText(value) };
  return { separator: ' ', colon: ' ', write: (value) => flowText(value) };
}

function mapSplices({ node, pairs, added }: MapEdit, style: FlowStyle): Splice[] {
  const written = [...added].map(([key, { value }]) => `${jsonText(key)}:${style.colon}${style.write(value)}`);
  const kept = pairs.filter(({ isRemoved }) => isRemoved === undefined);
  const splices = kept.flatMap(({ pair, fresh }) =>
    fresh === undefined ? [] : [valueReplaced(pair.value as Node | null, piecesOf(pair), fresh, style)],
  );
  const items = pairs.map(({ pair }) => ({
    start: startOf(piecesOf(pair)),
    end: endOf(pair.value as Node | null, piecesOf(pair)),
  }));
  const isRemoved = (index: number) => pairs[index]?.isRemoved === true;
  return [...splices, ...removals(items, isRemoved), ...behind(items.at(-1), node, written, style, kept.length > 0)];
}

function seqSplices({ node, items }: SeqEdit, style: FlowStyle): Splice[] {
  const places = node.items.map((item, index) => {
    const pieces = itemPieces(node, index);
    return { start: startOf(pieces), end: endOf(item as Node | null, pieces) };
  });
  const splices: Splice[] = [];
  let previous: Stretch | undefined;
  for (const { index, fresh } of items) {
    if (index === undefined) splices.push(...itemAdded(places, previous, style.write(fresh?.value), style));
    else {
      previous = places[index];
      if (fresh !== undefined)
        splices.push(valueReplaced(node.items[index] as Node, itemPieces(node, index), fresh, style));
    }
  }
  return splices;
}

interface Stretch {
  readonly start: number;
  readonly end: number;
}

function valueReplaced(node: Node | null, pieces: Pieces, { value }: Fresh, style: FlowStyle): Splice {
  const start = valueStart(pieces);
  if (start !== undefined) return { start, end: Math.max(start, endOf(node, pieces)), text: style.write(value) };
  const empty = indicatorEnd(pieces);
  return { start: empty, end: empty, text: ` ${style.write(value)}` };
}

function itemAdded(
  [first]: readonly Stretch[],
  previous: Stretch | undefined,
  written: string,
  style: FlowStyle,
): Splice[] {
  if (previous !== undefined)
    return [{ start: previous.end, end: previous.end, text: `,${style.separator}${written}` }];
  if (first === undefined) throw new UnusualLayoutError('a flow collection has no items');
  return [{ start: first.start, end: first.start, text: `${written},${style.separator}` }];
}

function behind(
  last: Stretch | undefined,
  node: Node,
  written: readonly string[],
  style: FlowStyle,
  isAnyKept: boolean,
): Splice[] {
  if (written.length === 0) return [];
  const at = last?.end ?? (node.range?.[0] ?? 0) + 1;
  const text = written.join(`,${style.separator}`);
  return [{ start: at, end: at, text: isAnyKept ? `,${style.separator}${text}` : text }];
}

/** Each with the comma that belongs to it. */
function removals(items: readonly Stretch[], isRemoved: (index: number) => boolean): Splice[] {
  return items.flatMap(({ start, end }, index) => {
    if (!isRemoved(index)) return [];
    const next = items[index + 1];
    const previous = items[index - 1];
    if (next !== undefined) return [{ start, end: next.start, text: '' }];
    return [{ start: previous?.end ?? start, end, text: '' }];
  });
}
