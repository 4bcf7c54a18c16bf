import * as v from 'valibot';
import type { Alias, Document, Node } from 'yaml';
import { isAlias, isNode, isScalar, LineCounter, visit } from 'yaml';
import { messageOf } from '../../errors.ts';
import type { Finding, Path } from '../policy/finding.ts';
import { problem, shown } from '../policy/finding.ts';
import { policyReader, unreadFinding } from '../policy/read.ts';
import { documentsIn } from './documents.ts';
import type { Note, Position } from './note.ts';
import type { Kind, RegistryObject } from './objects.ts';
import { kinds } from './objects.ts';
import type { AliasTargets } from './places.ts';
import { offsetOf, positionAt, positionIn, startOf } from './places.ts';

export interface ReadObject {
  readonly entry: RegistryObject;
  readonly position: Position;
}

/** What stands in a text; when something is broken the rest is still there, for whoever looks for every mistake. */
export interface ReadText {
  readonly objects: readonly ReadObject[];
  /** Kinds that are none of ours. */
  readonly ignored: readonly string[];
  /** What keeps the text from being used at all. */
  readonly broken: readonly Note[];
  /** What is wrong with objects of policy, which fail closed one by one, or worth knowing of them. */
  readonly notes: readonly Note[];
}

/** The whole text or nothing. */
export type YamlResult =
  | ({ readonly kind: 'objects' } & Omit<ReadText, 'broken'>)
  | { readonly kind: 'broken'; readonly position: Position; readonly why: string };

/** How many aliases one document may have, and how often they may be expanded; what people write stays far below, a bomb does not. */
const maxAliasCount = 50;

/** The core schema of YAML 1.2 alone: a set or an ordered map would be an object without a field to every schema here. */
const yamlOptions = {
  version: '1.2',
  schema: 'core',
  resolveKnownTags: false,
  prettyErrors: false,
  uniqueKeys: false,
} as const;

/**
 * Reads Kubernetes objects from YAML 1.2 (so JSON too), one or many documents, `List`s taken apart. Never throws and
 * never trusts: duplicate keys, merge keys, tags of no core type, another version of YAML, recursive or exploding aliases, NUL
 * and byte order marks break the text.
 */
export function readYaml(text: string): YamlResult {
  const { broken, ...rest } = readText(text);
  const [first] = broken;
  if (first === undefined) return { kind: 'objects', ...rest };
  return { kind: 'broken', position: first.position, why: brokenText(first) };
}

/** What keeps a text from being used, without its place. */
export function brokenText({ kind, why }: Note): string {
  return kind === '' ? why : `${kind}: ${why}`;
}

