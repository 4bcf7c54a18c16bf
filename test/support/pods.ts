import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import type { Link, Pod, PodAddresses, PodProcessOptions } from '../../src/cli/demo/network.ts';
import { createLink } from '../../src/cli/demo/network.ts';
import type { SharedProgram } from '../../src/cli/demo/shared-program.ts';
import { shareProgram } from '../../src/cli/demo/shared-program.ts';
import { systemClock } from '../../src/clock.ts';
import { sidecarUid } from '../../src/ports.ts';

/*
 * Pods on one link, in real network namespaces, for tests. Namespaces are named `remora-test-<pid>-…`: the global set-up
 * removes those whose maker is gone.
 */

const root = resolve(import.meta.dirname, '../..');
const main = join(root, 'src/main.ts');

/** Why tests in namespaces cannot run here; undefined when they can. */
export const noPodsBecause = whyNoPods();

function whyNoPods(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  const missing = ['ip', 'nft', 'setpriv', 'nsenter'].filter((tool) => !isOnPath(tool));
  return missing.length > 0 ? `needs ${missing.join(', ')}` : undefined;
}

/** True when a program of this name is on the PATH. */
export function isOnPath(tool: string): boolean {
  return (process.env.PATH ?? '').split(':').some((folder) => existsSync(join(folder, tool)));
}

