import { execFile } from 'node:child_process';
import { chmod, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { sidecarPorts, sidecarUid } from '../src/ports.ts';
import type { MeshPodSpec } from '../test/support/mesh.ts';
import {
  agentArguments,
  controlAddresses,
  controlPlaneArguments,
  quietEnvironment,
  registryText,
  writeToken,
} from '../test/support/mesh.ts';
import type { TestPod, TestPods } from '../test/support/pods.ts';
import { startPods } from '../test/support/pods.ts';
import { SoakError } from './errors.ts';
import type { PodName } from './faults.ts';
import { drainDeadlineMs, podNames, servers } from './faults.ts';
import type { Part } from './part.ts';
import { createPart } from './part.ts';
import { idlePolicy } from './policies.ts';

const root = resolve(import.meta.dirname, '..');

/** A certificate is renewed at half of its life: every ten seconds. */
const certificateLifetime = '20s';
const agent = [
  ...['--drain-deadline', `${drainDeadlineMs}ms`, '--tunnel-idle', '5s'],
  ...['--certificate-lifetime', certificateLifetime],
];

export const pods: Readonly<Record<PodName, MeshPodSpec>> = {
  web: { v4: '10.77.0.11', v6: 'fd77::11', isMeshed: true, agent },
  api: { v4: '10.77.0.12', v6: 'fd77::12', isMeshed: true, agent },
  db: { v4: '10.77.0.13', v6: 'fd77::13', isMeshed: true, agent },
};
const stranger = { v4: '10.77.0.14', v6: 'fd77::14' };
export const serviceAddresses = { v4: '10.96.0.10', v6: 'fd96::10' };
export const applicationPort = 7000;

/** The pods of a soak, by name; those with a sidecar are made first, in this order. */
export type SoakPodName = PodName | 'control' | 'stranger';

/** What the registry says of the pods behind the Service. */
export interface Endpoints {
  readonly behind: readonly PodName[];
  readonly terminating: readonly PodName[];
}
export const allEndpoints: Endpoints = { behind: servers, terminating: [] };

/** A control plane, pods with the real sidecar and the real rules, and a pod without. */
export interface SoakMesh {
  readonly pods: TestPods<SoakPodName>['pods'];
  readonly sidecars: Readonly<Record<PodName, Part>>;
  readonly controlPlane: Part;
  /** Runs a command in the namespace of the network between the pods, as root. */
  onLink(script: string): Promise<void>;
  /** The interface of a pod at the link. */
  linkPort(pod: PodName): string;
  /** Says anew, in one step, which pods are behind the Service. */
  register(endpoints: Endpoints): Promise<void>;
  /** Writes a further file of the registry in one step; without objects it says nothing any more. */
  write(name: string, objects: readonly object[]): Promise<void>;
  /** The metrics page of a sidecar; undefined when it does not answer. */
  metrics(pod: PodName): Promise<string | undefined>;
  /** Removes everything; throws when something is left. */
  close(): Promise<void>;
}

/** Starts everything in `folder`, which everyone may enter, and resolves when every sidecar is ready. */
export async function startSoakMesh(folder: string, onLost: (why: string) => void): Promise<SoakMesh> {
  const program = await buildProgram(folder);
  const running = await startPods<SoakPodName>({ ...pods, control: controlAddresses, stranger });
  const link = `${running.link.name}-link`;
  const logs = join(folder, 'logs');
  const partIn = (name: string, pod: TestPod, args: readonly string[], uid: number, readyText: string) =>
    createPart({
      name,
      logFile: join(logs, `${name}.log`),
      readyText,
      onLost,
      spawn: (stdio) =>
        pod.exec([...running.program.argv.slice(0, -1), program, ...args], {
          ...{ uid, stdio, env: quietEnvironment, mounts: running.program.mounts },
        }),
    });
  const sidecarIn = (name: PodName) =>
    partIn(
      `sidecar-${name}`,
      running.pods[name],
      ['agent', ...agentArguments(folder, name, { pods })],
      sidecarUid,
      '"Ready"',
    );
  const mesh: SoakMesh = {
    pods: running.pods,
    sidecars: { web: sidecarIn('web'), api: sidecarIn('api'), db: sidecarIn('db') },
    controlPlane: partIn(
      'control-plane',
      running.pods.control,
      controlPlaneArguments(folder, certificateLifetime),
      0,
      '"Control plane ready"',
    ),
    async onLink(script) {
      await promisify(execFile)('ip', ['netns', 'exec', link, 'sh', '-c', script]);
    },
    linkPort: (pod) => `pod${podNames.indexOf(pod)}`,
    async register({ behind, terminating }) {
      const service = { name: 'shop', ...serviceAddresses, pods: behind, terminating, ports: [applicationPort] };
      await replace(folder, 'mesh', registryText({ pods, services: [service] }));
    },
    write(name, objects) {
      const some = objects.length > 0 ? objects : [idlePolicy(`soak-${name}`)];
      // JSON is YAML.
      return replace(folder, name, some.map((object) => JSON.stringify(object)).join('\n---\n'));
    },
    metrics: (pod) =>
      running.pods.control
        .sh(`curl -sS --max-time 10 http://${pods[pod].v4}:${sidecarPorts.metrics}/metrics`)
        .catch(() => undefined),
    close: () => running.close(),
  };
  try {
    await start(mesh, folder);
    return mesh;
  } catch (error) {
    await running.close();
    throw error;
  }
}

async function start(mesh: SoakMesh, folder: string): Promise<void> {
  for (const name of ['registry', 'logs']) await mkdir(join(folder, name));
  await mesh.register(allEndpoints);
  await mesh.controlPlane.start();
  for (const name of podNames) {
    await writeToken(folder, name, mesh.pods.control);
    const init = await mesh.pods[name].remora(['init']);
    if (init.status !== 0) throw new SoakError(`remora init failed in ${name}: ${init.stderr}`);
  }
  await Promise.all(podNames.map((name) => mesh.sidecars[name].start()));
}

async function replace(folder: string, name: string, text: string): Promise<void> {
  // Not below the registry, which would read it.
  const draft = join(folder, `${name}-draft.yaml`);
  await writeFile(draft, text);
  await rename(draft, join(folder, `registry/${name}.yaml`));
}

/** The bundle as the image has it: one state of the source, whenever a sidecar is started again. */
async function buildProgram(folder: string): Promise<string> {
  const target = join(folder, 'remora');
  await promisify(execFile)(process.execPath, [join(root, 'scripts/build.mjs'), 'src/main.ts', target, '--image']);
  await promisify(execFile)('chmod', ['-R', 'a+rX', target]);
  return join(target, 'main.mjs');
}

/** Makes an empty folder that everyone may enter. */
export async function emptyFolder(path: string): Promise<string> {
  await rm(path, { recursive: true, force: true });
  await mkdir(path, { recursive: true });
  await chmod(path, 0o755);
  return path;
}
