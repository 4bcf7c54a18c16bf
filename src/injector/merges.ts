import type { Document, Scalar } from 'yaml';
import { isAlias, isMap, isNode, isScalar, isSeq, visit } from 'yaml';

/**
 * Where a merge stands behind a key that it brings too, as an offset into the text; undefined when there is none. YAML's
 * merge type keeps the key; kubectl, whose reader takes what comes last, the merged one. Without recursive aliases only.
 */
export function ambiguousMerge(nodes: Document.Parsed): number | undefined {
  let found: number | undefined;
  visit(nodes, {
    Map(_, { items }) {
      const before = new Set<string>();
      for (const { key, value } of items) {
        if (!isMerge(key)) before.add(nameOf(key, nodes));
        else if (before.size > 0 && namesIn(value, nodes).some((name) => before.has(name))) {
          found = key.range?.[0] ?? 0;
          return visit.BREAK;
        }
      }
      return undefined;
    },
  });
  return found;
}

function isMerge(key: unknown): key is Scalar {
  return isScalar(key) && key.source === '<<' && (key.type === undefined || key.type === 'PLAIN');
}

function nameOf(key: unknown, nodes: Document.Parsed): string {
  return String(isNode(key) ? key.toJS(nodes) : key);
}

/** The keys that a merge brings, those of merges in it included. */
function namesIn(value: unknown, nodes: Document.Parsed): string[] {
  const node = isAlias(value) ? value.resolve(nodes) : value;
  if (isSeq(node)) return node.items.flatMap((item) => namesIn(item, nodes));
  if (!isMap(node)) return [];
  return node.items.flatMap((pair) => (isMerge(pair.key) ? namesIn(pair.value, nodes) : [nameOf(pair.key, nodes)]));
}
