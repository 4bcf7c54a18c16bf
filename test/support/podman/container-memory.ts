import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Podman } from './podman.ts';

/** What the kernel counts for a container, in bytes. */
export interface ContainerMemory {
  readonly limit: number;
  /** What counts against the limit: memory of processes, page cache, kernel memory with the buffers of sockets. */
  readonly used: number;
  /** The most that was ever used. */
  readonly mostUsed: number;
  /** Memory of processes alone. */
  readonly anonymous: number;
  readonly pageCache: number;
  readonly kernel: number;
  /** Resident set of the first process, with the pages of files that it maps. */
  readonly residentSet: number;
  /** How often the limit was hit. */
  readonly failures: number;
  readonly oomKills: number;
}

/** The words of both generations of cgroups for the same things. */
const words = {
  v1: {
    limit: 'memory.limit_in_bytes',
    used: 'memory.usage_in_bytes',
    mostUsed: 'memory.max_usage_in_bytes',
    anonymous: 'memory.stat total_rss',
    pageCache: 'memory.stat total_cache',
    kernel: 'memory.kmem.usage_in_bytes',
    failures: 'memory.failcnt',
    oomKills: 'memory.oom_control oom_kill',
  },
  v2: {
    limit: 'memory.max',
    used: 'memory.current',
    mostUsed: 'memory.peak',
    anonymous: 'memory.stat anon',
    pageCache: 'memory.stat file',
    kernel: 'memory.stat kernel',
    failures: 'memory.events max',
    oomKills: 'memory.events oom_kill',
  },
} as const;

/** Reads the counters of a container that runs. */
export async function memoryOf(podman: Podman, container: string): Promise<ContainerMemory> {
  const pid = await podman.run('inspect', '--format={{.State.Pid}}', container);
  const { version, folder } = cgroupOf(pid);
  const read = (place: string) => {
    const [file = '', field] = place.split(' ');
    const text = readFileSync(join(folder, file), 'utf8');
    return Number(field === undefined ? text : new RegExp(`^${field} (\\d+)$`, 'm').exec(text)?.[1]);
  };
  const residentKib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  const counted = Object.entries(words[version]).map(([name, place]) => [name, read(place)]);
  return { ...Object.fromEntries(counted), residentSet: Number(residentKib) * 1024 };
}

function cgroupOf(pid: string): { readonly version: keyof typeof words; readonly folder: string } {
  const lines = readFileSync(`/proc/${pid}/cgroup`, 'utf8').split('\n');
  const v1 = lines.find((line) => line.split(':')[1]?.split(',').includes('memory'));
  if (v1 !== undefined) return { version: 'v1', folder: join('/sys/fs/cgroup/memory', v1.split(':')[2] ?? '') };
  const path = lines.find((line) => line.startsWith('0::'))?.slice(3) ?? '';
  const unified = existsSync('/sys/fs/cgroup/unified') ? '/sys/fs/cgroup/unified' : '/sys/fs/cgroup';
  return { version: 'v2', folder: join(unified, path) };
}
