import { readFile } from 'node:fs/promises';
import type { Clock } from '../../clock.ts';

const intervalMs = 500;

/**
 * Calls `onOrphaned` once when this process has another parent than at the start: npm and the shell around it were
 * killed, and nobody will press Ctrl-C any more. Returns the function that ends the watch.
 */
export function watchParent(clock: Clock, onOrphaned: () => void): () => void {
  let first: string | undefined;
  let isOver = false;
  const look = async () => {
    const parent = await readParent();
    if (isOver) return;
    first ??= parent;
    if (parent !== first) return onOrphaned();
    clock.after(intervalMs, () => void look());
  };
  void look();
  return () => {
    isOver = true;
  };
}

/** The fourth field of proc(5) stat; the second is a name that may hold anything, in parentheses. */
async function readParent(): Promise<string> {
  const stat = await readFile('/proc/self/stat', 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] ?? '';
}
