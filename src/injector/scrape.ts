import { sidecarPorts } from '../ports.ts';
import type { Pod } from './pod.ts';
import { annotationsOf } from './pod.ts';

const prefix = 'prometheus.io/';

/**
 * The annotations by which a Prometheus finds the sidecar's metrics. They name one place for each pod: where the
 * application has taken it, it stays, because the path of one with the port of the other would be neither.
 */
export function scrapeAnnotations(pod: Pod): {
  readonly annotations: Readonly<Record<string, string>>;
  readonly warnings: readonly string[];
} {
  const existing = annotationsOf(pod);
  if (Object.keys(existing).some((name) => name.startsWith(prefix))) {
    if (existing[`${prefix}scrape`] !== 'true') return { annotations: {}, warnings: [] };
    return {
      annotations: {},
      warnings: [
        `Its prometheus.io annotations stay: under STRICT only a Prometheus in the mesh reaches that port; the sidecar's metrics are on ${sidecarPorts.metrics}`,
      ],
    };
  }
  return {
    annotations: {
      [`${prefix}scrape`]: 'true',
      [`${prefix}port`]: String(sidecarPorts.metrics),
      [`${prefix}path`]: '/metrics',
    },
    warnings: [],
  };
}
