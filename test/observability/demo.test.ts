import type { ChildProcess } from 'node:child_process';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { stringify } from 'yaml';
import { allAlerts, ruleGroups } from '../../observability/alerts/rules.ts';
import { rows } from '../../observability/dashboard/dashboard.ts';
import { scrapeJobs } from '../../observability/scrape.ts';
import { jobs } from '../../observability/scrape-labels.ts';
import { asAsked } from '../../observability/variables.ts';
import { podAddresses } from '../../src/cli/demo/pods.ts';
import { controlPlanePorts, sidecarPorts } from '../../src/ports.ts';
import { noPodsBecause } from '../support/pods.ts';
import type { ActiveAlert, Prometheus } from '../support/prometheus.ts';
import { noPrometheusBecause, startPrometheus } from '../support/prometheus.ts';

/*
 * Goal: the dashboard shows a real mesh, and the alerts tell of a real fault and of its end.
 * Method: a real Prometheus scrapes `remora demo`, as a node would, from the bridge between its pods. Its rules are those of
 * manifests/prometheus, with windows and waits that are 60 times shorter. The control plane is halted, so that the
 * certificates, which live 12 s there, end; then it goes on.
 */

const root = resolve(import.meta.dirname, '../..');
const pace = { speed: 60 };
const noDemoBecause = noPodsBecause ?? noPrometheusBecause;

/** As discovery in a cluster would find them. */
const discovered = [
  { job: jobs.sidecars, pod: 'web', port: sidecarPorts.metrics, portName: 'remora-metrics' },
  { job: jobs.sidecars, pod: 'api', port: sidecarPorts.metrics, portName: 'remora-metrics' },
  { job: jobs.controlPlane, pod: 'control', port: controlPlanePorts.metrics, portName: 'metrics' },
] as const;

const config = {
  global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' },
  rule_files: ['rules.yaml'],
  scrape_configs: scrapeJobs.map(({ kubernetes_sd_configs: _, scrape_interval: __, ...job }) => ({
    ...job,
    static_configs: discovered
      .filter((target) => target.job === job.job_name)
      .map(({ pod, port, portName }) => ({
        targets: [`${podAddresses[pod].v4}:${port}`],
        labels: {
          __meta_kubernetes_namespace: 'demo',
          __meta_kubernetes_pod_name: `${pod}-5d9f7c-x2x4z`,
          __meta_kubernetes_pod_controller_kind: 'ReplicaSet',
          __meta_kubernetes_pod_controller_name: `${pod}-5d9f7c`,
          __meta_kubernetes_pod_phase: 'Running',
          __meta_kubernetes_pod_container_port_name: portName,
          __meta_kubernetes_pod_label_app_kubernetes_io_name: 'remora',
          __meta_kubernetes_pod_label_app_kubernetes_io_component: pod === 'control' ? 'control-plane' : '',
        },
      })),
  })),
};

const queries = rows.flatMap((row) =>
  row.panels.flatMap(({ title, queries, emptyBecause }) =>
    queries.map(({ expression }) => ({ panel: `${row.title}: ${title}`, expression, emptyBecause })),
  ),
);

/** What the demo does not do, or not soon: it denies somebody after a while, tries no policy, and has neither CRLs nor a webhook. */
const quietInTheDemo = [
  'Sidecars: What policies on trial would change',
  'Connections: Refused by reason',
  'Sidecars: Log lines left out',
  "Sidecars: Applications' own metrics",
  'Control plane: CRLs: until a newer one is due',
  'Control plane: CRLs out of date',
  'Control plane: Webhook by result',
];

