/** The variables by which the dashboard is narrowed; each is a label of the scrape configuration. */
export const variables = ['namespace', 'workload', 'pod'] as const;

const chosen = variables.map((name) => `${name}=~"$${name}"`).join(', ');

/** `metric` of the sidecars that are chosen in the dashboard, narrowed further by `matchers`, such as `direction="inbound"`. */
export function of(metric: string, ...matchers: readonly string[]): string {
  return `${metric}{${[...matchers, chosen].join(', ')}}`;
}

/** How fast a counter of the chosen sidecars rises, a second. */
export function rateOf(metric: string, ...matchers: readonly string[]): string {
  return `rate(${of(metric, ...matchers)}[$__rate_interval])`;
}

/** The expression as Prometheus is asked it, when everything is chosen; `interval` such as `1m`. */
export function asAsked(expression: string, interval: string): string {
  return expression.replaceAll('$__rate_interval', interval).replaceAll(/\$(?:namespace|workload|pod)\b/g, '.*');
}
