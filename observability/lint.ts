import { seriesOf } from '../src/metrics/families.ts';
import type { Families, Family } from '../src/metrics/family.ts';
import type { Matcher, Selector } from './promql.ts';
import { parseExpression } from './promql.ts';
import { scrapeLabels } from './scrape-labels.ts';

/** What Prometheus itself adds for each target. */
const ofPrometheus: Families = { up: { type: 'gauge', help: '1 while a target is scraped' } };

/** A series that can be asked for. */
interface Series {
  readonly family: Family;
  /** Those of the scrape configuration too. */
  readonly labels: readonly string[];
}

/** Finds what is not declared in the expressions of dashboards and alerts. */
export interface Linter {
  /** Every problem of an expression, each a sentence; none when all that it reads is declared. */
  problemsOf(expression: string): string[];
  /** Labels of `text`, a legend or a sentence, that the result of the expression does not have. */
  unknownLabels(expression: string, text: string): string[];
}

/** The linter for these families, which must be all there are. */
export function createLinter(declared: Families): Linter {
  const known = new Map<string, Series>();
  for (const [name, family] of Object.entries({ ...declared, ...ofPrometheus }))
    for (const [series, labels] of seriesOf(name, family))
      known.set(series, { family, labels: [...labels, ...scrapeLabels] });
  const labelsOf = (metric: string) => known.get(metric)?.labels ?? scrapeLabels;
  return {
    problemsOf(expression) {
      const { selectors, groupingLabels } = parseExpression(expression);
      const labels = new Set(selectors.flatMap(({ metric }) => labelsOf(metric)));
      return [
        ...selectors.flatMap((selector) => selectorProblems(selector, known)),
        ...groupingLabels
          .filter((label) => !labels.has(label))
          .map((label) => `${expression}: no metric in it has the label ${label}`),
      ];
    },
    unknownLabels(expression, text) {
      const labels = parseExpression(expression).resultLabels(labelsOf);
      const named = [...text.matchAll(/\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}/g)].map(([, label = '']) => label);
      return named.filter((label) => !labels.has(label));
    },
  };
}

function selectorProblems({ metric, matchers }: Selector, known: ReadonlyMap<string, Series>): string[] {
  const series = known.get(metric);
  if (series === undefined) return [`${metric} is no declared metric`];
  return matchers.flatMap((matcher) => {
    if (!series.labels.includes(matcher.label)) return [`${metric} has no label ${matcher.label}`];
    const label = series.family.labels?.[matcher.label];
    return label?.kind === 'closed' ? valueProblems(metric, matcher, label.values) : [];
  });
}

/** An alternative of a pattern is a value here: nothing that we write is a pattern of another kind. */
function valueProblems(metric: string, { label, operator, value }: Matcher, values: readonly string[]): string[] {
  const named = operator.includes('~') ? value.split('|') : [value];
  return named
    .filter((one) => !values.includes(one))
    .map((one) => `${metric} has no ${label} ${one}, expected one of ${values.join(', ')}`);
}
