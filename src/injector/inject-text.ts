import { isDeepStrictEqual } from 'node:util';
import { applyPatch } from 'rfc6902';
import { shown } from '../config/given.ts';
import type { Injection, PodContext } from './inject.ts';
import { jsonOf } from './input-text.ts';
import type { Operation } from './patch.ts';
import { patchBelow } from './patch.ts';
import type { PlacedPod } from './workloads.ts';
import { podsIn } from './workloads.ts';
import { editsOf } from './yaml-edit.ts';
import { UnusualLayoutError } from './yaml-places.ts';
import type { SourceDocument } from './yaml-source.ts';
import { readSource } from './yaml-source.ts';
import type { Splice } from './yaml-splice.ts';
import { spliced } from './yaml-splice.ts';
import { splicesOf } from './yaml-write.ts';

/** Decides about one pod. */
export type PodInjector = (pod: unknown, context: PodContext) => Injection;

export type InjectedText =
  /** `remarks`: pods that were skipped and warnings, one line each. */
  | { readonly kind: 'done'; readonly text: string; readonly remarks: readonly string[] }
  /** One sentence for each problem, with the name of the object. */
  | { readonly kind: 'refused'; readonly problems: readonly string[] };

/**
 * The text of Kubernetes objects, YAML or JSON, with the sidecar in every pod that gets one. All or nothing: one problem
 * and no text comes out. What is not changed stays byte for byte. `namespace` is for objects without one.
 */
export function injectText(text: string, namespace: string, inject: PodInjector): InjectedText {
  if (text.trim() === '') return refused(['The input is empty, expected Kubernetes YAML or JSON']);
  const source = readSource(text);
  if (source.kind === 'broken') return refused(source.problems);
  const decisions = source.documents.map((document) => decide(document, namespace, inject));
  const problems = decisions.flatMap((decision) => decision.problems);
  if (problems.length > 0) return refused(problems);
  const remarks = decisions.flatMap((decision) => decision.remarks);
  if (!decisions.some(({ hasPods }) => hasPods)) remarks.push('The input has no pods, nothing was changed');
  return write(text, decisions, remarks);
}

function refused(problems: readonly string[]): InjectedText {
  return { kind: 'refused', problems: problems.map((problem) => oneLine(problem)) };
}

function oneLine(text: string): string {
  return text.replaceAll(/\s*[\r\n]+\s*/g, ' ');
}

/** What is to be done with one document. */
interface Decision {
  readonly document: SourceDocument;
  readonly hasPods: boolean;
  readonly patch: readonly Operation[];
  readonly problems: readonly string[];
  readonly remarks: readonly string[];
  /** What its first changed pod is called. */
  readonly title: string;
}

function decide(document: SourceDocument, namespace: string, inject: PodInjector): Decision {
  const nothing = { document, hasPods: false, patch: [], problems: [], remarks: [], title: '' };
  const { value, number } = document;
  if (value === null) return nothing;
  if (typeof value !== 'object' || Array.isArray(value))
    return { ...nothing, problems: [`Document ${number} is no mapping, expected a Kubernetes object`] };
  const pods = podsIn(value, namespace);
  const decided = pods.map((placed) => ({ placed, injection: inject(placed.pod, placed.context) }));
  return {
    document,
    hasPods: pods.length > 0,
    patch: decided.flatMap(patchOf),
    problems: decided.flatMap(({ placed, injection }) =>
      injection.kind === 'refused' ? injection.problems.map((problem) => said(placed, problem)) : [],
    ),
    remarks: decided.flatMap(({ placed, injection }) => remarksOf(placed, injection)),
    title: decided.find(({ injection }) => injection.kind === 'injected')?.placed.title ?? '',
  };
}

function patchOf({ placed, injection }: { placed: PlacedPod; injection: Injection }): Operation[] {
  return injection.kind === 'injected' ? patchBelow(placed.path, injection.patch) : [];
}

function remarksOf(placed: PlacedPod, injection: Injection): string[] {
  if (injection.kind === 'skipped') return [said(placed, `skipped: ${injection.why}`)];
  return injection.kind === 'injected' ? injection.warnings.map((warning) => said(placed, `warning: ${warning}`)) : [];
}

function said({ title }: PlacedPod, sentence: string): string {
  return `${shown(title)}: ${oneLine(sentence)}`;
}

function write(text: string, decisions: readonly Decision[], remarks: readonly string[]): InjectedText {
  const splices: Splice[] = [];
  const problems: string[] = [];
  for (const decision of decisions) {
    if (decision.patch.length === 0) continue;
    try {
      splices.push(...splicesOf(text, decision.document, editsOf(decision.document, decision.patch)));
    } catch (error) {
      if (!(error instanceof UnusualLayoutError)) throw error;
      problems.push(unusual(decision));
    }
  }
  if (problems.length > 0) return refused(problems);
  const written = spliced(text, splices);
  const wrong = written === text ? [] : misread(written, decisions);
  return wrong.length > 0 ? refused(wrong) : { kind: 'done', text: written, remarks };
}

/** Reads what was written: it must mean what the patches say, in every document, whatever the text looks like. */
function misread(written: string, decisions: readonly Decision[]): string[] {
  const values = meaningsOf(written);
  return decisions.flatMap((decision, index) =>
    isDeepStrictEqual(values[index], expectedOf(decision)) ? [] : [unusual(decision)],
  );
}

function meaningsOf(text: string): readonly unknown[] {
  // In a tenth of the time and memory, which many pods of a cluster in one list need.
  const json = jsonOf(text);
  if (json !== undefined) return [json];
  const source = readSource(text, 'meaning');
  return source.kind === 'documents' ? source.documents.map(({ value }) => value) : [];
}

function expectedOf({ document, patch }: Decision): unknown {
  if (patch.length === 0) return document.value;
  const expected = document.copyOf(document.contents);
  // As it is written: without members that are undefined.
  applyPatch(expected, JSON.parse(JSON.stringify(patch)) as Parameters<typeof applyPatch>[1]);
  return expected;
}

function unusual({ document, title }: Decision): string {
  const sentence = 'is written in a way that cannot be changed in place, expected plain block style';
  return title === '' ? `Document ${document.number} ${sentence}` : `${shown(title)}: the document ${sentence}`;
}
