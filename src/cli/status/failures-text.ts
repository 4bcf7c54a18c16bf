import type { StatusPage } from '../../admin-api.ts';
import { parseDate } from '../../clock.ts';
import { indented, roughly } from '../../phrases.ts';
import { printable } from '../../printable.ts';
import type { Column } from '../admin/columns.ts';
import { tableLines } from '../admin/columns.ts';
import { line } from './line.ts';

type Failure = StatusPage['failures'][number];

/** What failed lately, each kind once, and below it each reason in words. */
export function failureLines({ failures }: StatusPage, nowMs: number, columns: number): string[] {
  if (failures.length === 0) return [line('Failures', 'none within the last ten minutes')];
  const table: readonly Column<Failure>[] = [
    { title: 'COUNT', text: ({ count }) => String(count), isNumber: true },
    { title: 'LAST', text: ({ last }) => `${roughly(Math.max(0, nowMs - parseDate(last)))} ago` },
    { title: 'DIR', text: ({ direction }) => (direction === 'inbound' ? 'in' : 'out') },
    { title: 'REASON', text: ({ reason }) => printable(reason) },
    { title: 'LAST ID', text: ({ lastId }) => printable(lastId) },
  ];
  return [
    '',
    'Failures within the last ten minutes; at most 50 of a kind are counted',
    ...tableLines(failures, table, columns),
    '',
    ...indented(2, sentenceLines(failures)),
  ];
}

/** Each reason once, however many directions it failed in: whole sentences, which no table has room for. */
function sentenceLines(failures: readonly Failure[]): string[] {
  const words = failures.map(({ reason, happened, remedy }) => `${reason}: ${happened}. ${remedy}`);
  return [...new Set(words)].map((text) => printable(text));
}
