import { controlPlanePorts, sidecarPorts } from '../../ports.ts';
import type { ControlPlaneSite } from './launch.ts';
import { sidecarArgs, startControlPlane, startServer, stateDirectoryIn, writeToken } from './launch.ts';
import type { Eyes, SidecarSite } from './look.ts';
import { lookAt, untilReady } from './look.ts';
import type { ClientName, Mesh, MeshParts } from './mesh.ts';
import { askEveryMs, directMs } from './mesh.ts';
import { createLink } from './network.ts';
import type { Hint } from './picture.ts';
import { remoraOfCheckout } from './picture.ts';
import type { Pods } from './pods.ts';
import { createPods, observeLink, podAddresses, uids } from './pods.ts';
import { previewOf } from './preview.ts';
import type { Program } from './program.ts';
import { shareProgram } from './shared-program.ts';
import type { Traffic } from './traffic.ts';
import { startTraffic } from './traffic.ts';
import { wireSince } from './wire-count.ts';

const { api, control } = podAddresses;
const service = { v4: '10.96.0.10', v6: 'fd96::10' } as const;
const applicationPorts = { http: 8080, echo: 9000 } as const;
const meshNetworks = '10.77.0.0/24,10.96.0.0/16,fd77::/64,fd96::/112';
const meshed = ['web', 'api', 'batch'] as const;

const apiPodUrls = [`http://${api.v4}:${applicationPorts.http}/`, `http://[${api.v6}]:${applicationPorts.http}/`];
const webUrls = [
  `http://${service.v4}/`,
  `http://[${service.v6}]/`,
  ...apiPodUrls,
  `tcp://${service.v4}:${applicationPorts.echo}`,
];
const batchUrls = [`tcp://${service.v4}:${applicationPorts.echo}`];
const legacyUrls = [
  ...apiPodUrls,
  `https://${api.v4}:${applicationPorts.http}/`,
  `h2://${api.v4}:${sidecarPorts.hbone}/`,
];

const sites: readonly SidecarSite[] = meshed.map((name) => ({
  name,
  metricsUrl: `http://${podAddresses[name].v4}:${sidecarPorts.metrics}/metrics`,
  readyUrl: `http://${podAddresses[name].v4}:${sidecarPorts.health}/healthz/ready`,
}));

/** What is there once it has started. */
interface Running {
  readonly pods: Pods;
  readonly eyes: Eyes;
  readonly sidecars: readonly Program[];
  readonly traffic: Traffic;
}

/** The mesh in real pods: network namespaces on one link, with real rules. Needs root. */
export function createNamespaceMesh(parts: MeshParts): Mesh {
  const { crew, clock } = parts;
  const cleaning = new AsyncDisposableStack();
  let running: Running | undefined;
  const started = () => {
    if (running === undefined) throw new TypeError('The mesh has not started');
    return running;
  };
  return {
    where:
      'Five network namespaces on one link, IPv4 and IPv6: web, api and batch with a sidecar, legacy without, the control plane',
    isCaptured: true,
    requiredRefusal: 'plaintext_in_strict',
    async start(signal) {
      running = await start(parts, cleaning, signal);
    },
    hints: () => hintsFor(parts),
    look: () => lookAt(crew, sites, started().eyes),
    preview: () => previewOf(started().pods.place('api', uids.sidecar)),
    endTraffic: () => started().traffic.end(),
    async withoutSidecars() {
      const { pods, eyes, sidecars } = started();
      await Promise.all(sidecars.map((sidecar) => sidecar.stop()));
      await Promise.all(meshed.map((name) => pods.runInit(name, ['--cleanup'])));
      const before = await eyes.readWire();
      const place = pods.place('web', uids.application);
      const args = [parts.markers.mesh, String(askEveryMs.web), ...apiPodUrls];
      const client = crew.follow('The application web without a sidecar', place.application('client', args));
      await Promise.race([clock.sleep(directMs), crew.failure]);
      await client.stop();
      return wireSince(before, await eyes.readWire());
    },
    remove: () => cleaning.disposeAsync(),
  };
}

