import { createPublicKey } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { calculateJwkThumbprint } from 'jose';
import { makeCertificate } from '../certificates.ts';
import { objectOf, renderedObjects } from '../manifests.ts';
import { registryText } from '../mesh.ts';
import type { RunningProgram } from '../pods.ts';
import { runningProgram } from '../pods.ts';
import { ruleCounters } from '../rule-counters.ts';
import type { PodForPodman, Surroundings } from './as-podman-takes-it.ts';
import { asPodmanTakesIt } from './as-podman-takes-it.ts';
import { imageOfThisCheckout } from './image-store.ts';
import type { Cluster, ExitCodes, PodPlace } from './kubelet.ts';
import { createPod, startPod, stopPod } from './kubelet.ts';
import type { Podman } from './podman.ts';
import { startPodman } from './podman.ts';

/*
 * A mesh of real pods. The control plane is the Deployment that kustomize makes of manifests/install; `remora authority`
 * made its keys, and a second one plays the API server, whose tokens it takes by their public keys, as in a cluster.
 */

const places = {
  'remora-control-plane': { v4: '10.199.0.52', v6: 'fd00:199::52' },
  web: { v4: '10.199.0.53', v6: 'fd00:199::53' },
  api: { v4: '10.199.0.54', v6: 'fd00:199::54' },
  legacy: { v4: '10.199.0.55', v6: 'fd00:199::55' },
  old: { v4: '10.199.0.56', v6: 'fd00:199::56' },
  report: { v4: '10.199.0.57', v6: 'fd00:199::57' },
} as const satisfies Record<string, PodPlace>;
export type PodName = keyof typeof places;

export const services = {
  api: { v4: '10.96.0.10', v6: 'fd96::10' },
  old: { v4: '10.96.0.11', v6: 'fd96::11' },
} as const;
export const controlPlaneName = 'remora-control-plane.remora-system.svc';
export const yamlFolder = resolve(import.meta.dirname, '../../pods/yaml');
const programs = resolve(import.meta.dirname, '../pod-programs');

