import { parseAllDocuments } from 'yaml';

/*
 * The one place where YAML for a cluster becomes YAML for podman 4.3, and what is changed on the way. Containers, their
 * arguments, users, capabilities, limits and the order of their start stay as they are.
 *
 * - A workload is played as one pod of its template, and other kinds are left out: podman knows neither Job nor Service.
 * - Init containers and native sidecars are played as containers; `steps` says in which order kubelet.ts starts them, and
 *   what it waits for. podman removes init containers, takes no native sidecar, waits for nobody and runs no hook.
 * - A container `pause` comes first: podman stops the network of a pod in which nothing runs.
 * - Probes are taken out: podman runs `curl` in the container for some and ignores others. The tests ask them.
 * - Ports of containers, which are words in a cluster, are taken out: podman listens there on the machine.
 * - Projected volumes, Secrets, ConfigMaps and emptyDirs become folders that kubelet.ts fills: podman takes the first not at
 *   all, and gives the last to root.
 * - fieldRef, configMapKeyRef and `$(NAME)` become their values: podman refuses some, and expands none.
 * - restartPolicy is Never: podman would start an init container again for ever.
 * - Images that cannot be pulled are replaced by that of the checkout.
 * - Names of Services that a pod must know come as hostAliases: there is no DNS.
 */

// biome-ignore lint/suspicious/noExplicitAny: objects of Kubernetes as they are written
type Written = any;

/** What the node and the cluster know of a pod. */
export interface Surroundings {
  /** The folder that stands for a volume of a pod. */
  folderOf(pod: string, volume: string): string;
  /** Addresses by name. */
  readonly hosts: Readonly<Record<string, string>>;
  readonly configMaps: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** What stands for an image that cannot be pulled here. */
  readonly images: Readonly<Record<string, string>>;
}

/** One container to start, and what has to come true before the next one is. */
export type Step = {
  /** As podman names it. */
  readonly container: string;
} & (
  | { readonly until: 'ended' | 'started' }
  /** The command runs in a container, this one or another, and must end with 0. */
  | { readonly until: 'command'; readonly runIn: string; readonly command: readonly string[] }
);

/** A volume that the kubelet fills. */
export interface VolumeToFill {
  readonly folder: string;
  /** As the pod describes it: `projected`, `secret`, `configMap` or `emptyDir`. */
  readonly volume: Written;
}

/** A pod that podman can play. */
export interface PodForPodman {
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly fsGroup: number | undefined;
  readonly yaml: string;
  readonly volumes: readonly VolumeToFill[];
  /** In the order of Kubernetes: init containers one after the other, native sidecars among them, then the others. */
  readonly steps: readonly Step[];
  /** The native sidecars, which the kubelet ends behind the others, the last first. */
  readonly nativeSidecars: readonly string[];
}

/** The pods of all documents of a text. */
export function asPodmanTakesIt(text: string, surroundings: Surroundings): readonly PodForPodman[] {
  const objects = parseAllDocuments(text).map((document) => document.toJS() as Written);
  return objects.flatMap((object) => {
    const pod = podOf(object);
    return pod === undefined ? [] : [forPodman(pod, surroundings)];
  });
}

function podOf(object: Written): Written {
  switch (object?.kind) {
    case 'Pod':
      return object;
    case 'Deployment':
    case 'StatefulSet':
    case 'DaemonSet':
    case 'Job':
      return { ...object.spec.template, metadata: { ...object.spec.template.metadata, ...named(object) } };
    default:
      return undefined;
  }
}

const named = ({ metadata: { name, namespace } }: Written) => ({ name, namespace });

/**
 * In place of the native sidecar's startup probe, of which it asks the page. Not in the sidecar's container: a second
 * program there would double its memory, which the kubelet's probe does not.
 */
const untilReady = ['remora', 'wait', '--timeout=60s'];

