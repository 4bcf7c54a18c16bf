import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { ExpositionFormat, Sample, Sampled } from './exposition.ts';
import { expositionOf } from './exposition.ts';
import type { Families, Family } from './family.ts';

type NamesOf<F extends Families, T extends Family['type']> = {
  [N in keyof F]: F[N]['type'] extends T ? N : never;
}[keyof F] &
  string;
type LabelsOf<F extends Family> = F extends { readonly labels: infer L } ? keyof L & string : never;

type ReadSeries = (set: (labels: Sample['labels'], value: number) => void) => void;

/** The metrics of one process: each is made from its declaration, and none that is not declared can be made. */
export interface DeclaredMetrics<F extends Families> {
  counter<N extends NamesOf<F, 'counter'>>(name: N): Counter<LabelsOf<F[N]>>;
  gauge<N extends NamesOf<F, 'gauge'>>(name: N): Gauge<LabelsOf<F[N]>>;
  histogram<N extends NamesOf<F, 'histogram'>>(name: N): Histogram<LabelsOf<F[N]>>;
  /** A counter or a gauge whose series are those that `read` sets at a scrape, each once. Labels that stay the same object are cheap. */
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
  // Not by objects of prom-client, which look at each label of each series anew: 150 ms for a thousand peers instead of 5.
  const readers = new Map<string, ReadSeries>();
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
    readAtScrape: (name, read) => void readers.set(name, read),
    async text(format) {
      beforeScrape();
      // Not `registry.metrics()`: the format is a state of the registry, and for OpenMetrics it takes `_total` off the names for good.
      const sampled = Object.entries(families).map(async ([name, { type, help }]): Promise<Sampled> => {
        const read = readers.get(name);
        const metric = registry.getSingleMetric(name);
        if (metric !== undefined) return { name, type, help, values: (await metric.get()).values };
        if (read === undefined) throw new TypeError(`Nothing counts or reads ${name}`);
        const values: Sample[] = [];
        read((labels, value) => values.push({ labels, value }));
        return { name, type, help, values };
      });
      return expositionOf(await Promise.all(sampled), format);
    },
  };
}
