import type { Words } from '../../src/outcomes.ts';
import { handshakeReasons, renewalReasons } from '../../src/outcomes.ts';
import type { Alert } from './alert.ts';
import { production, span } from './alert.ts';
import { allAlerts } from './rules.ts';

const generated =
  '<!-- Generated from observability/alerts/, by test/unit/observability/files.test.ts with --update. -->';

/** Words that some runbooks end with: every reason that the alert counts. */
const reasonTables: Readonly<Record<string, Readonly<Record<string, Words>>>> = {
  RemoraCertificateLate: renewalReasons,
  RemoraRenewalsFailing: renewalReasons,
  RemoraIdentityOutageNear: renewalReasons,
  RemoraIdentityLost: renewalReasons,
  RemoraHandshakesFailing: handshakeReasons,
};

/** The page of an alert, Markdown. */
export function runbookPage(alert: Alert): string {
  const { means, users, find, fix, falseAlarm } = alert.runbook;
  const wait = alert.forSeconds > 0 ? `once it has been so for ${span(alert.forSeconds, production)}` : 'at once';
  const table = reasonTables[alert.name];
  return [
    generated,
    `# ${alert.name}`,
    `Severity ${alert.severity}. It fires ${wait}:`,
    `\`\`\`promql\n${alert.expression}\n\`\`\``,
    `## What it means\n\n${means}`,
    `## What users notice\n\n${users}`,
    `## Find the cause\n\n${find.map((step, index) => `${index + 1}. ${step}`).join('\n')}`,
    `## What to do\n\n${fix.map((step) => `- ${step}`).join('\n')}`,
    `## When it is a false alarm\n\n${falseAlarm}`,
    ...(table === undefined ? [] : [`## Every reason\n\n${reasonTable(table)}`]),
    'Commands are for a pod `POD` of the namespace `NAMESPACE`, as the labels `pod` and `namespace` of the alert name them. [All runbooks](README.md)',
  ]
    .join('\n\n')
    .concat('\n');
}

function reasonTable(reasons: Readonly<Record<string, Words>>): string {
  const rows = Object.entries(reasons).map(
    ([reason, { happened, remedy }]) => `| \`${reason}\` | ${happened} | ${remedy} |`,
  );
  return ['| reason | what happened | what to do |', '|---|---|---|', ...rows].join('\n');
}

/** The list of all runbooks, Markdown. */
export function runbookIndex(): string {
  return [
    generated,
    '# Runbooks',
    'A page for each alert of [manifests/prometheus/alerts.yaml](../../manifests/prometheus/alerts.yaml); [../observability.md](../observability.md) says how to load them.',
    alertTable((name) => `${name}.md`),
  ]
    .join('\n\n')
    .concat('\n');
}

/** Every alert with what it tells, as rows of Markdown. */
function alertTable(pathOf: (name: string) => string): string {
  const rows = allAlerts(production).map(
    ({ name, severity, runbook }) => `| [${name}](${pathOf(name)}) | ${severity} | ${runbook.means} |`,
  );
  return ['| alert | severity | what it means |', '|---|---|---|', ...rows].join('\n');
}