/** How a program ended. */
export interface Ended {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that runs in a pod and speaks in lines. */
export interface RunningProgram {
  readonly process: ChildProcess;
  /** The lines that it has written to standard output so far. */
  readonly lines: readonly string[];
  /** Resolves with the first line, also one of before, for which `matches` holds; rejects when the program ends. */
  line(matches: (line: string) => boolean): Promise<string>;
  /** Kills it and resolves when it is gone. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

/** Where a dialled connection landed, or how it failed. */
export type Dialled =
  | {
      readonly target: string;
      readonly at: string;
      readonly ip: string;
      readonly port: number;
      readonly peer: string;
      readonly destination?: string;
    }
  | { readonly target: string; readonly failed: string };

export interface TestPod extends Pod {
  /**
   * Runs the real program in the pod to its end. Default: as root, with NET_ADMIN and nothing else, as an init container.
   * `toolPath` is the only folder where it finds tools.
   */
  remora(args: readonly string[], options?: PodProcessOptions & { readonly toolPath?: string }): Promise<Ended>;
  /** Starts the real program in the pod. Default: as the sidecar's user, without capabilities. */
  startRemora(args: readonly string[], options?: PodProcessOptions): RunningProgram;
  /** Starts a script of this checkout under Node.js. */
  start(script: string, args: readonly string[], options?: PodProcessOptions): RunningProgram;
  /** Dials each target in turn from the pod. Default: as an ordinary user, 1000. */
  dial(
    targets: readonly string[],
    options?: PodProcessOptions & { readonly flags?: readonly string[] },
  ): Promise<Dialled[]>;
  /** Listens on each address as `name`; resolves when it does. Default: as an ordinary user, 1000. */
  listen(name: string, addresses: readonly string[], options?: PodProcessOptions): Promise<RunningProgram>;
  /** Runs a command as root and resolves with its output; throws when it fails. */
  sh(script: string): Promise<string>;
}

export interface TestPods<Name extends string> {
  readonly link: Link;
  readonly program: SharedProgram;
  readonly pods: Readonly<Record<Name, TestPod>>;
  /** Removes everything; throws when something is left. */
  close(): Promise<void>;
}

let made = 0;
const appUser = { uid: 1000 };
const initContainer = { capabilities: ['net_admin'] };
const sidecarUser = { uid: sidecarUid };

/** Makes one pod for each name. */
export async function startPods<Name extends string>(
  specs: Readonly<Record<Name, PodAddresses>>,
): Promise<TestPods<Name>> {
  const program = await shareProgram([process.execPath, main], process.env, ['test', 'soak']);
  const link = await createLink({ name: `remora-test-${process.pid}-${made++}`, env: process.env, clock: systemClock });
  const pods = {} as Record<Name, TestPod>;
  for (const name of Object.keys(specs) as Name[]) pods[name] = testPod(await link.addPod(name, specs[name]), program);
  const close = async () => {
    await link.remove();
    const { namespaces, pids } = await link.leftovers();
    await program.remove();
    if (namespaces.length + pids.length > 0) throw new Error(`left behind: ${namespaces.join(' ')} ${pids.join(' ')}`);
  };
  return { link, program, pods, close };
}

function testPod(pod: Pod, program: SharedProgram): TestPod {
  const { argv, mounts } = program;
  const node = argv.slice(0, -1);
  const start: TestPod['start'] = (script, args, options = appUser) =>
    runningProgram(pod.exec([...node, program.pathOf(resolve(root, script)), ...args], { ...options, mounts }));
  return {
    ...pod,
    start,
    remora(args, { toolPath, ...options } = initContainer as PodProcessOptions & { toolPath?: string }) {
      const environment = toolPath === undefined ? [] : ['env', `PATH=${toolPath}`];
      return ended(pod.exec([...environment, ...argv, ...args], { ...options, mounts }));
    },
    startRemora: (args, options = sidecarUser) => runningProgram(pod.exec([...argv, ...args], { ...options, mounts })),
    async dial(targets, { flags = [], ...options } = appUser as PodProcessOptions & { flags?: readonly string[] }) {
      const script = program.pathOf(resolve(root, 'test/support/pod-programs/dial.ts'));
      const child = pod.exec([...node, script, ...flags, ...targets], { ...options, mounts });
      const { status, stdout, stderr } = await ended(child);
      if (status !== 0) throw new Error(`dialling failed: ${stderr}`);
      return stdout
        .split('\n')
        .filter(Boolean)
        .map((line): Dialled => JSON.parse(line));
    },
    async listen(name, addresses, options) {
      const listener = start('test/support/pod-programs/listen.ts', [name, ...addresses], options);
      await listener.line((line) => line === 'ready');
      return listener;
    },
    async sh(script) {
      const result = await pod.run(['sh', '-c', script]);
      if (result.kind === 'missing' || result.status !== 0) throw new Error(`${script}: ${JSON.stringify(result)}`);
      return result.stdout;
    },
  };
}

async function ended(child: ChildProcess): Promise<Ended> {
  const text = { stdout: '', stderr: '' };
  child.stdout?.on('data', (chunk) => (text.stdout += chunk));
  child.stderr?.on('data', (chunk) => (text.stderr += chunk));
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  if (code === null) throw new Error(`killed by ${signal}: ${text.stderr}`);
  return { status: code, ...text };
}

/** Follows a child that speaks in lines. */
export function runningProgram(child: ChildProcess): RunningProgram {
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  let stderr = '';
  let isOver = false;
  const wake = () => {
    for (const check of waiting) check();
  };
  child.stderr?.on('data', (chunk) => (stderr += chunk));
  if (child.stdout) {
    createInterface({ input: child.stdout }).on('line', (line) => {
      lines.push(line);
      wake();
    });
  }
  child.once('close', () => {
    isOver = true;
    wake();
  });
  return {
    process: child,
    lines,
    line(matches) {
      return new Promise((resolve, reject) => {
        const check = () => {
          const found = lines.find(matches);
          if (found === undefined && !isOver) return;
          waiting.delete(check);
          if (found !== undefined) resolve(found);
          else reject(new Error(`the program ended: ${lines.join('\n')}\n${stderr}`));
        };
        waiting.add(check);
        check();
      });
    },
    async stop(signal = 'SIGKILL') {
      if (isOver) return;
      const closed = once(child, 'close');
      child.kill(signal);
      await closed;
    },
  };
}
