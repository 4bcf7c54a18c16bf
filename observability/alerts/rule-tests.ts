import type { Alert } from './alert.ts';
import { production } from './alert.ts';
import { allAlerts, annotationsOf } from './rules.ts';

/** What `promtool test rules` takes: each alert is quiet, fires with these very words, and is over again. */
export function ruleTests(rulesFile: string): object {
  return {
    rule_files: [rulesFile],
    evaluation_interval: '1m',
    tests: allAlerts(production).map((alert) => ({
      name: alert.name,
      interval: '1m',
      input_series: Object.entries(alert.test.series).map(([series, values]) => ({ series, values })),
      alert_rule_test: [
        { eval_time: `${alert.test.quietAt}m`, alertname: alert.name, exp_alerts: [] },
        { eval_time: `${alert.test.firesAt}m`, alertname: alert.name, exp_alerts: [expected(alert)] },
        { eval_time: `${alert.test.resolvedAt}m`, alertname: alert.name, exp_alerts: [] },
      ],
    })),
  };
}

function expected(alert: Alert): object {
  const { labels, value } = alert.test;
  const rendered = Object.entries(annotationsOf(alert)).map(([name, text]) => [name, render(text, labels, value)]);
  return { exp_labels: { severity: alert.severity, ...labels }, exp_annotations: Object.fromEntries(rendered) };
}

/** What Prometheus makes of a template that has labels, and the value in whatever form. */
function render(template: string, labels: Readonly<Record<string, string>>, value: string): string {
  return template
    .replaceAll(/\{\{ \$labels\.(\w+) \}\}/g, (_, label: string) => labels[label] ?? '')
    .replaceAll(/\{\{ \$value[^}]*\}\}/g, value);
}