/** As `readText`, in turns of the event loop, so that all else goes on meanwhile; what is not UTF-8 is broken. */
export async function readBytes(bytes: Uint8Array): Promise<ReadText> {
  try {
    return await readTextInTurns(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (error) {
    const broken = [brokenAt({ line: 1, column: 1 }, messageOf(error))];
    return { objects: [], ignored: [], broken, notes: [] };
  }
}

/** As `readYaml`, but goes on behind an object or a document that is broken. */
export function readText(text: string): ReadText {
  const steps = readInSteps(text);
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** As `readText`, in turns of the event loop. The longest of them is bounded by one document: by what the library does at its end. */
export async function readTextInTurns(text: string): Promise<ReadText> {
  const steps = readInSteps(text);
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
    await new Promise<void>((resolve) => void setImmediate(resolve));
  }
}

/** Stops wherever all else may go on. */
function* readInSteps(text: string): Generator<undefined, ReadText> {
  const lines = new LineCounter();
  const found: Found = { objects: [], ignored: [], broken: [], notes: [] };
  const forbidden = /[\0\uFEFF]/.exec(text);
  const unreadable =
    forbidden !== null
      ? brokenAt(positionIn(text, forbidden.index), 'NUL or a byte order mark is not text')
      : text.trim() === ''
        ? brokenAt({ line: 1, column: 1 }, 'the file is empty')
        : undefined;
  if (unreadable !== undefined) return { ...found, broken: [unreadable] };
  for (const document of documentsIn(text, { ...yamlOptions, lineCounter: lines })) {
    yield;
    if (document === undefined) continue;
    try {
      yield* readDocument(document, lines, found);
    } catch (error) {
      const offset = error instanceof BrokenYaml ? error.offset : document.range[0];
      found.broken.push(brokenAt(positionAt(lines, offset), messageOf(error)));
    }
  }
  return found;
}

interface Found {
  readonly objects: ReadObject[];
  readonly ignored: string[];
  readonly broken: Note[];
  readonly notes: Note[];
}

class BrokenYaml extends Error {
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

function* readDocument(document: Document.Parsed, lines: LineCounter, found: Found): Generator<undefined> {
  const [problem] = [...document.errors, ...document.warnings];
  if (problem !== undefined) throw new BrokenYaml(messageOf(problem), problem.pos[0]);
  const { yaml } = document.directives;
  if (yaml.explicit && yaml.version !== '1.2')
    throw new BrokenYaml(`YAML ${yaml.version} is asked for, expected 1.2`, 0);
  const targets = aliasTargets(document);
  yield;
  refuseHidden(document);
  yield;
  const value: unknown = document.toJS({ maxAliasCount });
  for (const { object, path } of objectsIn(value)) {
    yield;
    const at = (inner: Path, isOfKey?: boolean) =>
      positionAt(lines, offsetOf({ document, targets }, [...path, ...inner], isOfKey));
    const parsed = v.safeParse(v.object({ apiVersion: v.string(), kind: v.string() }), object);
    if (parsed.success) readObject(object, parsed.output, at, found);
    else found.broken.push(brokenAt(at([]), 'no apiVersion and kind, expected a Kubernetes object'));
  }
}

/** What each alias stands for, found in one walk: the library walks the document for each. It hands out a structure that contains itself. */
function aliasTargets(document: Document.Parsed): AliasTargets {
  const anchors = new Map<string, Node>();
  const targets = new Map<Alias, Node>();
  visit(document, {
    Node(_, node, path) {
      if (!isAlias(node)) {
        if (node.anchor !== undefined) anchors.set(node.anchor, node);
        return;
      }
      const target = anchors.get(node.source);
      const offset = startOf(node, 0);
      if (target === undefined || path.includes(target))
        throw new BrokenYaml(`The alias *${node.source} has no anchor in front of it`, offset);
      targets.set(node, target);
      if (targets.size > maxAliasCount)
        throw new BrokenYaml(`More than ${maxAliasCount} aliases stand in one document, expected fewer`, offset);
    },
  });
  return targets;
}

/** What means another thing to other readers of YAML, or hides behind something else. */
function refuseHidden(document: Document.Parsed): void {
  visit(document, {
    Scalar(_, scalar) {
      // To YAML 1.1, which kubectl reads, 017620 is octal: text is no number to anybody.
      const { type, value, source = '' } = scalar;
      if (type === 'PLAIN' && typeof value === 'number' && /^[-+]?0[\do]/.test(source)) scalar.value = source;
    },
    Map(_, { items }) {
      const names = new Set<string>();
      for (const { key } of items) {
        const offset = startOf(key, document.range[0]);
        if (isNode(key) && !isScalar(key)) throw new BrokenYaml('A key is no single value, expected a name', offset);
        if (isScalar(key) && key.type === 'PLAIN' && key.value === '<<')
          throw new BrokenYaml('The merge key << is not read, expected the fields themselves', offset);
        const name = nameOfKey(key);
        if (names.has(name)) throw new BrokenYaml('Map keys must be unique', offset);
        names.add(name);
      }
    },
  });
}

/** Keys are names of fields in the end: `8080` and `"8080"` are the same. */
const nameOfKey = (key: unknown) => String(isScalar(key) ? key.value : key);

/** The objects of one document: none when it is empty, the items of a `List` or of one with a type, such as `PodList`. */
function objectsIn(value: unknown, path: Path = []): { readonly object: unknown; readonly path: Path }[] {
  if (path.length === 0 && (value === null || value === undefined)) return [];
  const list = v.safeParse(
    v.object({ kind: v.pipe(v.string(), v.endsWith('List')), items: v.array(v.unknown()) }),
    value,
  );
  if (!list.success) return [{ object: value, path }];
  return list.output.items.flatMap((object, index) => objectsIn(object, [...path, 'items', index]));
}

/** What would be a list of objects that are read, if it could be taken apart. */
function isUnreadableList(apiVersion: string, kind: string): boolean {
  return /^list$/i.test(kind) || (kind.endsWith('List') && isKnown(`${apiVersion}/${kind.slice(0, -'List'.length)}`));
}

type Places = (path: Path, isOfKey?: boolean) => Position;

function readObject(
  object: unknown,
  { apiVersion, kind }: { readonly apiVersion: string; readonly kind: string },
  at: Places,
  found: Found,
): void {
  const fullKind = `${apiVersion}/${kind}`;
  const noted = ({ severity, path, isOfKey, why }: Finding): Note => {
    return { severity, position: at(path, isOfKey), kind: fullKind, name: nameOf(kind, object), path, why };
  };
  const read = policyReader(apiVersion, kind);
  if (read !== undefined) {
    const { entry, findings } = read(object);
    if (entry !== undefined) found.objects.push({ entry, position: at([]) });
    (entry === undefined ? found.broken : found.notes).push(...findings.map(noted));
  } else if (isKnown(fullKind)) {
    const checked = checkObject(fullKind, object);
    if (checked.kind === 'sound') found.objects.push({ entry: checked.entry, position: at([]) });
    else found.broken.push(noted({ severity: 'problem', ...checked }));
  } else {
    const finding = isUnreadableList(apiVersion, kind)
      ? problem(['kind'], `is ${shown(kind)} without a list of items, expected List with items`)
      : unreadFinding(apiVersion, kind);
    // Nothing of it can fail closed: nobody knows whom it is about.
    if (finding?.severity === 'problem') return void found.broken.push(noted(finding));
    found.ignored.push(fullKind);
    if (finding !== undefined) found.notes.push(noted(finding));
  }
}

/** As far as the object says. */
function nameOf(kind: string, object: unknown): string {
  const parsed = v.safeParse(
    v.object({ metadata: v.object({ name: v.string(), namespace: v.nullish(v.string(), 'default') }) }),
    object,
  );
  if (!parsed.success) return '';
  const { name, namespace } = parsed.output.metadata;
  return kind === 'Namespace' || kind === 'Node' ? name : `${namespace}/${name}`;
}

function isKnown(kind: string): kind is Kind {
  return Object.hasOwn(kinds, kind);
}

type Checked =
  | { readonly kind: 'sound'; readonly entry: RegistryObject }
  | { readonly kind: 'unsound'; readonly path: Path; readonly why: string };

function checkObject(kind: Kind, object: unknown): Checked {
  const parsed = v.safeParse(kinds[kind] as v.GenericSchema, object, { abortEarly: true });
  // The schema that was looked up under `kind` made the object.
  if (parsed.success) return { kind: 'sound', entry: { kind, object: parsed.output } as RegistryObject };
  const [issue] = parsed.issues;
  const path = (issue.path ?? []).map(({ key }) => key as string | number);
  return { kind: 'unsound', path, why: `${path.join('.')} ${wordsOf(issue)}` };
}

function wordsOf(issue: v.BaseIssue<unknown>): string {
  const isOurs = issue.message.startsWith('is ');
  return isOurs ? `${issue.received} ${issue.message}` : `is ${issue.received}, expected ${issue.expected}`;
}

function brokenAt(position: Position, why: string): Note {
  return { severity: 'problem', position, kind: '', name: '', path: [], why };
}
