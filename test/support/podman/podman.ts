import type { ChildProcess } from 'node:child_process';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import type { RunningProgram } from '../pods.ts';
import { isOnPath, runningProgram } from '../pods.ts';
import { cacheFolder, imageRoot, runsFolder, storageDriver } from './image-store.ts';

/*
 * Real pods for tests, from the same YAML that a cluster takes. Each run of the tests has a podman of its own: its storage,
 * its locks, its network. It only reads the images of image-store.ts, and the machine's own podman knows nothing of it.
 */

/** Sockets and locks of each run; podman takes no path of more than 50 letters here. */
const stateFolder = '/run/remora-pods';
const cniPlugins = ['/usr/lib/cni', '/usr/libexec/cni', '/opt/cni/bin'];

/** Why real pods cannot run here; undefined when they can. */
export const noPodmanBecause = whyNoPodman();

function whyNoPodman(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  const missing = ['podman', 'catatonit', 'runc', 'buildah', 'debootstrap'].filter((tool) => !isOnPath(tool));
  if (!cniPlugins.some((folder) => existsSync(join(folder, 'bridge')))) missing.push('the bridge plugin of CNI');
  if (missing.length > 0) return `needs ${missing.join(', ')}`;
  return mayMakeCgroups() ? undefined : 'needs cgroups that can be written to';
}

/** Inside of another container they are often read-only. */
function mayMakeCgroups(): boolean {
  const root = existsSync('/sys/fs/cgroup/memory') ? '/sys/fs/cgroup/memory' : '/sys/fs/cgroup';
  const probe = join(root, `remora-test-${process.pid}`);
  try {
    mkdirSync(probe);
    rmdirSync(probe);
    return true;
  } catch {
    return false;
  }
}

/** How a command of podman ended. */
export interface PodmanResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Podman {
  /** For files of the test; removed with everything else, also after an interrupted run. */
  readonly files: string;
  /** The only network, with IPv4 and IPv6; nothing of the machine is on it. */
  readonly network: string;
  /** Its bridge, on the machine. */
  readonly bridge: string;
  /** Runs `podman …` to its end, whatever its exit code. */
  try(...args: readonly string[]): Promise<PodmanResult>;
  /** Runs `podman …` and resolves with its output; throws when it fails. */
  run(...args: readonly string[]): Promise<string>;
  /** `podman kube play`: makes what the YAML says, and resolves when init containers are done and the others started. */
  play(yaml: string): Promise<void>;
  /** Runs `podman …` with this text as its input. */
  feed(input: string, ...args: readonly string[]): Promise<PodmanResult>;
  /** `podman kube play` of one pod at these addresses, without starting it. */
  create(yaml: string, at: { readonly v4: string; readonly v6: string }): Promise<void>;
  /** Starts `podman …` for as long as it takes. */
  start(...args: readonly string[]): ChildProcess;
  /** The log of a container, over all of its starts. */
  follow(container: string): RunningProgram;
  /** Addresses of a pod, IPv4 first. */
  addressesOf(pod: string): Promise<readonly string[]>;
  /** Removes everything. */
  close(): Promise<void>;
}

/** What the containers that failed wrote: podman itself names only an exit code. */
async function wordsOfFailed(attempt: Podman['try']): Promise<string> {
  const { stdout } = await attempt('ps', '--all', '--filter=status=exited', '--format={{.Names}}');
  const logs = stdout
    .split('\n')
    .filter(Boolean)
    .map((name) => attempt('logs', name));
  return (await Promise.all(logs)).map((log) => log.stdout + log.stderr).join('');
}

/** Starts with nothing but the images of the tests. What interrupted runs left behind is removed first. */
export function startPodman(): Podman {
  sweepPodmanRuns();
  const folder = join(runsFolder, String(process.pid));
  const network = `remora-test-${process.pid}`;
  const files = join(folder, 'files');
  for (const needed of [join(folder, 'cni'), files]) mkdirSync(needed, { recursive: true });
  writeFileSync(join(folder, 'cni', `${network}.conflist`), networkConfiguration(network, folder));
  let played = 0;
  const play = async (yaml: string, ...args: readonly string[]) => {
    const file = join(folder, `play-${played++}.yaml`);
    writeFileSync(file, yaml);
    const { status, stderr } = await attempt('kube', 'play', '--log-driver=k8s-file', ...args, file);
    if (status !== 0) throw new Error(`podman kube play: ${stderr}${await wordsOfFailed(attempt)}`);
  };
  const attempt = (...args: readonly string[]) => podman(folder, args);
  const run = async (...args: readonly string[]) => {
    const { status, stdout, stderr } = await attempt(...args);
    if (status !== 0) throw new Error(`podman ${args.join(' ')} (${status}): ${stderr}${stdout}`);
    return stdout.trim();
  };
  return {
    files,
    network,
    bridge: bridgeName(folder),
    try: attempt,
    run,
    feed: (input, ...args) => podman(folder, args, input),
    play: (yaml) => play(yaml, `--network=${network}`),
    create: (yaml, { v4, v6 }) => play(yaml, '--start=false', `--network=${network}:ip=${v4},ip=${v6}`),
    start: (...args) => spawn('podman', [...globalOptions(folder), ...args], environment()),
    follow: (container) => followLog(folder, container),
    async addressesOf(pod) {
      const infra = await run('pod', 'inspect', '--format={{.InfraContainerID}}', pod);
      const [{ IPAddress, GlobalIPv6Address }] = JSON.parse(
        await run('inspect', `--format=[{{json (index .NetworkSettings.Networks "${network}")}}]`, infra),
      );
      return [IPAddress, GlobalIPv6Address];
    },
    async close() {
      // All at once: podman ends the containers of one pod after the other.
      await attempt('kill', '--all', '--signal=KILL');
      const { stdout } = await attempt('pod', 'ls', '--format={{.Name}}');
      const pods = stdout.split('\n').filter(Boolean);
      await Promise.all(pods.map((pod) => attempt('pod', 'rm', '--force', '--time=0', pod)));
      removeRun(folder);
    },
  };
}

