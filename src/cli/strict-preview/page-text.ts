import type { ShownCaller, StrictPreviewPage } from '../../admin-api.ts';
import { breakingLines, invalidModeLines, nameOf } from '../../breaking-lines.ts';
import { parseDate } from '../../clock.ts';
import { counted, roughly } from '../../phrases.ts';
import { printable } from '../../printable.ts';

type Port = StrictPreviewPage['ports'][number];

/** Whether switching one of the ports to STRICT now would break something, or it is not known whether. */
export function isInTheWay({ ports, mode, forgotten }: StrictPreviewPage): boolean {
  return mode === null || forgotten !== null || ports.some(wouldBreak);
}

function wouldBreak({ mode, callers, forgotten }: Port): boolean {
  return mode !== 'STRICT' && (forgotten !== null || callers.some(({ breaks }) => breaks));
}

/** The page for a person: each port with those who would lose by the switch, then why others would not. */
export function strictPreviewText(page: StrictPreviewPage): string[] {
  const { mode, ports, forgotten, now, since } = page;
  if (mode === null) return ['No policy is in force, so everything inbound is refused and nothing can be said'];
  const nowMs = parseDate(now);
  const own = ownName(page);
  return [
    ...ports.flatMap((port) => portLines(port, own, nowMs)),
    ...(forgotten === null || mode === 'STRICT'
      ? []
      : breakingLines(`Switching further ports of ${own} to STRICT now`, [], forgotten, nowMs)),
    `Every ${ports.length === 0 ? '' : 'other '}port of ${own} is ${mode}${mode === 'STRICT' ? ' already' : ', and nobody called it in plaintext'}`,
    ...invalidModeLines(own, page.invalidMode),
    `Watching for ${roughly(nowMs - parseDate(since))}, since the start of this sidecar`,
  ];
}

function ownName({ pod: { name, namespace, workload } }: StrictPreviewPage): string {
  const own = workload ?? name;
  return own === null ? 'this pod' : printable(namespace === null ? own : `${namespace}/${own}`);
}

function portLines({ port, mode, callers, forgotten }: Port, own: string, nowMs: number): string[] {
  if (mode === 'STRICT') return [`Port ${port} of ${own} is STRICT already`];
  const breaking = callers.filter(({ breaks }) => breaks);
  const kept = keptLines(callers);
  if (breaking.length > 0 || forgotten !== null)
    return [...breakingLines(`Switching port ${port} of ${own} to STRICT now`, breaking, forgotten, nowMs), ...kept];
  return [`Switching port ${port} of ${own} to STRICT now would break nothing that was seen`, ...kept];
}

/** Who would lose nothing, and why: the addresses of one workload are added up. */
function keptLines(callers: readonly ShownCaller[]): string[] {
  const kept = callers.filter(({ why }) => why !== undefined);
  const alike = Map.groupBy(kept, (one) => `${nameOf(one)} ${one.why}`);
  return [...alike.values()].flatMap((some) => {
    const connections = some.reduce((sum, one) => sum + one.connections, 0);
    return some
      .slice(0, 1)
      .map((one) => `  not ${nameOf(one)}, ${counted(connections, 'connection')}: ${printable(one.why ?? '')}`);
  });
}
