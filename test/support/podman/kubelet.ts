import { chmod, chown, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PodForPodman, Step, VolumeToFill } from './as-podman-takes-it.ts';
import type { Podman } from './podman.ts';

/*
 * What the kubelet does for a pod and podman does not: it fills volumes, starts containers in their order and waits for
 * them, and ends them in the order of Kubernetes.
 */

/** What a cluster gives to the volumes of a pod. */
export interface Cluster {
  readonly configMaps: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly secrets: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** A token of the API server, bound to a pod. */
  token(pod: PodForPodman, audience: string, expirationSeconds: number): Promise<string>;
}

/** Where a pod is to be found. */
export interface PodPlace {
  readonly v4: string;
  readonly v6: string;
}

/** Makes a pod at these addresses, with its volumes and without starting it. */
export async function createPod(podman: Podman, pod: PodForPodman, place: PodPlace, cluster: Cluster): Promise<void> {
  for (const volume of pod.volumes) await fillVolume(volume, pod, cluster);
  await podman.create(pod.yaml, place);
}

/** Resolves when the last container has been started. */
export async function startPod(podman: Podman, pod: PodForPodman): Promise<void> {
  for (const step of pod.steps) await take(podman, step);
}

async function take(podman: Podman, step: Step): Promise<void> {
  // Attached, podman ends with the exit code of the container.
  if (step.until === 'ended') return void (await podman.run('start', '--attach', step.container));
  await podman.run('start', step.container);
  if (step.until === 'command') await podman.run('exec', step.runIn, ...step.command);
}

/** Exit codes by container. */
export type ExitCodes = Readonly<Record<string, number>>;

/**
 * Ends the containers of a pod that still run as the kubelet does: all at the same time, but native sidecars only when the
 * others are gone. Resolves with the exit code of every container, also of those that had ended before.
 */
export async function stopPod(podman: Podman, pod: PodForPodman, graceSeconds: number): Promise<ExitCodes> {
  const stop = (container: string) => podman.run('stop', `--time=${graceSeconds}`, container);
  const containers = containersOf(pod);
  await Promise.all(containers.filter((container) => !pod.nativeSidecars.includes(container)).map(stop));
  for (const sidecar of pod.nativeSidecars.toReversed()) await stop(sidecar);
  const codes = containers.map(async (container) => [container, Number(await podman.run('wait', container))]);
  return Object.fromEntries(await Promise.all(codes));
}

const containersOf = ({ steps }: PodForPodman) => steps.slice(1).map(({ container }) => container);

/** Fills a volume once; a token is renewed by filling it again. */
export async function fillVolume({ folder, volume }: VolumeToFill, pod: PodForPodman, cluster: Cluster): Promise<void> {
  await mkdir(folder, { recursive: true });
  if (volume.emptyDir) return chmod(folder, 0o777);
  const mode = (volume.secret ?? volume.configMap ?? volume.projected).defaultMode ?? 0o644;
  for (const [name, text] of Object.entries(await filesOf(volume, pod, cluster))) {
    const file = join(folder, name);
    await writeFile(file, text);
    await chown(file, 0, pod.fsGroup ?? 0);
    await chmod(file, mode);
  }
}

async function filesOf(
  // biome-ignore lint/suspicious/noExplicitAny: a volume of Kubernetes as it is written
  { projected, secret, configMap }: any,
  pod: PodForPodman,
  cluster: Cluster,
): Promise<Record<string, string>> {
  if (secret) return { ...known(cluster.secrets, secret.secretName) };
  if (configMap)
    return { ...(configMap.optional ? cluster.configMaps[configMap.name] : known(cluster.configMaps, configMap.name)) };
  const files: Record<string, string> = {};
  for (const { serviceAccountToken, configMap } of projected.sources) {
    if (serviceAccountToken) {
      const { audience, expirationSeconds, path } = serviceAccountToken;
      files[path] = await cluster.token(pod, audience, expirationSeconds);
    }
    for (const { key, path } of configMap?.items ?? [])
      files[path] = known(cluster.configMaps, configMap.name)[key] ?? '';
  }
  return files;
}

function known<T>(objects: Readonly<Record<string, T>>, name: string): T {
  const found = objects[name];
  if (found === undefined) throw new Error(`the pod waits for ${name}, which is not there`);
  return found;
}