/** The log file goes on where `podman logs --follow` ends, at the next start of the container; it may not be there yet. */
function followLog(folder: string, container: string): RunningProgram {
  const inspect = ['inspect', '--format={{.HostConfig.LogConfig.Path}}', container];
  const { stdout } = spawnSync('podman', [...globalOptions(folder), ...inspect], {
    ...environment(),
    encoding: 'utf8',
  });
  const follower = runningProgram(spawn('tail', ['--lines=+1', '--follow=name', '--retry', stdout.trim()]));
  // Time, stream, and F for a full line, as in the log files of Kubernetes.
  const text = (line: string) => line.replace(/^\S+ \S+ F /, '');
  return {
    process: follower.process,
    stop: (signal) => follower.stop(signal),
    get lines() {
      return follower.lines.map(text);
    },
    line: async (matches) => text(await follower.line((line) => matches(text(line)))),
  };
}

/** Removes what interrupted runs left behind: each run's folder has the number of its process as its name. */
export function sweepPodmanRuns(): void {
  if (!existsSync(runsFolder)) return;
  for (const name of readdirSync(runsFolder)) if (!isAlive(Number(name))) removeRun(join(runsFolder, name));
}

function isAlive(pid: number): boolean {
  return existsSync(`/proc/${pid}`);
}

function removeRun(folder: string): void {
  spawnSync('podman', [...globalOptions(folder), 'pod', 'rm', '--all', '--force', '--time=0'], environment());
  spawnSync('podman', [...globalOptions(folder), 'rm', '--all', '--force', '--time=0'], environment());
  for (const mountPoint of [...mountsBelow(folder), ...mountsBelow(stateOf(folder))])
    execFileSync('umount', ['--lazy', mountPoint]);
  spawnSync('ip', ['link', 'delete', bridgeName(folder)]);
  rmSync(folder, { recursive: true, force: true });
  rmSync(stateOf(folder), { recursive: true, force: true });
}

function stateOf(folder: string): string {
  return join(stateFolder, basename(folder));
}

function mountsBelow(folder: string): string[] {
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  return mounts
    .map((line) => line.split(' ')[1] ?? '')
    .filter((mountPoint) => mountPoint.startsWith(`${folder}/`))
    .reverse();
}

/** Names of interfaces have 15 letters at most. */
function bridgeName(folder: string): string {
  return `remora${basename(folder)}`;
}

/**
 * The routes lead to a gateway that is not there, as in a cluster where nobody answers: a pod that has no default route
 * fails to dial before any rule sees the packet.
 */
function networkConfiguration(name: string, folder: string): string {
  const ranges = [
    [{ subnet: '10.199.0.0/24', rangeStart: '10.199.0.10' }],
    [{ subnet: 'fd00:199::/64', rangeStart: 'fd00:199::10' }],
  ];
  const routes = [
    { dst: '0.0.0.0/0', gw: '10.199.0.1' },
    { dst: '::/0', gw: 'fd00:199::1' },
  ];
  const ipam = { type: 'host-local', dataDir: join(folder, 'addresses'), ranges, routes };
  const bridge = { type: 'bridge', bridge: bridgeName(folder), isGateway: false, ipMasq: false, ipam };
  return JSON.stringify({ cniVersion: '0.4.0', name, plugins: [bridge] });
}

function environment() {
  const conf = resolve(import.meta.dirname, 'containers.conf');
  return { env: { PATH: process.env.PATH, CONTAINERS_CONF: conf, HOME: cacheFolder } };
}

function globalOptions(folder: string): string[] {
  return [
    `--root=${join(folder, 'root')}`,
    `--runroot=${join(stateOf(folder), 'run')}`,
    `--tmpdir=${join(stateOf(folder), 'tmp')}`,
    `--network-config-dir=${join(folder, 'cni')}`,
    `--storage-driver=${storageDriver()}`,
    `--storage-opt=additionalimagestore=${imageRoot}`,
  ];
}

async function podman(folder: string, args: readonly string[], input = ''): Promise<PodmanResult> {
  const child = spawn('podman', [...globalOptions(folder), ...args], environment());
  // Whoever does not read its input may be gone before it is there.
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  const text = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk) => (text.stdout += chunk));
  child.stderr.on('data', (chunk) => (text.stderr += chunk));
  const [code] = (await once(child, 'close')) as [number | null];
  return { status: code ?? 1, ...text };
}
