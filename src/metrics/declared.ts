import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { ExpositionFormat } from './exposition.ts';
import { expositionOf } from './exposition.ts';
import type { Families, Family } from './family.ts';

type NamesOf<F extends Families, T extends Family['type']> = {
  [N in keyof F]: F[N]['type'] extends T ? N : never;
}[keyof F] &
  string;
type LabelsOf<F extends Family> = F extends { readonly labels: infer L } ? keyof L & string : never;

/** The metrics of one process: each is made from its declaration, and none that is not declared can be made. */
export interface DeclaredMetrics<F extends Families> {
  counter<N extends NamesOf<F, 'counter'>>(name: N): Counter<LabelsOf<F[N]>>;
  gauge<N extends NamesOf<F, 'gauge'>>(name: N): Gauge<LabelsOf<F[N]>>;
  histogram<N extends NamesOf<F, 'histogram'>>(name: N): Histogram<LabelsOf<F[N]>>;
  /** A counter or a gauge whose series are those that `read` sets at a scrape, and no others. */
  readAtScrape<N extends NamesOf<F, 'counter' | 'gauge'>>(
    name: N,
    read: (set: (labels: Readonly<Record<LabelsOf<F[N]>, string>>, value: number) => void) => void,
  ): void;
  /** The whole page of now. */
  text(format: ExpositionFormat): Promise<string>;
}

/** `beforeScrape` is called once for each page, before any value is read. */
export function declareMetrics<F extends Families>(
  families: F,
  beforeScrape: () => void = () => undefined,
): DeclaredMetrics<F> {
  const registry = new Registry();
  const configOf = (name: string) => {
    const { help, labels = {}, buckets } = families[name] as Family;
    return {
      name,
      help,
      labelNames: Object.keys(labels),
      registers: [registry],
      ...(buckets && { buckets: [...buckets] }),
    };
  };
  return {
    counter: (name) => new Counter(configOf(name)),
    gauge: (name) => new Gauge(configOf(name)),
    histogram: (name) => new Histogram(configOf(name)),
    readAtScrape(name, read) {
      const { type } = families[name] as Family;
      const config = configOf(name);
      // Without labels, a value that is reset is zero; one that is not known must be absent.
      const clear = (metric: Counter | Gauge) => (config.labelNames.length === 0 ? metric.remove() : metric.reset());
      if (type === 'counter') {
        new Counter({
          ...config,
          collect() {
            clear(this);
            read((labels, value) => this.inc(labels, value));
          },
        });
      } else {
        new Gauge({
          ...config,
          collect() {
            clear(this);
            read((labels, value) => this.set(labels, value));
          },
        });
      }
    },
    async text(format) {
      beforeScrape();
      // Not `registry.metrics()`: the format is a state of the registry, and for OpenMetrics it takes `_total` off the names for good.
      const metrics = Object.keys(families).map((name) => registry.getSingleMetric(name));
      const sampled = await Promise.all(metrics.filter((metric) => metric !== undefined).map((metric) => metric.get()));
      return expositionOf(sampled, format);
    },
  };
}
