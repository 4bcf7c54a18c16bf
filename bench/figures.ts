import { baseline } from './contender.ts';
import type { Spread } from './statistics.ts';
import { ratioSpread, spreadOf } from './statistics.ts';

/** One figure of one contender in each round. */
export interface Series {
  readonly metric: string;
  readonly unit: string;
  readonly contender: string;
  readonly values: number[];
}

/** What a run has seen. */
export interface Figures {
  add(metric: { readonly name: string; readonly unit: string }, contender: string, value: number): void;
  rows(): Row[];
}

export interface Row extends Series {
  readonly spread: Spread;
  /** To HAProxy's figure of the same round. */
  readonly ratio: Spread;
}

export function createFigures(): Figures {
  const all = new Map<string, Series>();
  const seriesOf = (metric: string, contender: string) => all.get(`${metric}/${contender}`);
  return {
    add({ name, unit }, contender, value) {
      const series = seriesOf(name, contender) ?? { metric: name, unit, contender, values: [] };
      series.values.push(value);
      all.set(`${name}/${contender}`, series);
    },
    rows: () =>
      [...all.values()].map((series) => ({
        ...series,
        spread: spreadOf(series.values),
        ratio: ratioSpread(series.values, seriesOf(series.metric, baseline)?.values ?? []),
      })),
  };
}

/** Rows as a table of Markdown. */
export function tableOf(rows: readonly Row[]): string {
  const lines = [
    ['measured', '', 'median (min–max)', `ratio to ${baseline} (min–max)`],
    ...rows.map(({ metric, unit, contender, spread, ratio }) => [
      `${metric}, ${unit}`,
      contender,
      shown(spread),
      contender === baseline ? '1' : shown(ratio),
    ]),
  ];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  const text = lines.map((line) => `| ${line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`);
  text.splice(1, 0, `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`);
  return text.join('\n');
}

const shown = ({ median, min, max }: Spread) => `${round(median)} (${round(min)}–${round(max)})`;

/** Three digits that mean something are more than such a measurement has. */
const round = (value: number) => (value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3))));
