import { fstatSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import type { Clock } from '../../clock.ts';

/** So many descriptors are looked at in one go, in less than a millisecond. */
const slice = 256;

/** The inodes of all that this process has open, its sockets among them. Between slices everything else goes on. */
export async function ownInodes(clock: Clock): Promise<ReadonlySet<number>> {
  const inodes = new Set<number>();
  const names = await readdir('/proc/self/fd');
  for (const [index, name] of names.entries()) {
    if (index % slice === slice - 1) await clock.sleep(0);
    const inode = inodeOf(Number(name));
    if (inode !== undefined) inodes.add(inode);
  }
  return inodes;
}

/** Undefined when it was closed meanwhile. */
function inodeOf(descriptor: number): number | undefined {
  try {
    return fstatSync(descriptor).ino;
  } catch {
    return undefined;
  }
}
