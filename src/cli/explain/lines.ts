import type { ConnectionLine, ShownFailure } from '../../admin-api.ts';
import { parseDate } from '../../clock.ts';
import type { ShownCapture, ShownLately, ShownRefusal, ShownVerdict } from '../../explain-api.ts';
import { agoOf, indented } from '../../phrases.ts';
import { printable } from '../../printable.ts';

const labelColumns = 12;

type PolicyFacts = Pick<ConnectionLine, 'audited' | 'auditedCount' | 'dryRun'>;

/** A step of a connection: its name, and its facts below one another. */
export function step(label: string, facts: readonly string[]): string[] {
  return facts.map((fact, index) => `${(index === 0 ? label : '').padEnd(labelColumns)}${fact}`);
}

/** The verdict; where it is none to be glad of, its reason, what exactly was found, and what to do. */
export function verdictLines(verdict: ShownVerdict, lately: ShownLately | undefined): string[] {
  const first = printable(verdict.sentence);
  return [first, ...indented(2, reasonLines(verdict, lately))];
}

function reasonLines(verdict: ShownVerdict, lately: ShownLately | undefined): string[] {
  if (verdict.kind === 'refused') return refusalLines(verdict, verdict.sentence);
  if (verdict.kind !== 'carried') return verdict.remedy === undefined ? [] : [whatToDo(verdict.remedy)];
  if (lately === undefined) return [];
  const { id, tunnelTo } = lately.latest;
  const through = tunnelTo === undefined ? '' : `, through ${printable(tunnelTo)}`;
  return [
    ...refusalLines(lately.latest, verdict.sentence),
    `\`remora explain ${printable(id)}\` tells of the latest${through}`,
  ];
}

function refusalLines({ reason, remedy, detail }: Omit<ShownRefusal, 'outcome' | 'happened'>, said: string): string[] {
  const isSaid = detail === undefined || said.includes(detail);
  return [`${printable(reason)}${isSaid ? '' : `: ${printable(detail)}`}`, whatToDo(remedy)];
}

export const whatToDo = (remedy: string): string => `What to do: ${printable(remedy)}`;

/** What a rule does, and whether the rules were in order when that was tried last. */
export function captureFact({ isCaptured, rule, isProved }: ShownCapture): string {
  if (isCaptured && isProved === false)
    return `NO, THE RULES DO NOT HOLD: it should be, by the rule '${printable(rule)}'`;
  return `${isCaptured ? 'yes' : 'no'}, by the rule '${printable(rule)}'`;
}

/** What policies that decide nothing say of a connection. */
export function policyFacts({ audited, auditedCount = 0, dryRun }: PolicyFacts): string[] {
  const more = auditedCount - (audited?.length ?? 0);
  const names = `audited by ${audited?.map((name) => printable(name)).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
  return [...(audited === undefined ? [] : [names]), ...(dryRun === undefined ? [] : [trialFact(dryRun)])];
}

function trialFact({ verdict, reason, policy }: NonNullable<PolicyFacts['dryRun']>): string {
  const by = policy === undefined ? '' : ` by ${printable(policy)}`;
  return `with those on trial in force: ${verdict}${by}${reason === undefined ? '' : ` (${printable(reason)})`}`;
}

/** What was found is told once: `said` are those of which the verdict tells; `place` says where one was. `nowMs` is that of the page. */
export function failureStep(
  failures: readonly ShownFailure[],
  said: readonly Found[],
  nowMs: number,
  place: (failure: ShownFailure) => string = () => '',
): string[] {
  return step(
    'Lately',
    failures.map((failure) => {
      const { at, id, reason, happened, detail } = failure;
      const when = `${ago(at, nowMs)}${place(failure)}`;
      if (isSaid(failure, said)) return `${when}: ${printable(reason)}, as above (${printable(id)})`;
      const what = detail === undefined ? '' : `: ${printable(detail)}`;
      return `${when}: ${printable(happened)} (${printable(reason)}, ${printable(id)})${what}`;
    }),
  );
}

/** What a refusal or a failure is of. */
export interface Found {
  readonly reason: string;
  readonly detail?: string | undefined;
}

/** Both, of one destination or of some ports. */
export function saidBy({ verdict, lately }: { verdict: ShownVerdict; lately?: ShownLately | undefined }): Found[] {
  return [...(verdict.kind === 'refused' ? [verdict] : []), ...(lately === undefined ? [] : [lately.latest])];
}

export const isSaid = (found: Found, said: readonly Found[]): boolean =>
  said.some(({ reason, detail }) => reason === found.reason && detail === found.detail);

export function ago(at: string, nowMs: number): string {
  return agoOf(nowMs - parseDate(at));
}
