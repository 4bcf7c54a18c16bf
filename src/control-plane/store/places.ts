import type { Alias, Document, LineCounter, Node } from 'yaml';
import { isAlias, isMap, isNode, isScalar, isSeq } from 'yaml';
import type { Path } from '../policy/finding.ts';
import type { Position } from './note.ts';

/** What each alias of a document stands for. */
export type AliasTargets = ReadonlyMap<Alias, Node>;

/** Where a value is written, or the nearest thing around it that is; of its name with `isOfKey`. */
export function offsetOf(
  { document, targets }: { readonly document: Document.Parsed; readonly targets: AliasTargets },
  path: Path,
  isOfKey = false,
): number {
  let node: unknown = document.contents;
  let offset = document.range[0];
  for (const [index, segment] of path.entries()) {
    const isLast = index === path.length - 1;
    if (isAlias(node)) node = targets.get(node);
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => String(isScalar(key) ? key.value : key) === `${segment}`);
      const found = isLast && isOfKey ? pair?.key : (pair?.value ?? pair?.key);
      if (!isNode(found)) return startOf(node, offset);
      offset = startOf(found, offset);
      node = found;
    } else if (isSeq(node)) {
      const item: unknown = node.items[Number(segment)];
      if (!isNode(item)) return startOf(node, offset);
      offset = startOf(item, offset);
      node = item;
    } else {
      return offset;
    }
  }
  return path.length === 0 ? startOf(node, offset) : offset;
}

/** Where a node begins. */
export function startOf(node: unknown, otherwise: number): number {
  return isNode(node) ? ((node as Node).range?.[0] ?? otherwise) : otherwise;
}

export function positionAt(lines: LineCounter, offset: number): Position {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(line, 1), column: Math.max(col, 1) };
}

export function positionIn(text: string, index: number): Position {
  const before = text.slice(0, index).split('\n');
  return { line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}
