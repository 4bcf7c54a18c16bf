import { execFileSync } from 'node:child_process';
import { sweepMemoryCgroups } from './memory-cgroup.ts';
import { sweepPodmanRuns } from './podman/podman.ts';

/**
 * Removes what interrupted runs left behind: real pods, network namespaces and cgroups named `remora-test-<pid>-...` whose
 * maker is gone, and the processes in them. An interrupted run calls no `afterAll`. Those of a run that is still going stay.
 */
export function setup(): void {
  if (process.getuid?.() !== 0) return;
  sweepPodmanRuns();
  for (const namespace of namespaces().filter(isLeftover)) {
    for (const pid of linesOf('netns', 'pids', namespace)) tryKill(Number(pid));
    linesOf('netns', 'delete', namespace);
  }
  sweepMemoryCgroups(isLeftover, tryKill);
}

function namespaces(): string[] {
  return linesOf('netns', 'list').map((line) => line.replace(/ .*/, ''));
}

function isLeftover(name: string): boolean {
  const maker = /^remora-test-(\d+)-/.exec(name)?.[1];
  return maker === undefined ? name.startsWith('remora-test-') : !isAlive(Number(maker));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function tryKill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended by itself meanwhile.
  }
}

/** No lines when `ip` is missing or refuses: another run may remove the same namespace at the same time. */
function linesOf(...args: string[]): string[] {
  try {
    return execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
      .split('\n')
      .filter(Boolean);
  } catch {
    return [];
  }
}
