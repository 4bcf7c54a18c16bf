import { spawn } from 'node:child_process';
import type { Clock } from '../../clock.ts';
import type { Host } from '../../host.ts';
import { sidecarPorts, sidecarUid } from '../../ports.ts';
import type { ToolOptions } from '../../system-tool.ts';
import type { Place } from './launch.ts';
import { applicationPath, outputOf } from './launch.ts';
import type { Link, Pod, PodAddresses } from './network.ts';
import type { Observer } from './observer.ts';
import { createObserver } from './observer.ts';
import type { ObserverSettings } from './observer-api.ts';
import { podCommand } from './pod-command.ts';
import type { SharedProgram } from './shared-program.ts';

/** As manifests/demo has them. */
export const podAddresses = {
  control: { v4: '10.77.0.2', v6: 'fd77::2' },
  web: { v4: '10.77.0.11', v6: 'fd77::11' },
  api: { v4: '10.77.0.12', v6: 'fd77::12' },
  legacy: { v4: '10.77.0.13', v6: 'fd77::13' },
  batch: { v4: '10.77.0.14', v6: 'fd77::14' },
} as const satisfies Record<string, Required<PodAddresses>>;
export type PodName = keyof typeof podAddresses;

/** Users of the pods: the sidecar's own, and those of everything else, which the rules capture. */
export const uids = { sidecar: sidecarUid, application: 1000, controlPlane: 65_532 } as const;

/** The pods of the demo on one link. */
export interface Pods {
  readonly link: Link;
  /** Where processes of a pod run as this user, without any capability. */
  place(pod: PodName, uid: number): Place;
  /** Runs `remora` in a pod to its end, as an init container does, and resolves with what it printed. */
  runInit(pod: PodName, args: readonly string[]): Promise<string>;
}

export async function createPods(link: Link, program: SharedProgram): Promise<Pods> {
  const pods = {} as Record<PodName, Pod>;
  for (const name of Object.keys(podAddresses) as PodName[]) pods[name] = await link.addPod(name, podAddresses[name]);
  const { argv, mounts } = program;
  const node = argv.slice(0, -1);
  return {
    link,
    place: (name, uid) => ({
      remora: (args) => pods[name].exec([...argv, ...args], { uid, mounts }),
      application: (script, args) =>
        pods[name].exec([...node, program.pathOf(applicationPath(script)), ...args], { uid, mounts }),
    }),
    async runInit(name, args) {
      const result = await pods[name].run([...argv, 'init', ...args], { capabilities: ['net_admin'], mounts });
      return outputOf(`remora init ${args.join(' ')} in the pod ${name}`, result);
    },
  };
}

export interface ObserverParts {
  readonly link: Link;
  readonly program: Host['program'];
  readonly env: ToolOptions['env'];
  readonly clock: Clock;
  readonly markers: Readonly<Record<string, string>>;
}

/**
 * Starts the observer in the namespace of the link. The bridge is made promiscuous, so that it sees every frame that it
 * passes from one pod to another, once.
 */
export async function observeLink({ link, program, env, clock, markers }: ObserverParts): Promise<Observer> {
  const namespace = `${link.name}-link`;
  const settings: ObserverSettings = { interfaceName: 'br0', markers, tunnelPort: sidecarPorts.hbone };
  const observe = [...program, 'demo', 'observe', JSON.stringify(settings)];
  const script = 'ip link set br0 promisc on && exec "$@"';
  const [command, ...args] = podCommand(namespace, ['sh', '-c', script, 'sh', ...observe]);
  return createObserver(spawn(command, args, { env, stdio: 'pipe' }), clock);
}
