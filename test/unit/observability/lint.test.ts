import { describe, expect, it } from 'vitest';
import { production } from '../../../observability/alerts/alert.ts';
import { allAlerts } from '../../../observability/alerts/rules.ts';
import { rows } from '../../../observability/dashboard/dashboard.ts';
import { declaredFamilies } from '../../../observability/declared.ts';
import { createLinter } from '../../../observability/lint.ts';
import { asAsked } from '../../../observability/variables.ts';
import { bounded, closed } from '../../../src/metrics/family.ts';

const linter = createLinter(declaredFamilies);
const panels = rows.flatMap((row) => row.panels.map((panel) => [`${row.title}: ${panel.title}`, panel] as const));
const alerts = allAlerts(production).map((alert) => [alert.name, alert] as const);

describe('the dashboard', () => {
  it.each(panels)('reads nothing that is not declared: %s', (_, { queries }) => {
    for (const { expression, legend } of queries) {
      const asked = asAsked(expression, '1m');
      expect(linter.problemsOf(asked)).toEqual([]);
      expect(linter.unknownLabels(asked, legend)).toEqual([]);
    }
  });

  it('explains every panel, each under a name of its own', () => {
    expect(new Set(panels.map(([name]) => name)).size).toBe(panels.length);
    for (const [, { description }] of panels) expect(description).toMatch(/^[A-Z`a-z].{40,}\.$/);
  });
});

describe('the alerts', () => {
  it.each(alerts)('read nothing that is not declared: %s', (_, { expression, summary, description, test }) => {
    expect(linter.problemsOf(expression)).toEqual([]);
    expect(linter.unknownLabels(expression, summary + description)).toEqual([]);
    for (const series of Object.keys(test.series)) expect(linter.problemsOf(series)).toEqual([]);
  });
});

describe('the linter', () => {
  const small = createLinter({
    remora_a_total: { type: 'counter', help: 'A', labels: { reason: closed('x', 'y'), peer: bounded(5, 'peers') } },
    remora_b_seconds: { type: 'histogram', help: 'B', labels: { direction: closed('inbound') } },
  });

  it.each([
    ['rate(remora_c_total[1m])', ['remora_c_total is no declared metric']],
    ['remora_a_total{kind="x"}', ['remora_a_total has no label kind']],
    ['remora_a_total{reason="z"}', ['remora_a_total has no reason z, expected one of x, y']],
    ['remora_a_total{reason=~"x|z"}', ['remora_a_total has no reason z, expected one of x, y']],
    ['sum by (zone) (remora_a_total)', ['sum by (zone) (remora_a_total): no metric in it has the label zone']],
    ['sum by (le) (remora_a_total)', ['sum by (le) (remora_a_total): no metric in it has the label le']],
    ['remora_b_seconds', ['remora_b_seconds is no declared metric']],
    ['remora_a_total_count', ['remora_a_total_count is no declared metric']],
  ])('finds what is wrong in %s', (expression, problems) => {
    expect(small.problemsOf(expression)).toEqual(problems);
  });

  it.each([
    'sum by (le, direction) (rate(remora_b_seconds_bucket{direction="inbound"}[1m]))',
    'sum by (pod, namespace, workload) (remora_a_total{reason!="x", peer="anyone", pod=~".*"})',
    'remora_b_seconds_sum / remora_b_seconds_count and on (instance) up{job="x"}',
  ])('has nothing against %s', (expression) => {
    expect(small.problemsOf(expression)).toEqual([]);
  });

  it('knows what a legend and a sentence can name', () => {
    expect(small.unknownLabels('sum by (pod) (remora_a_total)', '{{pod}} {{ reason }} {{ $labels.reason }}')).toEqual([
      'reason',
      'reason',
    ]);
    expect(small.unknownLabels('remora_a_total', '{{pod}} {{reason}} {{ $labels.peer }} {{ $value }}')).toEqual([]);
  });
});
