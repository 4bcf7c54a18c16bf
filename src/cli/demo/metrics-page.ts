/** One line of a metrics page. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const line = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: -?\d+)?$/;
const label = /([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"/g;

/** The samples of a page in the Prometheus text format 0.0.4; comments and what is not a sample are skipped. */
export function readMetricsPage(text: string): Sample[] {
  return text.split('\n').flatMap((row) => {
    const [, name, labels = '', value] = line.exec(row) ?? [];
    return name === undefined ? [] : [{ name, labels: readLabels(labels), value: Number(value) }];
  });
}

function readLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = Object.create(null);
  for (const [, name = '', value = ''] of text.matchAll(label)) labels[name] = value.replaceAll(/\\(.)/g, unescaped);
  return labels;
}

function unescaped(_: string, letter: string): string {
  return letter === 'n' ? '\n' : letter;
}

/** Adds up the samples of a family that have these labels; 0 when there is none. */
export function sumOf(samples: readonly Sample[], name: string, labels: Readonly<Record<string, string>> = {}): number {
  return matching(samples, name, labels).reduce((sum, { value }) => sum + value, 0);
}

/** The value of the first sample of a family that has these labels. */
export function sampleValue(
  samples: readonly Sample[],
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined {
  return matching(samples, name, labels)[0]?.value;
}

/** Adds up the samples of a family by one label's value, without those that are 0 or have no value there. */
export function sumsBy(
  samples: readonly Sample[],
  name: string,
  by: string,
  labels: Readonly<Record<string, string>> = {},
): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const sample of matching(samples, name, labels)) {
    const key = sample.labels[by] ?? '';
    if (key !== '' && sample.value > 0) sums[key] = (sums[key] ?? 0) + sample.value;
  }
  return sums;
}

function matching(samples: readonly Sample[], name: string, labels: Readonly<Record<string, string>>): Sample[] {
  return samples.filter(
    (sample) => sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
  );
}
