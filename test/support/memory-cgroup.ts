import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A cgroup with a memory limit, for programs that a test starts. Needs root. */
export interface MemoryCgroup {
  /** What to put in front of a command line, so that it runs in here. */
  readonly command: readonly string[];
  /** How often the limit was reached, and how many processes the kernel has ended for it. */
  counters(): { readonly failures: number; readonly oomKills: number };
  /** When its programs have ended. */
  close(): void;
}

/** The files of both generations of cgroups. */
const generations = [
  {
    root: '/sys/fs/cgroup/memory',
    limit: 'memory.limit_in_bytes',
    counters: { failures: ['memory.failcnt', ''], oomKills: ['memory.oom_control', 'oom_kill '] },
  },
  {
    root: '/sys/fs/cgroup',
    limit: 'memory.max',
    counters: { failures: ['memory.events', 'max '], oomKills: ['memory.events', 'oom_kill '] },
  },
] as const;

let made = 0;

function generationHere() {
  return generations.find(({ root }) => existsSync(join(root, 'cgroup.procs'))) ?? generations[1];
}

/** Removes those for whose names `isLeftover` holds, and ends what runs in them by `kill`. */
export function sweepMemoryCgroups(isLeftover: (name: string) => boolean, kill: (pid: number) => void): void {
  const { root } = generationHere();
  if (!existsSync(root)) return;
  for (const name of readdirSync(root).filter(isLeftover)) {
    const folder = join(root, name);
    try {
      const pids = readFileSync(join(folder, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean);
      for (const pid of pids) kill(Number(pid));
      rmdirSync(folder);
    } catch {
      // Another run has removed it, or its processes need a moment to end and the next run removes it.
    }
  }
}

/** Throws where this user may make no cgroup, or the one at hand does not count memory. */
export function createMemoryCgroup(limitBytes: number): MemoryCgroup {
  const generation = generationHere();
  const { root, limit, counters } = generation;
  made += 1;
  const folder = join(root, `remora-test-${process.pid}-${made}`);
  if (generation === generations[1]) writeFileSync(join(root, 'cgroup.subtree_control'), '+memory');
  mkdirSync(folder);
  writeFileSync(join(folder, limit), String(limitBytes));
  const count = ([file, prefix]: readonly [string, string]) =>
    Number(new RegExp(`^${prefix}(\\d+)$`, 'm').exec(readFileSync(join(folder, file), 'utf8'))?.[1]);
  return {
    command: ['sh', '-c', `echo $$ > ${join(folder, 'cgroup.procs')} && exec "$@"`, 'sh'],
    counters: () => ({ failures: count(counters.failures), oomKills: count(counters.oomKills) }),
    close: () => rmdirSync(folder),
  };
}
