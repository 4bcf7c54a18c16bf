import { stringify } from 'yaml';
import { production } from './alerts/alert.ts';
import { ruleTests } from './alerts/rule-tests.ts';
import { allAlerts, ruleGroups, runbookFolder } from './alerts/rules.ts';
import { runbookIndex, runbookPage } from './alerts/runbook.ts';
import { dashboard } from './dashboard/dashboard.ts';
import { scrapeJobs } from './scrape.ts';

const generated = '# Generated from observability/, by test/unit/observability/files.test.ts with --update.\n';

/** Every file that is generated: its path below the root of the repository, and its text. */
export function generatedFiles(): ReadonlyMap<string, string> {
  const runbooks = allAlerts(production).map(
    (alert) => [`${runbookFolder}/${alert.name}.md`, runbookPage(alert)] as const,
  );
  return new Map([
    ['manifests/grafana/remora.json', `${JSON.stringify(dashboard(), null, 2)}\n`],
    ['manifests/grafana/provisioning/dashboards/remora.yaml', yaml(dashboardProvider)],
    ['manifests/grafana/provisioning/datasources/prometheus.yaml', yaml(datasource)],
    ['manifests/prometheus/alerts.yaml', yaml(ruleGroups(production))],
    ['manifests/prometheus/alerts.test.yaml', yaml(ruleTests('alerts.yaml'))],
    ['manifests/prometheus/scrape.yaml', yaml({ scrape_configs: scrapeJobs })],
    [`${runbookFolder}/README.md`, runbookIndex()],
    ...runbooks,
  ]);
}

/** For `provisioning/dashboards` of Grafana ("Provision dashboards" in its documentation); remora.json goes to `path`. */
const dashboardProvider = {
  apiVersion: 1,
  providers: [
    {
      name: 'remora',
      folder: 'Remora',
      type: 'file',
      allowUiUpdates: false,
      updateIntervalSeconds: 30,
      options: { path: '/var/lib/grafana/dashboards/remora' },
    },
  ],
};

/** For `provisioning/datasources`, where there is no Prometheus yet. */
const datasource = {
  apiVersion: 1,
  datasources: [{ name: 'Prometheus', type: 'prometheus', access: 'proxy', url: 'http://prometheus:9090' }],
};

/** Nothing is folded or shared: a person greps these files. */
function yaml(value: object): string {
  return generated + stringify(value, { lineWidth: 0, aliasDuplicateObjects: false });
}
