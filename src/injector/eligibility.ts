import { captureProblem } from '../annotations.ts';
import { shown } from '../config/given.ts';
import { sidecarUid } from '../ports.ts';
import type { Injection, SkipReason } from './inject.ts';
import { added, foreignSidecars, isInjected, takenPorts } from './names.ts';
import { optIn, parseSwitch } from './options.ts';
import type { Container, Pod } from './pod.ts';
import { annotationsOf, containersOf, textAt } from './pod.ts';

type Skipped = Extract<Injection, { kind: 'skipped' }>;

/** Whether a pod says itself that it wants no sidecar, or what is wrong with the word it says it with. */
export function chosen(pod: Pod): { readonly isWanted: boolean } | { readonly problem: string } {
  const said: readonly (readonly [name: string, text: string | undefined])[] = [
    ...optIn.map((key) => [`label ${key}`, textAt(pod.metadata?.labels, key)] as const),
    // What Istio's users had before there was the label.
    [`annotation ${optIn[1]}`, textAt(annotationsOf(pod), optIn[1])],
  ];
  for (const [name, text] of said) {
    if (text === undefined) continue;
    const isWanted = parseSwitch(text);
    return isWanted === undefined ? { problem: captureProblem(`The ${name}`, text, 'true or false') } : { isWanted };
  }
  return { isWanted: true };
}

/** Why a pod is left as it is, or undefined. */
export function skipOf(pod: Pod): Skipped | undefined {
  if (isInjected(pod)) return skipped('already_injected', 'It has the sidecar already');
  if (pod.spec.hostNetwork === true) {
    return skipped(
      'host_network',
      'It is on the network of its node (hostNetwork), whose connections a sidecar would capture',
    );
  }
  const os = pod.spec.os?.name ?? textAt(pod.spec.nodeSelector, 'kubernetes.io/os');
  if (os !== undefined && os !== 'linux') return skipped('not_linux', `It runs on ${shown(os)}, expected linux`);
  return undefined;
}

export function skipped(reason: SkipReason, why: string): Skipped {
  return { kind: 'skipped', reason, why };
}

/** Everything about a pod that the sidecar cannot live with, one sentence each. */
export function conflicts(pod: Pod): string[] {
  const containers = containersOf(pod).map(({ container }) => container);
  return [
    ...containers.flatMap(nameConflicts),
    ...containers.flatMap(portConflicts),
    ...(pod.spec.volumes ?? [])
      .filter(({ name }) => name === added.volume || name === added.noApiToken)
      .map(({ name }) => `There is a volume ${name} already, expected another name`),
    ...userConflicts(pod),
  ];
}

function nameConflicts({ name }: Container): string[] {
  if (name === added.sidecar || name === added.init) {
    return [`There is a container ${name} already, expected another name`];
  }
  if (!foreignSidecars.has(name)) return [];
  return [
    `The pod has the container ${name} of another mesh, expected one sidecar: both would capture its connections`,
  ];
}

function portConflicts({ name, ports }: Container): string[] {
  return (ports ?? []).flatMap((port) => {
    if (port.name === added.metricsPort) {
      return [`The container ${shown(name)} has a port ${port.name} already, expected another name`];
    }
    if ((port.protocol ?? 'TCP') !== 'TCP') return [];
    const taken = [port.containerPort, port.hostPort].find((number) => takenPorts.has(number ?? 0));
    if (taken === undefined) return [];
    const numbers = [...takenPorts].sort((a, b) => a - b).join(', ');
    return [`The container ${shown(name)} has the port ${taken}, expected none of the sidecar's own: ${numbers}`];
  });
}

/** Of the same user an application is not captured, and reads the sidecar's memory. */
function userConflicts(pod: Pod): string[] {
  const ofPod = pod.spec.securityContext?.runAsUser;
  return containersOf(pod)
    .map(({ container }) => container)
    .filter(({ securityContext }) => (securityContext?.runAsUser ?? ofPod) === sidecarUid)
    .map(
      ({ name }) =>
        `The container ${shown(name)} runs as user ${sidecarUid}, expected another one: it is the sidecar's, whose connections are not captured`,
    );
}

/** With these an application may undo the capture, or become the sidecar's user. */
const strongCapabilities: ReadonlySet<string> = new Set([
  'ALL',
  'BPF',
  'NET_ADMIN',
  'NET_RAW',
  'SETGID',
  'SETUID',
  'SYS_ADMIN',
  'SYS_PTRACE',
]);

/** What weakens the capture without making it impossible, one sentence each. */
export function weaknesses(pod: Pod): string[] {
  const found = containersOf(pod).flatMap(({ container: { name, securityContext } }) => {
    if (securityContext?.privileged === true)
      return [`The container ${shown(name)} is privileged: it can go around the sidecar`];
    const strong = (securityContext?.capabilities?.add ?? [])
      .map((capability) => capability.toUpperCase().replace(/^CAP_/, ''))
      .filter((capability) => strongCapabilities.has(capability));
    if (strong.length === 0) return [];
    return [`The container ${shown(name)} adds ${strong.join(', ')}: with that it can go around the sidecar`];
  });
  if (pod.spec.shareProcessNamespace === true)
    found.push(
      'The pod shares its process namespace: a container with enough rights can read the memory of the sidecar',
    );
  if (pod.spec.hostPID === true)
    found.push(
      'The pod sees the processes of its node: a container with enough rights can read the memory of every sidecar there',
    );
  return found;
}
