import { describe, expect, it } from 'vitest';
import { parseExpression } from '../../../observability/promql.ts';

const labelsOf = (metric: string) => (metric === 'a_bucket' ? ['le', 'pod', 'reason'] : ['pod', 'reason']);
const resultOf = (expression: string) => [...parseExpression(expression).resultLabels(labelsOf)].sort();

describe('an expression of PromQL', () => {
  it('tells each metric with its matchers, and the labels that it groups by', () => {
    const { selectors, groupingLabels } = parseExpression(
      'sum by (pod) (rate(a_total{reason="x", pod=~"a|b"}[5m])) / on (pod) group_left (zone) b unless ignoring (kind) c',
    );
    expect(selectors).toEqual([
      {
        metric: 'a_total',
        matchers: [
          { label: 'reason', operator: '=', value: 'x' },
          { label: 'pod', operator: '=~', value: 'a|b' },
        ],
      },
      { metric: 'b', matchers: [] },
      { metric: 'c', matchers: [] },
    ]);
    expect(groupingLabels).toEqual(['pod', 'pod', 'zone', 'kind']);
  });

  it.each([
    ['a', ['pod', 'reason']],
    ['sum(a)', []],
    ['sum by (pod) (a)', ['pod']],
    ['sum without (pod) (a)', ['reason']],
    ['sum by (pod) (a) > 1 and b', ['pod']],
    ['(sum by (pod) (a)) or sum by (reason) (a)', ['pod', 'reason']],
    ['histogram_quantile(0.99, sum by (le, pod) (rate(a_bucket[1m])))', ['pod']],
    ['rate(a[1m] offset 5m)', ['pod', 'reason']],
    ['min(a) - time()', []],
    ['-(a)', ['pod', 'reason']],
    ['vector(0)', []],
  ])('%s has the labels %j', (expression, labels) => {
    expect(resultOf(expression)).toEqual(labels);
  });

  it.each(['sum by (pod (a)', 'rate(a[5])) + ', 'a{reason=}', 'a{reason="x"', ''])(
    'that is malformed is refused: %s',
    (text) => {
      expect(() => parseExpression(text)).toThrow(SyntaxError);
    },
  );
});