describe.skipIf(noDemoBecause !== undefined)(`the demo under a real Prometheus ${noDemoBecause ?? ''}`, () => {
  let demo: ChildProcess;
  let folder: string;
  let prometheus: Prometheus | undefined;
  const asked = () => prometheus ?? expect.unreachable('it has not started');

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'remora-observability-'));
    await writeFile(join(folder, 'rules.yaml'), stringify(ruleGroups(pace), { aliasDuplicateObjects: false }));
    demo = spawn(process.execPath, [join(root, 'src/main.ts'), 'demo'], { stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const output of [demo.stdout, demo.stderr]) output?.on('data', (chunk) => (said += chunk));
    await vi.waitFor(() => expect(said).toMatch(/web: [1-9]\d* requests/), { timeout: 60_000 });
    prometheus = await startPrometheus(`remora-demo-${demo.pid}-link`, folder, config);
  });

  afterAll(async () => {
    await prometheus?.stop();
    const ended = once(demo, 'exit');
    demo.kill('SIGTERM');
    const [code] = await ended;
    await rm(folder, { recursive: true });
    expect(code).toBe(0);
    expect(readdirSync('/run/netns').filter((name) => name.startsWith(`remora-demo-${demo.pid}-`))).toEqual([]);
  });

  /** Names of the alerts that fire, each with the workload. */
  async function firing(): Promise<string[]> {
    const alerts = (await asked().alerts()).filter(({ state }) => state === 'firing');
    return [...new Set(alerts.map(nameOf))].sort();
  }
  const nameOf = ({ labels }: ActiveAlert) => [labels.alertname, labels.workload].filter(Boolean).join(' ');
  const patience = { timeout: 120_000, interval: 500 };

  it('reads every page, in the format that Prometheus prefers', async () => {
    await expect
      .poll(async () => (await asked().targets()).map(({ health, labels }) => [labels.workload, health]), patience)
      .toEqual(
        expect.arrayContaining([
          ['web', 'up'],
          ['api', 'up'],
          ['control', 'up'],
        ]),
      );
    expect((await asked().targets()).map(({ lastError }) => lastError)).toEqual(['', '', '']);
  });

  it('answers every query of every panel', async () => {
    const empty = async () => {
      const answers = queries.map(async ({ panel, expression, emptyBecause }) => {
        const series = await asked().query(asAsked(expression, '15s'));
        return series.length === 0 && !(emptyBecause !== undefined && quietInTheDemo.includes(panel))
          ? [`${panel}: ${expression}`]
          : [];
      });
      return (await Promise.all(answers)).flat();
    };
    await expect.poll(empty, patience).toEqual([]);
  });

  it('evaluates every rule', async () => {
    const names = allAlerts(pace).map(({ name }) => name);
    await expect
      .poll(async () => (await asked().rules()).map(({ name, health }) => `${name} ${health}`).sort(), patience)
      .toEqual(names.map((name) => `${name} ok`).sort());
    expect((await asked().rules()).flatMap(({ lastError }) => lastError ?? [])).toEqual([]);
  });

  it('tells of the stranger that is refused, and of nothing else', async () => {
    await expect.poll(firing, patience).toEqual(['RemoraHandshakesFailing api']);
  });

  it('tells of certificates that nobody renews, and of nothing once they are renewed', async () => {
    const expiry = ['api', 'web'].flatMap((name) =>
      ['RemoraCertificateLate', 'RemoraIdentityLost'].map((alert) => `${alert} ${name}`),
    );
    const controlPlane = controlPlaneOf(demo.pid);
    process.kill(controlPlane, 'SIGSTOP');
    try {
      await expect.poll(firing, patience).toEqual(expect.arrayContaining([...expiry, 'RemoraControlPlaneDown']));
      const alerts = await asked().alerts();
      expect(
        alerts.flatMap(({ annotations }) => Object.values(annotations)).filter((text) => /error|<no value>/.test(text)),
      ).toEqual([]);
    } finally {
      process.kill(controlPlane, 'SIGCONT');
    }
    await expect.poll(firing, patience).toEqual(['RemoraHandshakesFailing api']);
  });
});

/** The process of the demo's control plane. */
function controlPlaneOf(demo: number | undefined): number {
  const pids = execFileSync('ip', ['netns', 'pids', `remora-demo-${demo}-control`], { encoding: 'utf8' });
  const found = pids
    .split('\n')
    .filter(Boolean)
    .find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes('control-plane'));
  if (found === undefined) throw new Error(`no control plane among ${pids}`);
  return Number(found);
}
