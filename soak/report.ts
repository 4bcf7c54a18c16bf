import type { Result } from './run.ts';
import type { Fault, Judged } from './verdict.ts';

/** So many unexplained errors are told to a person; the first say the most. */
const mostTold = 30;

/** Whether a run shows what it is to show. */
export function isSound({ judged, problems }: Result): boolean {
  return problems.length === 0 && judged.every(({ explainedBy }) => explainedBy !== undefined);
}

/** One object for programs. */
export function jsonOf(result: Result): object {
  const { seed, loadMs, done, bytes, faults, judged, memory, problems } = result;
  return {
    seed,
    isSound: isSound(result),
    seconds: Math.round(loadMs / 1000),
    connections: done,
    bytes,
    faults: countsOf(faults.map(({ kind }) => kind)),
    timeline: faults.map(({ kind, pod, beganMs, undoneMs }) => ({ kind, pod, beganMs, undoneMs })),
    explained: countsOf(judged.flatMap(({ failure, explainedBy }) => (explainedBy ? [failure.symptom] : []))),
    unexplained: judged.filter(({ explainedBy }) => explainedBy === undefined).map(({ failure }) => failure),
    memory,
    problems,
  };
}

/** The run for a person: what was done, what was suffered, and what is wrong. */
export function textOf(result: Result): string {
  const { seed, loadMs, done, bytes, faults, judged, memory, problems } = result;
  const unexplained = judged.filter(({ explainedBy }) => explainedBy === undefined);
  const connections = Object.values(done).reduce((sum, count) => sum + count, 0);
  return [
    `Seed ${seed}, ${Math.round(loadMs / 1000)} s under load`,
    '',
    tableOf([
      ['connections', String(connections), listOf(done)],
      ['checked', `${(bytes / 2 ** 20).toFixed()} MiB`, 'every byte, by its place'],
      ['faults', String(faults.length), listOf(countsOf(faults.map(({ kind }) => kind)))],
      ['errors explained', String(judged.length - unexplained.length), listOf(explanations(judged))],
      [
        'errors unexplained',
        String(unexplained.length),
        listOf(countsOf(unexplained.map(({ failure }) => failure.symptom))),
      ],
      ['problems', String(problems.length), ''],
      ...memory.map(({ name, lastMib, slopeMibPerMinute }) => [
        name,
        `${lastMib.toFixed()} MiB`,
        slopeMibPerMinute === undefined
          ? 'too short a life for a slope'
          : `${slopeMibPerMinute.toFixed(2)} MiB a minute`,
      ]),
    ]),
    ...problems.map((problem) => `PROBLEM ${problem}`),
    ...unexplained
      .slice(0, mostTold)
      .map(({ failure }) => `UNEXPLAINED ${JSON.stringify({ ...failure, atS: seconds(failure.atMs, result) })}`),
    ...(unexplained.length > mostTold ? [`and ${unexplained.length - mostTold} more`] : []),
    ...(isSound(result) ? [] : ['', 'The faults:', ...faults.map((fault) => timelineRow(fault, result))]),
  ].join('\n');
}

function timelineRow({ kind, pod, beganMs, undoneMs }: Fault, result: Result): string {
  const until = undoneMs === undefined ? 'the end' : seconds(undoneMs, result);
  return `  ${seconds(beganMs, result)} to ${until}: ${kind}${pod === undefined ? '' : ` ${pod}`}`;
}

const seconds = (atMs: number, { beganMs }: Result) => ((atMs - beganMs) / 1000).toFixed(2);

const explanations = (judged: readonly Judged[]) =>
  countsOf(judged.flatMap(({ explainedBy }) => (explainedBy === undefined ? [] : [explainedBy.kind])));

function countsOf(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

const listOf = (counts: Readonly<Record<string, number>>) =>
  Object.entries(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');

function tableOf(rows: readonly (readonly string[])[]): string {
  const width = (column: number) => Math.max(...rows.map((row) => row[column]?.length ?? 0));
  return rows
    .map(([name = '', value = '', detail = '']) =>
      `${name.padEnd(width(0))}  ${value.padStart(width(1))}  ${detail}`.trimEnd(),
    )
    .join('\n');
}
