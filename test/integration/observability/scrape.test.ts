import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { scrapeJobs } from '../../../observability/scrape.ts';
import { jobs } from '../../../observability/scrape-labels.ts';
import { noPrometheusBecause } from '../../support/prometheus.ts';

/*
 * Goal: the scrape configuration finds sidecars and the control plane, and says whose they are.
 * Method: Debian builds Prometheus without the discovery of Kubernetes. So the labels that it would find (its
 * documentation, kubernetes_sd_config, role pod) are given to the same rules, and promtool says what becomes of each.
 */

const web = 'web-5d9f7c-x2x4z';
const sidecarPort = { pod_container_port_name: 'remora-metrics' };
const controlPlanePod = {
  pod_label_app_kubernetes_io_name: 'remora',
  pod_label_app_kubernetes_io_component: 'control-plane',
  pod_container_port_name: 'metrics',
};
const controlledBy = (kind: string, name: string) => ({ pod_controller_kind: kind, pod_controller_name: name });

/** Pods, each by an address of its own. */
const pods: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  deployment: { ...sidecarPort, ...controlledBy('ReplicaSet', 'web-5d9f7c') },
  statefulSet: { ...sidecarPort, ...controlledBy('StatefulSet', 'db-main') },
  daemonSet: { ...sidecarPort, ...controlledBy('DaemonSet', 'agent') },
  alone: sidecarPort,
  ended: { ...sidecarPort, pod_phase: 'Succeeded' },
  otherPort: { pod_container_port_name: 'http' },
  noPort: {},
  controlPlane: { ...controlPlanePod, ...controlledBy('ReplicaSet', 'remora-control-plane-7f') },
  controlPlaneOtherPort: { ...controlPlanePod, pod_container_port_name: 'api' },
  otherComponent: { ...controlPlanePod, pod_label_app_kubernetes_io_component: 'snapshot' },
};

interface Found {
  readonly discoveredLabels: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
}

describe.skipIf(noPrometheusBecause !== undefined)(`the scrape configuration ${noPrometheusBecause ?? ''}`, () => {
  let folder: string;
  let file: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'remora-scrape-'));
    file = join(folder, 'prometheus.yaml');
    const static_configs = Object.entries(pods).map(([name, own]) => {
      const meta = Object.entries({ namespace: 'shop', pod_name: web, pod_phase: 'Running', ...own });
      const labels = Object.fromEntries(meta.map(([label, value]) => [`__meta_kubernetes_${label}`, value]));
      return { targets: [`${name}:15020`], labels };
    });
    const scrape_configs = scrapeJobs.map(({ kubernetes_sd_configs: _, ...rest }) => ({ ...rest, static_configs }));
    await writeFile(file, stringify({ scrape_configs }));
  });
  afterAll(() => rm(folder, { recursive: true }));

  /** The labels of the targets of a job, by pod. It looks for as long as it is told, however soon it has found all. */
  async function targetsOf(job: string): Promise<Record<string, Readonly<Record<string, string>>>> {
    const { stdout } = await promisify(execFile)('promtool', [
      ...['check', 'service-discovery', '--timeout=5s'],
      file,
      job,
    ]);
    const found = JSON.parse(stdout) as readonly Found[];
    expect(found).toHaveLength(Object.keys(pods).length);
    return Object.fromEntries(
      found
        .filter(({ labels }) => Object.keys(labels ?? {}).length > 0)
        .map(({ discoveredLabels, labels = {} }) => [discoveredLabels.__address__?.split(':')[0] ?? '', labels]),
    );
  }

  const of = (job: string, name: string, workload: string) =>
    expect.objectContaining({ job, instance: `${name}:15020`, namespace: 'shop', pod: web, workload });

  it('takes the sidecars that run, each with its workload', async () => {
    expect(await targetsOf(jobs.sidecars)).toEqual({
      deployment: of(jobs.sidecars, 'deployment', 'web'),
      statefulSet: of(jobs.sidecars, 'statefulSet', 'db-main'),
      daemonSet: of(jobs.sidecars, 'daemonSet', 'agent'),
      alone: of(jobs.sidecars, 'alone', web),
    });
  });

  it('takes the metrics of the control plane, and nothing else of it', async () => {
    expect(await targetsOf(jobs.controlPlane)).toEqual({
      controlPlane: of(jobs.controlPlane, 'controlPlane', 'remora-control-plane'),
    });
  });
});
