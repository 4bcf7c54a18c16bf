import type { ShownFailure } from '../../admin-api.ts';
import { parseDate } from '../../clock.ts';
import type { ShownCapture, ShownRefusal, ShownVerdict } from '../../explain-api.ts';
import { indented, roughly } from '../../phrases.ts';
import { printable } from '../../printable.ts';

const labelColumns = 12;

/** A step of a connection: its name, and its facts below one another. */
export function step(label: string, facts: readonly string[]): string[] {
  return facts.map((fact, index) => `${(index === 0 ? label : '').padEnd(labelColumns)}${fact}`);
}

/** The verdict, and for a refusal its reason, what exactly was found, and what to do. */
export function verdictLines(verdict: ShownVerdict): string[] {
  const first = printable(verdict.sentence);
  return verdict.kind === 'refused' ? [first, ...indented(2, refusalLines(verdict))] : [first];
}

function refusalLines({ reason, remedy, detail }: ShownRefusal): string[] {
  const what = detail === undefined ? '' : `: ${printable(detail)}`;
  return [`${printable(reason)}${what}`, `What to do: ${printable(remedy)}`];
}

/** What a rule does, and whether the rules were in order when that was tried last. */
export function captureFact({ isCaptured, rule, isProved }: ShownCapture): string {
  const lost = isProved === false ? ', but THE RULES ARE NOT IN ORDER: it may go around the sidecar' : '';
  return `${isCaptured ? 'yes' : 'no'}, by the rule '${printable(rule)}'${lost}`;
}

/** `nowMs` is that of the page. */
export function failureStep(failures: readonly ShownFailure[], nowMs: number): string[] {
  return step(
    'Lately',
    failures.map(({ at, id, reason, happened, detail }) => {
      const what = detail === undefined ? '' : `: ${printable(detail)}`;
      return `${ago(at, nowMs)}: ${printable(happened)} (${printable(reason)}, ${printable(id)})${what}`;
    }),
  );
}

export function ago(at: string, nowMs: number): string {
  const agoMs = nowMs - parseDate(at);
  return agoMs < 1000 ? 'just now' : `${roughly(agoMs)} ago`;
}
