import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ToolOptions } from '../../system-tool.ts';
import { runTool } from '../../system-tool.ts';

/** Begins the names of every namespace and folder of every demo; the pid of its process follows. */
export const namePrefix = 'remora-demo-';

/** The name of the demo that this process runs. */
export function demoName(pid: number): string {
  return `${namePrefix}${pid}`;
}

/**
 * Ends and removes what belongs to a demo: the processes in its namespaces, the namespaces, the folders. In a language
 * that needs nothing of the demo. A folder that something is mounted in stays: it would be the checkout that is removed.
 */
const removal = `for namespace in $(ip netns list 2>/dev/null | sed 's/ .*//' | grep "^$name-"); do
  kill -KILL $(ip netns pids "$namespace") 2>/dev/null
  ip netns delete "$namespace"
done
for folder in "$@"; do
  grep -qF " $folder/" /proc/self/mountinfo || rm -rf -- "$folder"
done`;

const untilEndOfInput = 'while read -r word; do [ "$word" != done ] || exit 0; done';

/** A process that outlives a demo which was killed, by a second, and cleans up after it. */
export interface Janitor {
  /** The demo has cleaned up by itself; resolves when the process is gone. */
  dismiss(): Promise<void>;
}

/** Starts the janitor of a demo. It has a session of its own, so that no signal of a terminal reaches it. */
export function startJanitor(name: string, folders: readonly string[], env: ToolOptions['env']): Janitor {
  const script = `name=$1; shift; ${untilEndOfInput}; ${removal}`;
  const child = spawn('sh', ['-c', script, 'sh', name, ...folders], {
    env,
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  const gone = once(child, 'close').catch(() => undefined);
  // It may be killed as well, and is missing then, which harms nobody.
  child.stdin.on('error', () => undefined);
  child.unref();
  return {
    async dismiss() {
      child.ref();
      child.stdin.end('done\n');
      await gone;
    },
  };
}

/** Removes what demos left behind whose process is gone. `ownPid` has made nothing yet: what has its name is older. */
export async function sweep(ownPid: number, env: ToolOptions['env']): Promise<void> {
  const namespaces = await namespaceNames(env);
  const folders = (await readdir(tmpdir())).filter((name) => name.startsWith(namePrefix));
  const pids = new Set([...namespaces, ...folders].map(pidOf).filter((pid) => pid !== undefined));
  for (const pid of pids) {
    if (pid !== ownPid && (await isDemo(pid))) continue;
    const name = demoName(pid);
    const own = folders.filter((folder) => pidOf(folder) === pid).map((folder) => join(tmpdir(), folder));
    await runTool('sh', ['-c', `name=$1; shift; ${removal}`, 'sh', name, ...own], { env });
  }
}

/** The network namespaces of this machine that belong to demos; none where `ip` is missing. */
export async function namespaceNames(env: ToolOptions['env']): Promise<string[]> {
  const result = await runTool('ip', ['netns', 'list'], { env });
  if (result.kind === 'missing' || result.status !== 0) return [];
  const names = result.stdout.split('\n').map((line) => line.replace(/ .*/, ''));
  return names.filter((name) => name.startsWith(namePrefix));
}

function pidOf(name: string): number | undefined {
  const [, pid] = new RegExp(`^${namePrefix}(\\d+)-`).exec(name) ?? [];
  return pid === undefined ? undefined : Number(pid);
}

/** A pid may belong to another program by now. */
async function isDemo(pid: number): Promise<boolean> {
  const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return commandLine.split('\0').includes('demo');
}