/** What `remora inject` did with a text. */
export interface Injected {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface PodMesh {
  readonly podman: Podman;
  readonly image: string;
  readonly places: Readonly<Record<PodName, PodPlace>>;
  /** The settings of the injector; the control plane has the same. */
  readonly injectionYaml: string;
  /** Runs `remora inject` of the image, with these settings; `flags` go before them. */
  inject(yaml: string, ...flags: readonly string[]): Promise<Injected>;
  /** Makes the pods of the YAML without starting them. */
  create(yaml: string): Promise<readonly PodForPodman[]>;
  /** Makes and starts the pods of the YAML as a kubelet does. */
  start(yaml: string): Promise<void>;
  stop(pod: PodName, graceSeconds: number): Promise<ExitCodes>;
  remove(pod: PodName): Promise<void>;
  /** Lines that a container has written since its first start; it goes on when the container is started again. */
  log(container: string): RunningProgram;
  /** The first log entry of a container in which all of these texts are. */
  logged(container: string, ...parts: readonly string[]): Promise<Record<string, unknown>>;
  /** Starts a program of test/support/pod-programs in a container. */
  run(container: string, program: string, ...args: readonly string[]): RunningProgram;
  /** What such a program prints last, read as JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: each program has words of its own
  ask(container: string, program: string, ...args: readonly string[]): Promise<any>;
  /** Packets that the rules of a pod have matched. */
  counters(pod: PodName): Promise<Record<string, number>>;
  close(): Promise<void>;
}

/** The control plane is ready, and no other pod is there. */
export async function startPodMesh(): Promise<PodMesh> {
  const image = await imageOfThisCheckout();
  const podman = startPodman();
  const folder = podman.files;
  const following = new Map<string, RunningProgram>();
  const running: RunningProgram[] = [];
  const close = async () => {
    await podman.close();
    for (const program of [...running, ...following.values()]) await program.stop();
  };
  try {
    const cluster = await clusterOf(podman, image, folder);
    const surroundings: Surroundings = {
      images: { node: image, 'registry.example.com/remora:0.1.0': image },
      configMaps: cluster.configMaps,
      hosts: { [controlPlaneName]: places['remora-control-plane'].v4 },
      folderOf: (pod, volume) => join(folder, 'volumes', pod, volume),
    };
    const started = new Map<string, PodForPodman>();
    const injectionYaml = cluster.configMaps[nameOf('ConfigMap', 'remora-injection')]?.['injection.yaml'] ?? '';
    const mesh: PodMesh = {
      podman,
      image,
      places,
      injectionYaml,
      async inject(yaml, ...flags) {
        const settings = `--volume=${join(folder, 'settings')}:/settings:ro`;
        const run = [
          'run',
          '--rm',
          '--interactive',
          '--network=none',
          '--read-only',
          '--cap-drop=all',
          settings,
          image,
        ];
        return podman.feed(yaml, ...run, 'inject', '--settings=/settings/injection.yaml', ...flags);
      },
      async create(yaml) {
        const pods = asPodmanTakesIt(yaml, surroundings);
        for (const pod of pods) {
          started.set(pod.name, pod);
          await createPod(podman, pod, placeOf(pod.name), cluster);
        }
        return pods;
      },
      async start(yaml) {
        for (const pod of await mesh.create(yaml)) await startPod(podman, pod);
      },
      async stop(name, graceSeconds) {
        const pod = started.get(name);
        if (pod === undefined) throw new Error(`${name} was not started`);
        return stopPod(podman, pod, graceSeconds);
      },
      async remove(name) {
        await podman.run('pod', 'rm', '--force', '--time=0', name);
        for (const container of [...following.keys()])
          if (container.startsWith(`${name}-`)) following.delete(container);
      },
      log(container) {
        const known = following.get(container);
        if (known) return known;
        const follower = podman.follow(container);
        following.set(container, follower);
        return follower;
      },
      async logged(container, ...parts) {
        return JSON.parse(await mesh.log(container).line((line) => parts.every((part) => line.includes(part))));
      },
      run(container, program, ...args) {
        const started = runningProgram(
          podman.start('exec', '--interactive', container, 'node', `/programs/${program}.ts`, ...args),
        );
        running.push(started);
        return started;
      },
      async ask(container, program, ...args) {
        const { stdout, stderr } = await podman.try('exec', container, 'node', `/programs/${program}.ts`, ...args);
        const last = stdout.trim().split('\n').at(-1) ?? '';
        if (!last.startsWith('{')) throw new Error(`${program} in ${container}: ${stdout}${stderr}`);
        return JSON.parse(last);
      },
      counters: (pod) =>
        ruleCounters({
          sh: (script) => podman.run('exec', '--user=0', '--privileged', `${pod}-pause`, ...script.split(' ')),
        }),
      close,
    };
    await mkdir(join(folder, 'settings'));
    await writeFile(join(folder, 'settings/injection.yaml'), injectionYaml, { mode: 0o644 });
    await mesh.start(JSON.stringify(objectOf(renderedObjects('install'), 'Deployment')));
    await mesh.log('remora-control-plane-control-plane').line((line) => line.includes('Control plane ready'));
    return mesh;
  } catch (error) {
    await close();
    throw error;
  }
}

function placeOf(name: string): PodPlace {
  const place = (places as Readonly<Record<string, PodPlace>>)[name];
  if (place === undefined) throw new Error(`no address is kept for the pod ${name}`);
  return place;
}

/** Names of generated objects end with a hash of the content. */
const nameOf = (kind: string, name: string): string => objectOf(renderedObjects('install'), kind, name).metadata.name;

/** What the node knows: ConfigMaps and Secrets by the names of manifests/install, and an issuer of tokens. */
async function clusterOf(podman: Podman, image: string, folder: string): Promise<Cluster> {
  const authority = join(folder, 'authority');
  const apiServer = join(folder, 'api-server');
  const remora = (...args: readonly string[]) =>
    podman.run('run', '--rm', '--network=none', '--user=0', `--volume=${folder}:${folder}`, image, ...args);
  await remora('authority', authority);
  await remora('authority', apiServer);
  const names = Object.fromEntries(
    ['remora-cluster', 'remora-injection'].map((name) => [name, nameOf('ConfigMap', name)]),
  );
  const cluster = objectOf(renderedObjects('install'), 'ConfigMap', 'remora-cluster').data;
  return {
    secrets: {
      [nameOf('Secret', 'remora-authority')]: await filesIn(authority),
      'api-certificate': certificateOfApi(),
    },
    configMaps: {
      [names['remora-cluster'] ?? '']: cluster,
      [names['remora-injection'] ?? '']: { 'injection.yaml': injectionSettings(image) },
      'remora-root': { 'ca.pem': await readFile(join(authority, 'root.pem'), 'utf8') },
      'remora-token-keys': { 'jwks.json': await publicKeys(join(apiServer, 'token-key.pem')) },
      'remora-registry': { 'cluster.yaml': registry() },
      programs: await filesIn(programs),
    },
    token: ({ name, namespace, serviceAccount }, audience, expirationSeconds) =>
      remora(
        ...['token', `--authority=${apiServer}`, `--token-issuer=${cluster.TOKEN_ISSUER}`, `--namespace=${namespace}`],
        ...[`--service-account=${serviceAccount}`, `--pod=${name}`],
        ...[`--audience=${audience}`, `--lifetime=${expirationSeconds}s`],
      ),
  };
}

const ports = [7001, 7002, 7003, 7004, 7005];

/** As a snapshot of the cluster has them. `report` is a Job, which nobody calls. */
function registry(): string {
  const inMesh = (name: PodName) => ({ ...places[name], isMeshed: true });
  return registryText<Exclude<PodName, 'remora-control-plane' | 'report'>>({
    pods: {
      web: inMesh('web'),
      api: inMesh('api'),
      old: inMesh('old'),
      legacy: { ...places.legacy, isMeshed: false },
    },
    services: (['api', 'old'] as const).map((name) => ({ name, ...services[name], pods: [name], ports })),
  });
}

/** As the operator edits manifests/install/injection.yaml. */
const injectionSettings = (image: string) => `# Settings of this cluster
image: ${image}
imagePullPolicy: Never
meshNetworks: [10.199.0.0/25, 10.96.0.0/16, "fd00:199::/64", "fd96::/64"]
`;

/** What `kubectl get --raw /openid/v1/jwks` prints of an API server with this key. */
async function publicKeys(file: string): Promise<string> {
  const key = createPublicKey(await readFile(file));
  const kid = await calculateJwkThumbprint(key);
  return JSON.stringify({ keys: [{ ...key.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' }] });
}

/** Self-signed: a kubelet does not verify what it probes. */
function certificateOfApi(): Record<string, string> {
  const { pem, key } = makeCertificate({ sans: [{ dns: 'api' }] });
  return { 'certificate.pem': pem, 'key.pem': String(key.export({ type: 'pkcs8', format: 'pem' })) };
}

async function filesIn(folder: string): Promise<Record<string, string>> {
  const names = await readdir(folder);
  const texts = names.map(async (name) => [name, await readFile(join(folder, name), 'utf8')]);
  return Object.fromEntries(await Promise.all(texts));
}
