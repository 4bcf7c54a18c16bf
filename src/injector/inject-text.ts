import { shown } from '../config/given.ts';
import { messageOf } from '../errors.ts';
import type { Injection, PodContext } from './inject.ts';
import type { Operation } from './patch.ts';
import { applyTo, patchBelow } from './patch.ts';
import type { PlacedPod } from './workloads.ts';
import { foreignWorkload, podsIn } from './workloads.ts';
import { patchedYaml, readYaml } from './yaml-text.ts';

/** Decides about one pod. */
export type PodInjector = (pod: unknown, context: PodContext) => Injection;

export type InjectedText =
  /** `remarks`: pods that were skipped and warnings, one line each. */
  | { readonly kind: 'done'; readonly text: string; readonly remarks: readonly string[] }
  /** One sentence for each problem, with the name of the object. */
  | { readonly kind: 'refused'; readonly problems: readonly string[] };

/**
 * The text of Kubernetes objects, YAML or JSON, with the sidecar in every pod that gets one. All or nothing: one problem
 * and no text comes out. A document that is not changed stays byte for byte. `namespace` is for objects without one.
 */
export function injectText(text: string, namespace: string, inject: PodInjector): InjectedText {
  if (text.trim() === '') return refused(['The input is empty, expected Kubernetes YAML or JSON']);
  const documents = readJson(text) ?? readDocuments(text);
  if (documents.kind === 'broken') return refused(documents.problems);
  const results = documents.list.map((document, index) => injectDocument(document, index + 1, namespace, inject));
  const problems = results.flatMap((result) => result.problems);
  if (problems.length > 0) return refused(problems);
  const remarks = results.flatMap((result) => result.remarks);
  if (!results.some(({ hasPods }) => hasPods)) remarks.push('The input has no pods, nothing was changed');
  return { kind: 'done', text: results.map((result) => result.text).join(''), remarks };
}

/** A document of either format. */
interface TextDocument {
  readonly value: unknown;
  readonly source: string;
  /** Undefined when what was written would not mean what the patch says. */
  write(patch: readonly Operation[]): { readonly text: string; readonly hasComments: boolean } | undefined;
}

type TextDocuments =
  | { readonly kind: 'documents'; readonly list: readonly TextDocument[] }
  | { readonly kind: 'broken'; readonly problems: readonly string[] };

/** Undefined when the text is not JSON: YAML is what is left. */
function readJson(source: string): TextDocuments | undefined {
  if (!source.trimStart().startsWith('{')) return undefined;
  let value: unknown;
  let asWritten: unknown;
  try {
    value = JSON.parse(source);
    asWritten = JSON.parse(source, keepNumbers);
  } catch {
    return undefined;
  }
  const indent = /^\s*\{\r?\n([ \t]+)/.exec(source)?.[1];
  const end = source.endsWith('\n') ? '\n' : '';
  const write = (patch: readonly Operation[]) => {
    applyTo(asWritten, patch);
    return { text: `${JSON.stringify(asWritten, undefined, indent)}${end}`, hasComments: true };
  };
  return { kind: 'documents', list: [{ value, source, write }] };
}

/** Numbers may be longer than JavaScript's, and are nobody's to round. */
function keepNumbers(_: string, value: unknown, { source }: { readonly source?: string }): unknown {
  return typeof value === 'number' && source !== undefined ? JSON.rawJSON(source) : value;
}

function readDocuments(text: string): TextDocuments {
  const read = readYaml(text);
  if (read.kind === 'broken') return read;
  const list = read.documents.map((document): TextDocument => {
    const { value, source } = document;
    return { value, source, write: (patch) => patchedYaml(document, patch) };
  });
  return { kind: 'documents', list };
}

interface Result {
  readonly text: string;
  readonly hasPods: boolean;
  readonly problems: readonly string[];
  readonly remarks: readonly string[];
}

function injectDocument(document: TextDocument, number: number, namespace: string, inject: PodInjector): Result {
  const { value, source } = document;
  const unchanged: Result = { text: source, hasPods: false, problems: [], remarks: [] };
  if (value === null) return unchanged;
  if (typeof value !== 'object' || Array.isArray(value))
    return { ...unchanged, problems: [`Document ${number} is no mapping, expected a Kubernetes object`] };
  const decided = podsIn(value, namespace).map((placed) => ({ placed, injection: inject(placed.pod, placed.context) }));
  const hasPods = decided.length > 0;
  const problems = decided.flatMap(problemsOf);
  const remarks = decided.flatMap(remarksOf);
  const foreign = hasPods ? undefined : foreignWorkload(value);
  if (foreign !== undefined) remarks.push(`${shown(foreign)}: skipped: It is no workload of Kubernetes' own`);
  const patch = decided.flatMap(patchOf);
  if (problems.length > 0 || patch.length === 0) return { text: source, hasPods, problems, remarks };
  const written = document.write(patch);
  if (written === undefined) return { ...unchanged, problems: [unusual(number)] };
  if (!written.hasComments)
    remarks.push(`Document ${number} uses aliases: they were expanded, and its comments are lost`);
  return { text: written.text, hasPods, problems, remarks };
}

interface Decided {
  readonly placed: PlacedPod;
  readonly injection: Injection;
}

function problemsOf({ placed, injection }: Decided): string[] {
  return injection.kind === 'refused' ? injection.problems.map((problem) => said(placed, problem)) : [];
}

function remarksOf({ placed, injection }: Decided): string[] {
  const misplaced = placed.misplaced.map((name) =>
    said(placed, `warning: ${name} stands on the workload and has no effect, expected it on the template`),
  );
  return [...misplaced, ...decisionRemarks({ placed, injection })];
}

function decisionRemarks({ placed, injection }: Decided): string[] {
  if (injection.kind === 'skipped') return [said(placed, `skipped: ${injection.why}`)];
  return injection.kind === 'injected' ? injection.warnings.map((warning) => said(placed, `warning: ${warning}`)) : [];
}

function patchOf({ placed, injection }: Decided): Operation[] {
  return injection.kind === 'injected' ? patchBelow(placed.path, injection.patch) : [];
}

function said({ title }: PlacedPod, sentence: string): string {
  return `${shown(title)}: ${messageOf(sentence)}`;
}

function unusual(number: number): string {
  return `Document ${number} is written in a way that cannot be changed safely, expected plain block style`;
}

function refused(problems: readonly string[]): InjectedText {
  return { kind: 'refused', problems: problems.map((problem) => messageOf(problem)) };
}
