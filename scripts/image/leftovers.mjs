import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { run, succeeds } from './tool.mjs';

const prefix = 'remora-image-';

/**
 * A folder for the work of this process, gone with `remove`. Folders that interrupted runs left behind are removed first:
 * the name says whose it is.
 */
export function workFolder() {
  for (const name of readdirSync(tmpdir()).filter(isLeftover)) removeFolder(join(tmpdir(), name));
  const path = mkdtempSync(join(tmpdir(), `${prefix}${process.pid}-`));
  return { path, remove: () => removeFolder(path) };
}

/** The name of a working container of this process; those that interrupted runs left behind are removed first. */
export function workContainer() {
  const names = run('buildah', ['containers', '--format', '{{.ContainerName}}']).split('\n');
  for (const name of names.filter(isLeftover)) succeeds('buildah', ['rm', name]);
  return `${prefix}${process.pid}-base`;
}

function isLeftover(name) {
  const maker = name.startsWith(prefix) ? /^\d+/.exec(name.slice(prefix.length))?.[0] : undefined;
  return maker !== undefined && !isAlive(Number(maker));
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** debootstrap mounts /proc and /sys, and whoever ends it in the middle leaves them mounted. */
function removeFolder(path) {
  const mountPoints = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((mountPoint) => mountPoint.startsWith(`${path}/`));
  for (const mountPoint of mountPoints.reverse()) run('umount', [mountPoint]);
  rmSync(path, { recursive: true, force: true });
}
