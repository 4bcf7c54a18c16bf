import { metricsPages } from './families.ts';
import type { Families, Family, Label } from './family.ts';

/** The reference of all metrics, as docs/metrics.md carries it; Markdown. */
export function metricsDocument(): string {
  const { sidecar, controlPlane } = metricsPages;
  return [
    ...preamble,
    ...section(`The sidecar, port ${sidecar.port}`, sidecar.families),
    ...aboutTcp,
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
  '- A page is made after it was asked for, by a sidecar at most twenty times a second, and all its values are of one moment.',
  "- Where the application's own metrics are merged in ([inject.md](inject.md#the-applications-metrics)), they follow the sidecar's, and",
  '  the page is Prometheus text whatever `Accept` says.',
  '',
];

const aboutTcp = [
  '### Who talks to whom',
  '',
  "The `istio_tcp_*` families are Istio's, with its labels, so that its dashboards and Kiali can be used.",
  '',
  '- The client of a connection reports it as `source`, the server as `destination`. Both say the same of it, also of',
  '  `connection_security_policy`, which Istio leaves `unknown` at the source.',
  '- `sent` is what the server sends and `received` what the client sends, on both sides.',
  "- Principals are the SPIFFE IDs of the certificates that were verified, and namespaces are taken from them. A peer's workload, canonical",
  '  service, app, version and cluster come from the [registry](control-plane.md#workloads-by-address) by its address, where that is of the',
  '  same trust domain, namespace and service account. Nothing that a peer says is a label.',
  '- A caller in plaintext has no name, because it proves none. A pod that was dialled in plaintext is named by the registry.',
  '- The Service is the one that was dialled. The server, and a client that dials a pod, name the oldest one that leads to the port.',
  '- What is not known is `unknown`; without a control plane that is every workload but our own, which the settings `workloadName` and',
  '  `workloadNamespace` name.',
  '- A connection is counted once it is known who both ends are, or after 2 s. It may have ended by then.',
  '- The first 1,000 sets of labels are kept. Beyond them `other` stands for the peer.',
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

/** Each set of values once, with all the families that have it under the same name, and all names that have it in the same families. */
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
  const alike = Map.groupBy(rows.values(), ({ values, of }) => cells(of.join('<br>'), values));
  return [...alike].map(([rest, same]) => `| ${same.map(({ label }) => `\`${label}\``).join('<br>')} ${rest}`);
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
