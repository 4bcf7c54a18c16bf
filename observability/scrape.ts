import { added } from '../src/injector/names.ts';
import { jobs } from './scrape-labels.ts';

interface Relabeling {
  readonly source_labels?: readonly string[];
  readonly regex?: string;
  readonly target_label?: string;
  readonly replacement?: string;
  readonly action?: 'keep' | 'drop' | 'replace';
}

/** A job of Prometheus' configuration, as its documentation has it. */
export interface ScrapeJob {
  readonly job_name: string;
  readonly scrape_interval: string;
  readonly kubernetes_sd_configs: readonly { readonly role: 'pod' }[];
  readonly relabel_configs: readonly Relabeling[];
}

const pod = (name: string) => `__meta_kubernetes_pod_${name}`;
const container = (name: string) => pod(`container_${name}`);

const keep = (labels: readonly string[], regex: string): Relabeling => ({
  source_labels: labels,
  regex,
  action: 'keep',
});

const copy = (label: string, target: string): Relabeling => ({ source_labels: [label], target_label: target });

/**
 * Whose a series is. The workload is the controller of the pod, a Deployment for a ReplicaSet, whose name ends in a hash; a
 * pod without a controller is its own.
 */
const whose: readonly Relabeling[] = [
  copy('__meta_kubernetes_namespace', 'namespace'),
  copy(pod('name'), 'pod'),
  copy(pod('name'), 'workload'),
  { ...copy(pod('controller_name'), 'workload'), regex: '(.+)' },
  {
    source_labels: [pod('controller_kind'), pod('controller_name')],
    regex: 'ReplicaSet;(.+)-[a-z0-9]+',
    target_label: 'workload',
  },
];

/** What ends is no alarm: a Job's pod that has finished stays listed. */
const running: Relabeling = { source_labels: [pod('phase')], regex: 'Succeeded|Failed', action: 'drop' };

/** The jobs that a Prometheus needs for the dashboard and the alerts. */
export const scrapeJobs: readonly ScrapeJob[] = [
  {
    job_name: jobs.sidecars,
    scrape_interval: '15s',
    kubernetes_sd_configs: [{ role: 'pod' }],
    // By the port that every injected sidecar declares: annotations are the application's where it has them.
    relabel_configs: [keep([container('port_name')], added.metricsPort), running, ...whose],
  },
  {
    job_name: jobs.controlPlane,
    scrape_interval: '15s',
    kubernetes_sd_configs: [{ role: 'pod' }],
    relabel_configs: [
      keep(
        [pod('label_app_kubernetes_io_name'), pod('label_app_kubernetes_io_component'), container('port_name')],
        'remora;control-plane;metrics',
      ),
      running,
      ...whose,
    ],
  },
];
