import type { Alias, Node, Pair, YAMLMap } from 'yaml';
import { isMap, isScalar, isSeq, LineCounter, parseDocument, visit } from 'yaml';
import { messageOf } from '../errors.ts';
import type { Given, GivenSet } from './given.ts';
import { shown } from './given.ts';
import { nearest } from './nearest.ts';
import type { Setting, SettingsTable } from './setting.ts';
import type { TunnelPart } from './tunnel.ts';
import { tunnelParts, tunnelText } from './tunnel.ts';

/** One mistake of YAML makes many follow; the first ones tell enough. */
const mostSyntaxErrors = 3;

/** Characters of the largest file of settings. */
const maxFileLength = 64 * 1024;

/** Reads a YAML file of the settings in `table`: a mapping from setting to value. Nothing of YAML beyond plain values is accepted. */
export function readSettingsFile<Table extends SettingsTable>(
  path: string,
  text: string,
  table: Table,
): GivenSet<keyof Table & string> {
  const reject = (problem: string) => ({ given: [], problems: [problem] });
  const unreadable = refuseText(path, text);
  if (unreadable !== undefined) return reject(unreadable);
  try {
    return readDocument(path, text, table);
  } catch (error) {
    // A file of 60,000 brackets exhausts the parser's stack.
    return reject(`${path} is not valid YAML: ${messageOf(error)}, expected a mapping of settings`);
  }
}

function refuseText(path: string, text: string): string | undefined {
  if (text.length > maxFileLength) return `${path} has ${text.length} characters, expected at most ${maxFileLength}`;
  if (text.startsWith('\uFEFF')) return `${path} begins with a byte order mark, expected plain UTF-8`;
  if (text.includes('\0')) return `${path} contains a NUL character, expected YAML text`;
  if (text.trim() === '') return `${path} is empty, expected a mapping of settings`;
  return undefined;
}

function readDocument<Table extends SettingsTable>(
  path: string,
  text: string,
  table: Table,
): GivenSet<keyof Table & string> {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    uniqueKeys: true,
    stringKeys: true,
    merge: false,
    version: '1.2',
  });
  const lineOf = (node: { range?: readonly number[] | null | undefined } | null) =>
    lines.linePos(node?.range?.[0] ?? 0).line;
  const problems = [...document.errors, ...document.warnings].slice(0, mostSyntaxErrors).map(({ message, pos }) => {
    const what = (message.split(/ at line |\n/)[0] ?? message).replace(/[.:]$/, '');
    return `${path} line ${lines.linePos(pos[0]).line} is not valid YAML: ${shown(what)}`;
  });
  if (problems.length > 0) return { given: [], problems };
  const alias = firstAlias(document.contents);
  if (alias !== undefined) {
    return {
      given: [],
      problems: [`${path} line ${lineOf(alias)} uses the alias *${shown(alias.source)}, expected plain values`],
    };
  }
  if (!isMap(document.contents))
    return { given: [], problems: [`${path} is not a mapping, expected lines such as trustDomain: cluster.local`] };
  return readMapping(path, document.contents, table, lineOf);
}

function firstAlias(contents: Node | null): Alias | undefined {
  let found: Alias | undefined;
  visit(contents, {
    Alias(_, node) {
      found = node;
      return visit.BREAK;
    },
  });
  return found;
}

function readMapping<Table extends SettingsTable>(
  path: string,
  mapping: YAMLMap,
  table: Table,
  lineOf: (node: Node | null) => number,
): GivenSet<keyof Table & string> {
  const given: Given<keyof Table & string>[] = [];
  const problems: string[] = [];
  for (const pair of mapping.items) {
    const key = keyOf(pair);
    const line = lineOf(pair.key as Node | null);
    const setting = Object.hasOwn(table, key) ? table[key] : undefined;
    if (setting === undefined) {
      problems.push(unknownKey(key, `${path} line ${line}`, Object.keys(table)));
      continue;
    }
    const texts = textsOf(key, setting, pair.value as Node | null);
    if (texts === undefined)
      problems.push(`${key} in ${path} line ${line} has the wrong shape, expected ${shapeOf(key, setting)}`);
    else given.push({ name: key, texts, origin: { kind: 'file', path, line } });
  }
  return { given, problems };
}

function keyOf(pair: Pair): string {
  return isScalar(pair.key) ? String(pair.key.value) : String(pair.key);
}

function unknownKey(key: string, where: string, known: readonly string[]): string {
  const meant = nearest(key, known);
  return `${shown(key)} in ${where} is not a setting, ${meant === undefined ? 'expected one of the settings' : `did you mean ${meant}?`}`;
}

function shapeOf(name: string, { kind }: Setting<unknown>): string {
  if (name === 'tunnels') return 'a sequence of mappings with listen, target, peer and optionally via';
  return kind.isList ? 'a sequence' : `a single value, ${kind.expected}`;
}

function textsOf(name: string, { kind }: Setting<unknown>, node: Node | null): readonly string[] | undefined {
  if (!kind.isList) return wrap(scalarText(node, kind.inFile));
  if (!isSeq(node)) return undefined;
  const texts = node.items.map((item) =>
    name === 'tunnels' ? tunnelOf(item as Node | null) : scalarText(item as Node | null, kind.inFile),
  );
  return texts.every((text) => text !== undefined) ? texts : undefined;
}

const wrap = (text: string | undefined) => (text === undefined ? undefined : [text]);

/** The text of a plain value. A quoted number keeps its quotes, so that it is no number: what YAML calls a string is one. */
function scalarText(node: Node | null, inFile: 'string' | 'number' | 'boolean'): string | undefined {
  if (node === null) return '';
  if (!isScalar(node)) return undefined;
  const { value, source = '' } = node;
  if (typeof value === 'string') return inFile === 'string' ? value : `"${value}"`;
  return source;
}

function tunnelOf(node: Node | null): string | undefined {
  if (!isMap(node)) return undefined;
  const parts: Partial<Record<TunnelPart, string>> = {};
  for (const pair of node.items) {
    const part = tunnelParts.find((name) => name === keyOf(pair));
    const text = scalarText(pair.value as Node | null, 'string');
    if (part === undefined || text === undefined || text.includes(' ')) return undefined;
    parts[part] = text;
  }
  return tunnelText(parts);
}
