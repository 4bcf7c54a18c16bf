import { metricsPages } from './families.ts';
import type { Families, Family, Label } from './family.ts';

/** The reference of all metrics, as docs/metrics.md carries it; Markdown. */
export function metricsDocument(): string {
  const { sidecar, controlPlane } = metricsPages;
  return [
    ...preamble,
    ...section(`The sidecar, port ${sidecar.port}`, sidecar.families),
    ...section(`The control plane, port ${controlPlane.port}`, controlPlane.families),
  ].join('\n');
}

const preamble = [
  '# Metrics',
  '',
  '<!-- Made from src/metrics/families.ts; a test compares both. -->',
  '',
  'Every sidecar and the control plane serve `GET /metrics` in plain HTTP: in OpenMetrics text 1.0.0 where `Accept` prefers it, as a',
  'Prometheus does, and otherwise in Prometheus text 0.0.4. In OpenMetrics a counter is named without its `_total` in `# TYPE` and `# HELP`;',
  'the series have the same names in both.',
  '',
  'Names are an interface: families, labels and values are added, and none is renamed. A label has the values of a closed list, what the',
  'settings name, or a bounded number of values; nothing that a peer says becomes one. So the number of series does not depend on who',
  'connects, and how often.',
  '',
  '- A counter begins at zero where an alert watches it, so that the first is a rise: each reason of a failed handshake, and connections in',
  '  plaintext. Any other series of a counter begins with its first event.',
  '- A gauge without a value, because it is not known, is absent.',
  '- The page is made for each scrape, and all its values are of one moment.',
  "- Where the application's own metrics are merged in ([inject.md](inject.md#the-applications-metrics)), they follow the sidecar's, and",
  '  the page is Prometheus text whatever `Accept` says.',
  '',
];

function section(title: string, families: Families): string[] {
  return [
    `## ${title}`,
    '',
    '| name | type | what it says | absent |',
    '|---|---|---|---|',
    ...Object.entries(families).map(([name, family]) => row(name, family)),
    '',
    '| label | of | values |',
    '|---|---|---|',
    ...labelRows(families),
    '',
  ];
}

function row(name: string, { type, help, labels = {}, absent = '' }: Family): string {
  const names = Object.keys(labels);
  const shown =
    names.length === 0 ? `\`${name}\`` : `\`${name}\`<br>${names.map((label) => `\`${label}\``).join(', ')}`;
  return cells(shown, type, help, absent);
}

/** Each set of values once, with all the families that have it under the same name. */
function labelRows(families: Families): string[] {
  const rows = new Map<string, { readonly label: string; readonly values: string; readonly of: string[] }>();
  for (const [name, { labels = {} }] of Object.entries(families)) {
    for (const [label, kind] of Object.entries(labels)) {
      const values = valuesOf(kind);
      const found = rows.get(`${label} ${values}`) ?? { label, values, of: [] };
      found.of.push(`\`${name}\``);
      rows.set(`${label} ${values}`, found);
    }
  }
  return [...rows.values()].map(({ label, values, of }) => cells(`\`${label}\``, of.join('<br>'), values));
}

function valuesOf(label: Label): string {
  switch (label.kind) {
    case 'closed':
      return label.values.map((value) => (value === '' ? 'none' : `\`${value}\``)).join(' ');
    case 'given':
      return label.what;
    case 'bounded':
      return `at most ${label.most}: ${label.what}${label.overflow === undefined ? '' : `; \`${label.overflow}\` stands for the rest`}`;
    default:
      return label satisfies never;
  }
}

const cells = (...texts: readonly string[]) => `| ${texts.join(' | ')} |`;
