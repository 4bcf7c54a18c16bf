import { randomUUID } from 'node:crypto';
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { say, writing } from './errors.mjs';

const pollMs = 100;

/**
 * Runs `work` while no other set-up of this checkout runs, in any process. The lock names the processes that hold it
 * and is held as long as one of them lives: an npm that outlives a killed set-up still writes to node_modules. It is
 * written elsewhere and linked into place, so that nobody ever reads half of it.
 */
export async function withLock(root, work) {
  const lock = await acquire(join(root, '.setup-lock'));
  process.once('exit', lock.release);
  try {
    return await work(lock);
  } finally {
    process.off('exit', lock.release);
    lock.release();
  }
}

async function acquire(path) {
  const holders = [holder(process.pid)];
  const mine = `${path}.${randomUUID()}`;
  let announced = false;
  while (!tryLink(path, mine, holders)) {
    const theirs = readIfAny(path);
    if (theirs === undefined) continue;
    const alive = livingHolders(theirs);
    if (alive.length === 0) {
      removeStale(path, theirs);
      continue;
    }
    if (!announced) say(`waiting for another set-up of this checkout (process ${alive.join(', ')}).`);
    announced = true;
    await sleep(pollMs);
  }
  return {
    /** Names another process that must end before anybody else may hold the lock. */
    extendTo(pid) {
      holders.push(holder(pid));
      writeFileSync(mine, JSON.stringify(holders));
      renameSync(mine, path);
    },
    release: () => rmSync(path, { force: true }),
  };
}

function tryLink(path, mine, holders) {
  writing(dirname(path), () => writeFileSync(mine, JSON.stringify(holders)));
  try {
    linkSync(mine, path);
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    return false;
  } finally {
    rmSync(mine, { force: true });
  }
}

/** Moved away before it is judged again: of two that find the same stale lock, the slower must not take a fresh one. */
function removeStale(path, judged) {
  const aside = `${path}.${randomUUID()}`;
  try {
    renameSync(path, aside);
    if (readFileSync(aside, 'utf8') !== judged) linkSync(aside, path);
  } catch (error) {
    if (error.code !== 'ENOENT' && error.code !== 'EEXIST') throw error;
  } finally {
    rmSync(aside, { force: true });
  }
}

function readIfAny(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** The start time tells a process from a later one with the same number, also after a reboot. */
function holder(pid) {
  return { pid, startedAt: startTimeOf(pid) };
}

function livingHolders(text) {
  return JSON.parse(text)
    .filter(({ pid, startedAt }) => startedAt !== undefined && startTimeOf(pid) === startedAt)
    .map(({ pid }) => pid);
}

/** Field 22 of /proc/<pid>/stat, in clock ticks since boot; undefined for a process that is gone or a zombie. */
function startTimeOf(pid) {
  const stat = readIfAny(`/proc/${pid}/stat`);
  const [state, ...fields] = stat?.slice(stat.lastIndexOf(')') + 2).split(' ') ?? [];
  return state === 'Z' ? undefined : fields[18];
}
