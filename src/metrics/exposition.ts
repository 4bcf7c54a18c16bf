import { unitOf } from './family.ts';

/** Prometheus text format 0.0.4, or OpenMetrics text 1.0.0. */
export type ExpositionFormat = 'prometheus' | 'openmetrics';

export const contentTypes: Readonly<Record<ExpositionFormat, string>> = {
  prometheus: 'text/plain; version=0.0.4; charset=utf-8',
  openmetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
};

/** One family and its series. */
export interface Sampled {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly values: readonly Sample[];
}

export interface Sample {
  /** That of a histogram's series differs from the family's. */
  readonly metricName?: string | undefined;
  readonly labels: Readonly<Record<string, string | number | undefined>>;
  readonly value: number;
}

/** The whole page, in the order given. */
export function expositionOf(families: readonly Sampled[], format: ExpositionFormat): string {
  const lines: string[] = [];
  for (const family of families) {
    const { name, type } = family;
    // The sample has the suffix and the family has not.
    const shown = format === 'openmetrics' && type === 'counter' ? name.replace(/_total$/, '') : name;
    lines.push(`# HELP ${shown} ${escapeHelp(family.help, format)}`, `# TYPE ${shown} ${type}`);
    const unit = unitOf(name);
    if (format === 'openmetrics' && unit !== undefined) lines.push(`# UNIT ${shown} ${unit}`);
    for (const { metricName = name, labels, value } of family.values)
      lines.push(
        `${metricName}${type === 'histogram' ? bucketLabels(labels, format) : labelsOf(labels)} ${numberOf(value)}`,
      );
  }
  if (format === 'openmetrics') lines.push('# EOF');
  return `${lines.join('\n')}\n`;
}

/** The text of labels that stay the same object: a page may have thousands of them, with two dozen labels each. */
const textOf = new WeakMap<Sample['labels'], string>();

function labelsOf(labels: Sample['labels']): string {
  let text = textOf.get(labels);
  if (text === undefined) {
    text = inBraces(Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(`${value ?? ''}`)}"`));
    textOf.set(labels, text);
  }
  return text;
}

/** A bound is a number, of which OpenMetrics wants the canonical form: `1.0`. */
function bucketLabels(labels: Sample['labels'], format: ExpositionFormat): string {
  const canonical = (bound: number) =>
    format === 'openmetrics' && Number.isInteger(bound) ? `${bound}.0` : `${bound}`;
  const shown = (value: string | number | undefined) =>
    typeof value === 'number' ? canonical(value) : escapeLabel(`${value ?? ''}`);
  return inBraces(Object.entries(labels).map(([name, value]) => `${name}="${shown(value)}"`));
}

const inBraces = (pairs: readonly string[]) => (pairs.length === 0 ? '' : `{${pairs.join(',')}}`);

function numberOf(value: number): string {
  if (Number.isFinite(value)) return `${value}`;
  if (Number.isNaN(value)) return 'NaN';
  return value > 0 ? '+Inf' : '-Inf';
}

const escapes: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '"': '\\"' };

/** No label can end its line or its quotes, whatever it says. */
function escapeLabel(text: string): string {
  return /[\\\n"]/.test(text) ? text.replace(/[\\\n"]/g, (character) => escapes[character] ?? '') : text;
}

function escapeHelp(text: string, format: ExpositionFormat): string {
  return text.replace(format === 'openmetrics' ? /[\\\n"]/g : /[\\\n]/g, (character) => escapes[character] ?? '');
}
