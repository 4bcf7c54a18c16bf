import type { ChildProcess, StdioOptions } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Clock } from '../../clock.ts';
import { FailureError, UnavailableError } from '../../errors.ts';
import type { ToolOptions, ToolResult } from '../../system-tool.ts';
import { runTool } from '../../system-tool.ts';
import type { PodPrivileges } from './pod-command.ts';
import { podCommand } from './pod-command.ts';

/** Addresses of a pod; a pod without `v6` has IPv6 switched off. */
export interface PodAddresses {
  readonly v4?: string;
  readonly v6?: string;
}

export interface PodProcessOptions extends PodPrivileges {
  readonly stdio?: StdioOptions;
  /** Default: the environment that the link was made with. */
  readonly env?: ToolOptions['env'];
}

/** A network namespace with one interface, `eth0`, on the link. */
export interface Pod extends PodAddresses {
  readonly name: string;
  readonly namespace: string;
  /** Starts a process in the pod; the link kills it when it is removed. */
  exec(argv: readonly string[], options?: PodProcessOptions): ChildProcess;
  /** Runs a command in the pod to its end. */
  run(argv: readonly string[], options?: PodPrivileges & Partial<ToolOptions>): Promise<ToolResult>;
}

/** What is left of a link: it should be nothing once the link is removed. */
export interface Leftovers {
  readonly namespaces: readonly string[];
  readonly pids: readonly number[];
}

/** A network of pods as on one node: a bridge that is the default gateway of each, in a namespace of its own. */
export interface Link {
  readonly name: string;
  readonly pods: readonly Pod[];
  addPod(name: string, addresses: PodAddresses): Promise<Pod>;
  /** Kills every process in the pods and removes them; idempotent. */
  remove(): Promise<void>;
  leftovers(): Promise<Leftovers>;
}

export interface LinkOptions {
  /** Begins the name of every namespace of the link, and of no other namespace on this machine. */
  readonly name: string;
  readonly env: ToolOptions['env'];
  readonly clock: Clock;
  /** Addresses of the bridge, the first of a /24 and of a /64. */
  readonly gateway?: { readonly v4: string; readonly v6: string };
}

const defaultGateway = { v4: '10.77.0.1', v6: 'fd77::1' };
const prefixLength = { v4: 24, v6: 64 };
/** How long processes that were killed may take to vanish. */
const reapDeadlineMs = 5000;
const reapPollMs = 20;

/** Makes the bridge. Throws when `ip` is missing or may not make namespaces, and leaves nothing behind then. */
export async function createLink(options: LinkOptions): Promise<Link> {
  const { name, env, gateway = defaultGateway } = options;
  const tool = createToolbox(env);
  const bridge = `${name}-link`;
  const pods: Pod[] = [];
  const children = new Set<ChildProcess>();
  const made: string[] = [];

  const makeNamespace = async (namespace: string, sysctls: string) => {
    await tool('ip', ['netns', 'add', namespace]);
    made.push(namespace);
    await tool('ip', ['netns', 'exec', namespace, 'sh', '-c', sysctls]);
  };

  const addPod = async (podName: string, addresses: PodAddresses): Promise<Pod> => {
    const namespace = `${name}-${podName}`;
    const port = `pod${pods.length}`;
    const pod = createPod(podName, namespace, addresses, env, children);
    pods.push(pod);
    await makeNamespace(namespace, podSysctls(addresses));
    await tool('ip', ['-n', bridge, 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace]);
    await tool('ip', ['-n', bridge, 'link', 'set', port, 'master', 'br0', 'up']);
    await tool('ip', ['-n', namespace, '-batch', '-'], podBatch(addresses, gateway));
    return pod;
  };

  const leftovers = async () => {
    const namespaces = await namespacesOf(name, env);
    return { namespaces, pids: await pidsIn(namespaces, env) };
  };

  const remove = async () => {
    const running = [...children].map((child) => once(child, 'exit'));
    for (const child of children) child.kill('SIGKILL');
    await killAll(made, options);
    await Promise.all(running);
    for (const namespace of made.splice(0)) await tool('ip', ['netns', 'delete', namespace]);
  };

  try {
    await makeNamespace(bridge, bridgeSysctls);
    await tool('ip', ['-n', bridge, '-batch', '-'], bridgeBatch(gateway));
  } catch (error) {
    await remove();
    throw error;
  }
  return { name, pods, addPod, remove, leftovers };
}

