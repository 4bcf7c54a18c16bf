import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { getHeapStatistics } from 'node:v8';

/** Memory that ends somewhere, in bytes. */
export interface MemoryPool {
  readonly name: 'container' | 'heap';
  /** May change: the memory of a pod can be resized while it runs. */
  limit(): number;
  /** Without page cache, which the kernel takes back before it ends a process. */
  used(): number;
  /** Whether more than so many bytes are used; cheaper than to ask how many. */
  isAbove(bytes: number): boolean;
}

/** Returns the text of a file; throws when there is none. */
type ReadText = (path: string) => string;

/** The files of both generations of cgroups, cgroup-v1/memory.rst and cgroup-v2.rst of the kernel. */
const generations = {
  v1: { folder: '/sys/fs/cgroup/memory', limits: ['memory.limit_in_bytes'], used: 'memory.usage_in_bytes' },
  // Above memory.high the kernel slows a process down until it stands.
  v2: { folder: '/sys/fs/cgroup', limits: ['memory.max', 'memory.high'], used: 'memory.current' },
} as const;

/**
 * The memory of the container, by the tightest limit of its cgroup and of those around it that can be seen; undefined where
 * there is none.
 */
export function containerMemory(readText: ReadText = (path) => readFileSync(path, 'utf8')): MemoryPool | undefined {
  const own = ownCgroup(readText);
  if (own === undefined) return undefined;
  const { folder, limits, used } = generations[own.generation];
  const limitAt = (at: string) => Math.min(...limits.map((name) => limitIn(join(at, name), readText)));
  let at = '';
  let tightest = Number.POSITIVE_INFINITY;
  for (const path of upwards(own.path)) {
    const limit = limitAt(join(folder, path));
    if (limit >= tightest) continue;
    at = join(folder, path);
    tightest = limit;
  }
  if (at === '') return undefined;
  // A file that cannot be read, because there is no descriptor for it, says nothing of memory: then nothing is used.
  const charged = () => Number(textOf(join(at, used), readText));
  const withoutCache = () => Math.max(0, charged() - pageCache(textOf(join(at, 'memory.stat'), readText)));
  return {
    name: 'container',
    limit: () => limitAt(at),
    used: withoutCache,
    isAbove: (bytes) => charged() > bytes && withoutCache() > bytes,
  };
}

/** The heap of V8, which ends the process when it is full, whatever the container has left. */
export function heapMemory(): MemoryPool {
  const limit = () => getHeapStatistics().heap_size_limit;
  const used = () => getHeapStatistics().used_heap_size;
  return { name: 'heap', limit, used, isAbove: (bytes) => used() > bytes };
}

/** cgroups(7): of the first generation when that has the memory controller. */
function ownCgroup(
  readText: ReadText,
): { readonly generation: keyof typeof generations; readonly path: string } | undefined {
  const lines = textOf('/proc/self/cgroup', readText).split('\n');
  const v1 = lines.find((line) => line.split(':')[1]?.split(',').includes('memory'));
  if (v1 !== undefined) return { generation: 'v1', path: v1.split(':').slice(2).join(':') };
  const v2 = lines.find((line) => line.startsWith('0::'));
  return v2 === undefined ? undefined : { generation: 'v2', path: v2.slice(3) };
}

/** In a container the path may be that of the host, and the folder the container's own: then only the last one is there. */
function* upwards(path: string): Iterable<string> {
  let current = path;
  while (current !== '/' && current !== '.') {
    yield current;
    current = dirname(current);
  }
  yield '/';
}

/** The largest page counter of the first generation means that there is no limit; the second one says `max`. */
const unlimited = 2 ** 60;

function limitIn(path: string, readText: ReadText): number {
  const text = textOf(path, readText).trim();
  const limit = text === '' || text === 'max' ? Number.POSITIVE_INFINITY : Number(text);
  return limit < unlimited ? limit : Number.POSITIVE_INFINITY;
}

/** Pages of files, without those of a tmpfs, which are on the other lists; `total_` includes the cgroups below. */
function pageCache(stat: string): number {
  const isV1 = /^total_cache /m.test(stat);
  const counted = (name: string) => {
    const [, bytes = '0'] = new RegExp(`^${isV1 ? 'total_' : ''}${name} (\\d+)$`, 'm').exec(stat) ?? [];
    return Number(bytes);
  };
  return counted('active_file') + counted('inactive_file');
}

function textOf(path: string, readText: ReadText): string {
  try {
    return readText(path);
  } catch {
    return '';
  }
}
