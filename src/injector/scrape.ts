import { parsePort } from '../addresses.ts';
import { appMetricsPlace } from '../config/app-metrics.ts';
import { sidecarPorts } from '../ports.ts';
import { takenPorts } from './names.ts';
import type { Pod } from './pod.ts';
import { annotationsOf, textAt } from './pod.ts';

const prefix = 'prometheus.io/';

/** How a Prometheus finds the metrics of a pod. */
export interface Scrape {
  /** Written over those that are there. */
  readonly annotations: Readonly<Record<string, string>>;
  /** The setting `appMetrics` of the sidecar; undefined: the application's metrics do not go through it. */
  readonly appMetrics: string | undefined;
  readonly warnings: readonly string[];
}

/**
 * Lets the annotations lead to the sidecar's metrics. They name one place for each pod: where that is the application's, the
 * sidecar is told of it, and answers with the application's metrics behind its own.
 */
export function scrapeOf(pod: Pod, isMerged: boolean): Scrape {
  const existing = annotationsOf(pod);
  const nothing: Scrape = { annotations: {}, appMetrics: undefined, warnings: [] };
  if (!Object.keys(existing).some((name) => name.startsWith(prefix))) return { ...nothing, annotations: ofSidecar };
  if (textAt(existing, `${prefix}scrape`) !== 'true') return nothing;
  // As another sidecar with the same port has left them.
  if (textAt(existing, `${prefix}port`) === ofSidecar[`${prefix}port`]) return { ...nothing, annotations: ofSidecar };
  const application = isMerged ? applicationOf(pod) : { why: 'merging is off' };
  if (typeof application === 'string') return { ...nothing, annotations: ofSidecar, appMetrics: application };
  return {
    ...nothing,
    warnings: [
      `Its prometheus.io annotations stay (${application.why}): under STRICT only a Prometheus in the mesh reaches that port; the sidecar's metrics are on ${sidecarPorts.metrics}`,
    ],
  };
}

const ofSidecar: Readonly<Record<string, string>> = {
  [`${prefix}scrape`]: 'true',
  [`${prefix}port`]: String(sidecarPorts.metrics),
  [`${prefix}path`]: '/metrics',
};

/** Where a Prometheus would ask the application, by its usual reading of the annotations; or why the sidecar cannot. */
function applicationOf(pod: Pod): string | { readonly why: string } {
  const existing = annotationsOf(pod);
  const scheme = textAt(existing, `${prefix}scheme`) || 'http';
  if (scheme !== 'http') return { why: 'their scheme is not http' };
  if (Object.keys(existing).some((name) => name.startsWith(`${prefix}param_`))) return { why: 'they have parameters' };
  const port = parsePort(textAt(existing, `${prefix}port`) ?? onlyPort(pod));
  if (port === undefined) return { why: 'they name no port' };
  if (takenPorts.has(port)) return { why: "they name a port of the sidecar's own" };
  const path = textAt(existing, `${prefix}path`) || '/metrics';
  const place = `${port}${path.startsWith('/') ? '' : '/'}${path}`;
  return appMetricsPlace.parse(place) === undefined ? { why: 'their path is not of a URL' } : place;
}

/** Without a port in the annotations, each that a container names is asked: of one there is no doubt. */
function onlyPort({ spec }: Pod): string {
  const ports = spec.containers.flatMap((container) => container.ports ?? []);
  const [first, ...others] = new Set(
    ports.filter(({ protocol }) => (protocol ?? 'TCP') === 'TCP').map(({ containerPort }) => containerPort),
  );
  return others.length === 0 ? String(first ?? '') : '';
}