async function start(parts: MeshParts, cleaning: AsyncDisposableStack, signal: AbortSignal): Promise<Running> {
  const { name, env, clock, folder, crew } = parts;
  const program = cleaning.adopt(await shareProgram(parts.program, env, [], folder.path), (one) => one.remove());
  const link = cleaning.adopt(await createLink({ name, env, clock }), (one) => one.remove());
  const pods = await createPods(link, program);
  signal.throwIfAborted();
  const [observer, site] = await Promise.all([
    observeLink({ ...parts, link }),
    startPodControlPlane(pods, parts),
    startPodServer(pods, parts),
    ...meshed.map((pod) => pods.runInit(pod, [])),
  ]);
  signal.throwIfAborted();
  observer.program.failure.catch(crew.fail);
  const eyes: Eyes = { ...observer, nameOf };
  const sidecars = await Promise.all(meshed.map((pod) => startSidecar(pod, pods, site, parts)));
  await Promise.all(sites.map((one) => untilReady(one, eyes, crew, clock)));
  signal.throwIfAborted();
  return { pods, eyes, sidecars, traffic: startPodTraffic(pods, parts) };
}

function startPodControlPlane(pods: Pods, { folder, crew }: MeshParts): Promise<ControlPlaneSite> {
  return startControlPlane(crew, {
    place: pods.place('control', uids.controlPlane),
    folder,
    uid: uids.controlPlane,
    listen: `${control.v4}:${controlPlanePorts.api}`,
    metricsListen: `${control.v4}:${controlPlanePorts.metrics}`,
    servingName: control.v4,
  });
}

function startPodServer(pods: Pods, { crew }: MeshParts): Promise<Program> {
  const ports = [applicationPorts.http, applicationPorts.echo].map(String);
  return startServer(crew, pods.place('api', uids.application), ports);
}

/** The rules are there before it starts, and its token as well. */
async function startSidecar(
  name: (typeof meshed)[number],
  pods: Pods,
  site: ControlPlaneSite,
  parts: MeshParts,
): Promise<Program> {
  const tokenFile = await writeToken(name, site, parts, uids.sidecar);
  const args = [...sidecarArgs(name, site, tokenFile), ...['--mesh-networks', meshNetworks]];
  return parts.crew.followSidecar(name, pods.place(name, uids.sidecar).remora(args));
}

function startPodTraffic(pods: Pods, { crew, markers }: MeshParts): Traffic {
  const client = (name: ClientName, urls: readonly string[], text: string) => ({
    place: pods.place(name, uids.application),
    urls,
    text,
  });
  return startTraffic(crew, {
    web: client('web', webUrls, markers.mesh),
    batch: client('batch', batchUrls, markers.mesh),
    legacy: client('legacy', legacyUrls, markers.legacy),
  });
}

function nameOf(ip: string): string {
  const found = Object.entries(podAddresses).find(([, { v4, v6 }]) => v4 === ip || v6 === ip);
  return found?.[0] ?? ip;
}

function hintsFor({ name, folder }: MeshParts): readonly Hint[] {
  const inPod = (pod: string, command: string) => `ip netns exec ${name}-${pod} ${command}`;
  return [
    { title: 'metrics', command: inPod('web', `curl -s http://127.0.0.1:${sidecarPorts.metrics}/metrics`) },
    { title: 'status', command: inPod('web', `${remoraOfCheckout} status`) },
    { title: 'rules', command: inPod('api', 'nft list table inet remora') },
    { title: 'call api', command: inPod('web', `curl -sSi http://${service.v4}/`) },
    { title: 'as legacy', command: inPod('legacy', `curl -sSi http://${api.v4}:${applicationPorts.http}/`) },
    { title: 'mesh', command: `${remoraOfCheckout} mesh --state-dir ${stateDirectoryIn(folder)}` },
    { title: 'who breaks', command: inPod('api', `${remoraOfCheckout} strict-preview`) },
    { title: 'registry', command: `${folder.registry} (change a file and see)` },
  ];
}