function forPodman({ metadata, spec }: Written, surroundings: Surroundings): PodForPodman {
  const { name, namespace = 'default' } = metadata;
  const inits: Written[] = spec.initContainers ?? [];
  const isNative = ({ restartPolicy }: Written) => restartPolicy === 'Always';
  const named = (container: Written): string => `${name}-${container.name}`;
  const volumes: Written[] = spec.volumes ?? [];
  const isFilled = ({ projected, secret, configMap, emptyDir }: Written) =>
    Boolean(projected ?? secret ?? configMap ?? emptyDir);
  const filled = volumes
    .filter(isFilled)
    .map((volume) => ({ folder: surroundings.folderOf(name, volume.name), volume }));
  const containers: Written[] = [...inits, ...spec.containers].map((written) =>
    containerForPodman(written, { name, namespace }, surroundings),
  );
  return {
    name,
    namespace,
    serviceAccount: spec.serviceAccountName ?? 'default',
    fsGroup: spec.securityContext?.fsGroup,
    volumes: filled,
    steps: [
      { container: `${name}-pause`, until: 'started' },
      ...inits.map((init) => initStep(named(init), isNative(init), `${name}-pause`)),
      ...spec.containers.map((one: Written) => containerStep(named(one), one.lifecycle?.postStart?.exec?.command)),
    ],
    nativeSidecars: inits.filter(isNative).map(named),
    yaml: JSON.stringify({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { ...metadata, name },
      spec: {
        restartPolicy: 'Never',
        securityContext: spec.securityContext,
        hostAliases: Object.entries(surroundings.hosts).map(([host, ip]) => ({ ip, hostnames: [host] })),
        containers: [pause(containers[0].image), ...containers],
        volumes: [
          ...volumes.filter((volume) => !isFilled(volume)),
          ...filled.map(({ folder, volume }) => ({
            name: volume.name,
            hostPath: { path: folder, type: 'Directory' },
          })),
        ],
      },
    }),
  };
}

const initStep = (container: string, isNative: boolean, pause: string): Step =>
  isNative ? { container, until: 'command', runIn: pause, command: untilReady } : { container, until: 'ended' };

const containerStep = (container: string, command: readonly string[] | undefined): Step =>
  command === undefined ? { container, until: 'started' } : { container, until: 'command', runIn: container, command };

const pause = (image: string) => ({
  name: 'pause',
  image,
  imagePullPolicy: 'Never',
  command: ['sleep', 'infinity'],
  securityContext: { runAsUser: 65_534, runAsGroup: 65_534, capabilities: { drop: ['ALL'] } },
});

function containerForPodman(
  written: Written,
  pod: { readonly name: string; readonly namespace: string },
  { configMaps, images }: Surroundings,
): Written {
  const { ports, restartPolicy, startupProbe, readinessProbe, livenessProbe, lifecycle, ...kept } = written;
  const fields: Record<string, string> = {
    'metadata.name': pod.name,
    'metadata.namespace': pod.namespace,
    'status.hostIP': '192.0.2.10',
  };
  const env: { name: string; value: string }[] = (written.env ?? []).map(({ name, value, valueFrom }: Written) => {
    const { fieldRef, configMapKeyRef } = valueFrom ?? {};
    const given = fieldRef ? fields[fieldRef.fieldPath] : configMaps[configMapKeyRef?.name]?.[configMapKeyRef?.key];
    if (valueFrom && given === undefined) throw new Error(`nobody knows the value of ${name}`);
    return { name, value: given ?? value };
  });
  const values = Object.fromEntries(env.map(({ name, value }) => [name, value]));
  const expanded = (texts: readonly string[] | undefined) =>
    texts?.map((text) => text.replaceAll(/\$\((\w+)\)/g, (all, name) => values[name] ?? all));
  return {
    ...kept,
    image: images[written.image] ?? written.image,
    imagePullPolicy: 'Never',
    env,
    ...(written.args ? { args: expanded(written.args) } : {}),
    ...(written.command ? { command: expanded(written.command) } : {}),
  };
}
