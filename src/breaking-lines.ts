import { parseDate } from './clock.ts';
import type { CallerKind } from './control-api.ts';
import { agoOf, counted } from './phrases.ts';
import { printable } from './printable.ts';

/** Who would lose, as pages and replies have it. */
export interface BreakingCaller {
  readonly address: string;
  readonly workload?: string | undefined;
  readonly namespace?: string | undefined;
  readonly kind: CallerKind;
  readonly connections: number;
  readonly lastAt: string;
}

/** Of one port, or of several. */
export interface ForgottenCallers {
  readonly callers: number;
  readonly lastAt: string;
}

/** `doing` would break: whoever it is, those of one workload in one line, the latest first. */
export function breakingLines(
  doing: string,
  callers: readonly BreakingCaller[],
  forgotten: ForgottenCallers | null,
  nowMs: number,
): string[] {
  const named = [...Map.groupBy(callers, nameOf)].map(([name, all]) => ({
    name,
    connections: all.reduce((sum, one) => sum + one.connections, 0),
    lastMs: Math.max(...all.map(({ lastAt }) => parseDate(lastAt))),
  }));
  const lines = named
    .sort((one, other) => other.lastMs - one.lastMs)
    .map(
      ({ name, connections, lastMs }) =>
        `${name}, ${counted(connections, 'connection')}, last ${agoOf(nowMs - lastMs)}`,
    );
  const more = forgotten === null ? [] : [forgottenLine(forgotten, lines.length > 0, nowMs)];
  const all = [...lines, ...more];
  const [only] = all;
  if (all.length === 1) return [`${doing} would break: ${only}`];
  return [`${doing} would break:`, ...all.map((line) => `  ${line}`)];
}

function forgottenLine({ callers, lastAt }: ForgottenCallers, areOthers: boolean, nowMs: number): string {
  const start = areOthers ? 'and at most' : 'at most';
  const more = `${callers}${areOthers ? ' more' : ''} ${callers === 1 ? 'caller that was' : 'callers that were'}`;
  return `${start} ${more} not remembered, last ${agoOf(nowMs - parseDate(lastAt))}`;
}

/** Who calls, for people: by workload where that is known. */
export function nameOf({
  address,
  workload,
  namespace,
  kind,
}: Pick<BreakingCaller, 'address' | 'workload' | 'namespace' | 'kind'>): string {
  if (kind === 'kubelet') return `the kubelet, or something else on the node (${printable(address)})`;
  return printable(workload === undefined ? address : `${namespace ?? ''}/${workload}`);
}

/** What is STRICT by mistake: who reads that it is STRICT would take it for done. `own` is the workload. */
export function invalidModeLines(
  own: string,
  invalid: { readonly name: string; readonly problem: string } | undefined,
): string[] {
  if (invalid === undefined) return [];
  return [`${own} is STRICT because the ${printable(invalid.name)} is INVALID: ${printable(invalid.problem)}`];
}
