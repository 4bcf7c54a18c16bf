import { describe, expect, it } from 'vitest';
import { containerMemory, heapMemory } from '../../src/memory-limit.ts';

const mib = 1024 * 1024;
const none = '9223372036854771712\n';

/** Reads from `files`, which may be changed in between; throws for what is not there. */
function fileSystem(files: Record<string, string>) {
  return (path: string): string => {
    const text = files[path];
    if (text === undefined) throw new Error(`ENOENT ${path}`);
    return text;
  };
}

const v1 = '/sys/fs/cgroup/memory';
const statV1 = (bytes: number) =>
  `cache ${bytes}\ninactive_file 1\nactive_file 1\ntotal_cache 9\ntotal_shmem 7\ntotal_inactive_file ${bytes - mib}\ntotal_active_file ${mib}\n`;

describe('of a cgroup of the first generation', () => {
  const files = () => ({
    '/proc/self/cgroup': '9:name=systemd:/\n5:cpu,cpuacct:/x\n4:memory:/pod/a:b\n0::/\n',
    [`${v1}/pod/a:b/memory.limit_in_bytes`]: `${64 * mib}\n`,
    [`${v1}/pod/a:b/memory.usage_in_bytes`]: `${50 * mib}\n`,
    [`${v1}/pod/a:b/memory.stat`]: statV1(12 * mib),
    [`${v1}/pod/memory.limit_in_bytes`]: none,
    [`${v1}/memory.limit_in_bytes`]: none,
  });

  it('counts what is charged without page cache', () => {
    const memory = containerMemory(fileSystem(files()));
    expect([memory?.limit(), memory?.used()]).toEqual([64 * mib, 38 * mib]);
    expect([memory?.isAbove(37 * mib), memory?.isAbove(38 * mib)]).toEqual([true, false]);
  });

  it('takes the tightest limit of those around it, and what is used there', () => {
    const memory = containerMemory(
      fileSystem({
        ...files(),
        [`${v1}/pod/memory.limit_in_bytes`]: `${48 * mib}\n`,
        [`${v1}/pod/memory.usage_in_bytes`]: `${47 * mib}\n`,
        [`${v1}/pod/memory.stat`]: statV1(2 * mib),
      }),
    );
    expect([memory?.limit(), memory?.used()]).toEqual([48 * mib, 45 * mib]);
  });

  it('takes the folder itself where the path is that of the host', () => {
    const memory = containerMemory(
      fileSystem({
        '/proc/self/cgroup': '4:memory:/kubepods/pod1/abc\n',
        [`${v1}/memory.limit_in_bytes`]: `${32 * mib}\n`,
        [`${v1}/memory.usage_in_bytes`]: `${20 * mib}\n`,
        [`${v1}/memory.stat`]: statV1(mib),
      }),
    );
    expect([memory?.limit(), memory?.used()]).toEqual([32 * mib, 19 * mib]);
  });

  it('sees a limit that was changed', () => {
    const changing: Record<string, string> = files();
    const memory = containerMemory(fileSystem(changing));
    changing[`${v1}/pod/a:b/memory.limit_in_bytes`] = `${128 * mib}\n`;
    expect(memory?.limit()).toBe(128 * mib);
  });

  it('reads nothing as used while the files cannot be read', () => {
    const changing: Record<string, string> = files();
    const memory = containerMemory(fileSystem(changing));
    for (const path of Object.keys(changing)) delete changing[path];
    expect([memory?.used(), memory?.isAbove(0), memory?.limit()]).toEqual([0, false, Number.POSITIVE_INFINITY]);
  });
});

describe('of a cgroup of the second generation', () => {
  const files = {
    '/proc/self/cgroup': '0::/\n',
    '/sys/fs/cgroup/memory.max': 'max\n',
    '/sys/fs/cgroup/memory.current': `${30 * mib}\n`,
    '/sys/fs/cgroup/memory.stat': `anon 1\nfile 9\nactive_file ${mib}\ninactive_file ${2 * mib}\nsock 5\n`,
  };

  it('counts what is charged without page cache', () => {
    const memory = containerMemory(fileSystem({ ...files, '/sys/fs/cgroup/memory.max': `${40 * mib}\n` }));
    expect([memory?.limit(), memory?.used()]).toEqual([40 * mib, 27 * mib]);
  });

  it('takes memory.high for the limit where it is the lower one', () => {
    const memory = containerMemory(fileSystem({ ...files, '/sys/fs/cgroup/memory.high': `${35 * mib}\n` }));
    expect(memory?.limit()).toBe(35 * mib);
  });

  it('is none without a limit', () => {
    expect(containerMemory(fileSystem(files))).toBeUndefined();
  });
});

it('of a system without cgroups is none', () => {
  expect(containerMemory(fileSystem({}))).toBeUndefined();
});

it('of the heap is what V8 says', () => {
  const heap = heapMemory();
  expect(heap.used()).toBeGreaterThan(mib);
  expect(heap.limit()).toBeGreaterThan(heap.used());
  expect([heap.isAbove(mib), heap.isAbove(heap.limit())]).toEqual([true, false]);
});