function createPod(
  name: string,
  namespace: string,
  addresses: PodAddresses,
  env: ToolOptions['env'],
  children: Set<ChildProcess>,
): Pod {
  return {
    name,
    namespace,
    ...addresses,
    exec(argv, { stdio = 'pipe', env: ownEnv = env, ...privileges } = {}) {
      const [command, ...args] = podCommand(namespace, argv, privileges);
      const child = spawn(command, args, { env: ownEnv, stdio });
      children.add(child);
      child.once('exit', () => children.delete(child));
      child.once('error', () => children.delete(child));
      return child;
    },
    run(argv, { env: ownEnv = env, input, timeoutMs, ...privileges } = {}) {
      const [command, ...args] = podCommand(namespace, argv, privileges);
      return runTool(command, args, {
        env: ownEnv,
        ...(input !== undefined && { input }),
        ...(timeoutMs !== undefined && { timeoutMs }),
      });
    },
  };
}

/** No duplicate address detection: an address works when it is there, and not a second later. */
const quietV6 =
  'for family in all default; do echo 0 > /proc/sys/net/ipv6/conf/$family/accept_dad; echo 0 > /proc/sys/net/ipv6/conf/$family/accept_ra; done';

/** Forwards like a node, and keeps bridged packets out of the bridge's own rules. */
const bridgeSysctls = `[ ! -e /proc/sys/net/ipv6 ] || { ${quietV6}; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding; }
echo 1 > /proc/sys/net/ipv4/ip_forward
for file in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do [ ! -e $file ] || echo 0 > $file; done`;

function podSysctls({ v6 }: PodAddresses): string {
  const off = 'for family in all default lo; do echo 1 > /proc/sys/net/ipv6/conf/$family/disable_ipv6; done';
  return `[ ! -e /proc/sys/net/ipv6 ] || { ${v6 === undefined ? off : quietV6}; }`;
}

function bridgeBatch({ v4, v6 }: { v4: string; v6: string }): string {
  return `link set lo up
link add br0 type bridge mcast_snooping 0
addr add ${v4}/${prefixLength.v4} dev br0
addr add ${v6}/${prefixLength.v6} dev br0 nodad
link set br0 up
`;
}

function podBatch({ v4, v6 }: PodAddresses, gateway: { v4: string; v6: string }): string {
  const lines = ['link set lo up', 'link set eth0 up'];
  if (v4 !== undefined) lines.push(`addr add ${v4}/${prefixLength.v4} dev eth0`, `route add default via ${gateway.v4}`);
  if (v6 !== undefined)
    lines.push(`addr add ${v6}/${prefixLength.v6} dev eth0 nodad`, `route add default via ${gateway.v6}`);
  return `${lines.join('\n')}\n`;
}

/** Runs a tool that must succeed. */
function createToolbox(env: ToolOptions['env']) {
  return async (command: string, args: readonly string[], input = ''): Promise<void> => {
    const result = await runTool(command, args, { env, input });
    if (result.kind === 'missing')
      throw new UnavailableError(`${command} is not on the PATH, expected the package iproute2 to be installed`);
    if (result.status !== 0) throw new FailureError(`${command} ${args.join(' ')} failed (${result.stderr.trim()})`);
  };
}

async function linesOf(args: readonly string[], env: ToolOptions['env']): Promise<string[]> {
  const result = await runTool('ip', args, { env });
  return result.kind === 'ended' && result.status === 0 ? result.stdout.split('\n').filter((line) => line !== '') : [];
}

async function namespacesOf(name: string, env: ToolOptions['env']): Promise<string[]> {
  const lines = await linesOf(['netns', 'list'], env);
  return lines.map((line) => line.replace(/ .*/, '')).filter((namespace) => namespace.startsWith(`${name}-`));
}

async function pidsIn(namespaces: readonly string[], env: ToolOptions['env']): Promise<number[]> {
  const lines = await Promise.all(namespaces.map((namespace) => linesOf(['netns', 'pids', namespace], env)));
  return lines.flat().map(Number);
}

/** Also what the children started themselves, and what left their process groups: all that runs in the namespaces. */
async function killAll(namespaces: readonly string[], { env, clock }: LinkOptions): Promise<void> {
  const deadline = clock.monotonic() + reapDeadlineMs;
  for (;;) {
    const pids = await pidsIn(namespaces, env);
    if (pids.length === 0 || clock.monotonic() > deadline) return;
    await runTool('sh', ['-c', 'kill -KILL "$@" 2>/dev/null', 'sh', ...pids.map(String)], { env });
    await clock.sleep(reapPollMs);
  }
}
