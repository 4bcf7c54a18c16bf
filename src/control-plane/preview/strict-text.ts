import { breakingLines, invalidModeLines } from '../../breaking-lines.ts';
import { parseDate } from '../../clock.ts';
import { counted, roughly } from '../../phrases.ts';
import { printable } from '../../printable.ts';
import type { NotKnown, PreviewedWorkload, StrictPreview } from './api.ts';

type Port = PreviewedWorkload['ports'][number];

/** Whether a switch to STRICT now would break something, or it is not known whether. */
export function isInTheWay({ workloads, notKnown }: StrictPreview): boolean {
  return notKnown.pods.length + notKnown.more > 0 || workloads.some(wouldBreak);
}

function wouldBreak({ ports, mode, further }: PreviewedWorkload): boolean {
  return ports.some(isBreaking) || (mode !== 'STRICT' && further !== null);
}

function isBreaking({ mode, callers, further }: Port): boolean {
  return mode !== 'STRICT' && (further !== null || callers.some(({ breaks }) => breaks));
}

/** The answer for a person: who would lose, at which workload and port; then what is not known. */
export function strictPreviewText(preview: StrictPreview): string[] {
  const { workloads, notKnown } = preview;
  const nowMs = parseDate(preview.now);
  const breaking = workloads.filter(wouldBreak);
  const lines = breaking.flatMap((one) => workloadLines(one, nowMs));
  return [
    ...lines,
    ...(lines.length > 0 ? [''] : []),
    ...summary(preview, breaking, nowMs),
    ...workloads.flatMap(({ namespace, workload, invalidMode }) =>
      invalidModeLines(printable(`${namespace}/${workload}`), invalidMode),
    ),
    ...notKnownLines(notKnown),
  ];
}

function workloadLines({ namespace, workload, ports, mode, further }: PreviewedWorkload, nowMs: number): string[] {
  const own = printable(`${namespace}/${workload}`);
  return [
    ...ports.filter(isBreaking).flatMap(({ port, callers, further: more }) =>
      breakingLines(
        `Switching port ${port} of ${own} to STRICT now`,
        callers.filter(({ breaks }) => breaks),
        more,
        nowMs,
      ),
    ),
    ...(mode === 'STRICT' || further === null
      ? []
      : breakingLines(`Switching further ports of ${own} to STRICT now`, [], further, nowMs)),
  ];
}

function summary({ workloads }: StrictPreview, breaking: readonly PreviewedWorkload[], nowMs: number): string[] {
  const isStrict = ({ mode, ports }: PreviewedWorkload) =>
    mode === 'STRICT' && ports.every((one) => one.mode === 'STRICT');
  const strict = workloads.filter(isStrict);
  const rest = workloads.length - breaking.length - strict.length;
  const latest = workloads.reduce((last, { since }) => Math.max(last, parseDate(since)), 0);
  return [
    [
      counted(workloads.length, 'workload'),
      ...(strict.length > 0 ? [`${strict.length} STRICT already`] : []),
      ...(rest > 0 ? [`${rest} where a switch to STRICT would break nothing that was seen`] : []),
      ...(breaking.length > 0 ? [`${breaking.length} where it would break something`] : []),
    ].join('; '),
    ...(workloads.length > 0 ? [`All of them have been watching for ${roughly(nowMs - latest)} or longer`] : []),
  ];
}

const namedPods = 10;

/** Sidecars of whose callers too little is known, by why. */
export function notKnownLines({ pods, more }: NotKnown): string[] {
  const lines = [...Map.groupBy(pods, ({ why }) => why)].map(([why, some]) => {
    const names = some.slice(0, namedPods).map(({ pod }) => printable(pod));
    const others = some.length > namedPods ? ` and ${some.length - namedPods} more` : '';
    return `Not known: ${names.join(', ')}${others}: ${printable(why)}`;
  });
  return [...lines, ...(more > 0 ? [`Not known: ${counted(more, 'more pod')}`] : [])];
}
