import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
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

/** Throws where this user may make no cgroup, or the one at hand does not count memory. */
export function createMemoryCgroup(limitBytes: number): MemoryCgroup {
  const generation = generations.find(({ root }) => existsSync(join(root, 'cgroup.procs'))) ?? generations[1];
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
