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
  readonly type: unknown;
  readonly values: readonly Sample[];
}

interface Sample {
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
      lines.push(`${metricName}${labelsOf(labels, format)} ${numberOf(value)}`);
  }
  if (format === 'openmetrics') lines.push('# EOF');
  return `${lines.join('\n')}\n`;
}

function labelsOf(labels: Sample['labels'], format: ExpositionFormat): string {
  let text = '';
  for (const [name, value] of Object.entries(labels)) {
    const shown = typeof value === 'number' ? boundOf(value, format) : escapeLabel(`${value ?? ''}`);
    text += `${text === '' ? '' : ','}${name}="${shown}"`;
  }
  return text === '' ? '' : `{${text}}`;
}

/** The only label that is a number is the upper bound of a bucket, of which OpenMetrics wants the canonical form: `1.0`. */
function boundOf(value: number, format: ExpositionFormat): string {
  return format === 'openmetrics' && Number.isInteger(value) ? `${value}.0` : numberOf(value);
}

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
