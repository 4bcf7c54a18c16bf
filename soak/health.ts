import { readdirSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { residentBytes } from '../bench/proc.ts';
import { readMetricsPage, sumOf } from '../src/cli/demo/metrics-page.ts';
import { nowMs } from './apps/reports.ts';
import type { PodName } from './faults.ts';
import { podNames } from './faults.ts';
import type { SoakMesh } from './mesh.ts';
import type { Sample } from './slope.ts';
import { floorPerMinute, lastHalf, slopePerMinute } from './slope.ts';

/** What a process holds, and what its sidecar says of itself. */
export interface Holdings {
  readonly descriptors: number;
  readonly threads: number;
  readonly connections: number;
  readonly streams: number;
  readonly tunnels: number;
}

export const nothingOpen = { connections: 0, streams: 0, tunnels: 0 };

/** Undefined while the sidecar does not answer. */
export async function holdingsOf(mesh: SoakMesh, pod: PodName): Promise<Holdings | undefined> {
  const page = await mesh.metrics(pod);
  const pid = mesh.sidecars[pod].pid();
  if (page === undefined || pid === undefined) return undefined;
  const samples = readMetricsPage(page);
  return {
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    threads: readdirSync(`/proc/${pid}/task`).length,
    connections: sumOf(samples, 'remora_connections_open'),
    streams: sumOf(samples, 'remora_tunnel_streams_open'),
    tunnels: sumOf(samples, 'remora_tunnels_open'),
  };
}

/**
 * More descriptors and threads than before the load that are still none too many: a connection to the control plane that
 * is kept for the next call, one of a scrape that is on its way, and a thread that V8 has started late.
 */
const spare = { descriptors: 4, threads: 2 };
/** Tunnels without connections close after ten seconds at the latest, at their other end. */
export const settleMs = 45_000;

/** Waits until each sidecar holds what it held before; resolves with what it does not give back, one sentence each. */
export async function whatStays(
  mesh: SoakMesh,
  before: Readonly<Record<PodName, Holdings>>,
  deadlineMs: number,
): Promise<string[]> {
  const until = performance.now() + deadlineMs;
  for (;;) {
    const problems = await Promise.all(
      podNames.map(async (pod) => surplus(pod, before[pod], await holdingsOf(mesh, pod))),
    );
    if (problems.flat().length === 0 || performance.now() > until) return problems.flat();
    await wait(500);
  }
}

export function surplus(pod: string, before: Holdings, after: Holdings | undefined): string[] {
  if (after === undefined) return [`The sidecar of ${pod} does not answer`];
  const most = {
    ...nothingOpen,
    descriptors: before.descriptors + spare.descriptors,
    threads: before.threads + spare.threads,
  };
  return (Object.keys(most) as (keyof Holdings)[])
    .filter((what) => after[what] > most[what])
    .map((what) => `The sidecar of ${pod} has ${after[what]} ${what} after the load, expected at most ${most[what]}`);
}

/** The memory of every process that the sidecars and the control plane have been. */
export interface Memory {
  look(): void;
  /** By name, of the process that has lived longest. */
  longest(): ReadonlyMap<string, readonly Sample[]>;
}

export function watchMemory(mesh: SoakMesh): Memory {
  const parts = [...Object.values(mesh.sidecars), mesh.controlPlane];
  const histories = new Map<string, Map<number, Sample[]>>(parts.map(({ name }) => [name, new Map()]));
  return {
    look() {
      for (const { name, pid } of parts) {
        const now = pid();
        if (now === undefined) continue;
        const history = histories.get(name)?.get(now) ?? [];
        histories.get(name)?.set(now, history);
        const value = memoryOf(now);
        if (value !== undefined) history.push({ atMs: nowMs(), value });
      }
    },
    longest: () =>
      new Map(
        [...histories].map(([name, byPid]) => {
          const [longest = []] = [...byPid.values()].sort((one, other) => other.length - one.length);
          return [name, longest];
        }),
      ),
  };
}

/** A process that has just ended has no memory any more. */
function memoryOf(pid: number): number | undefined {
  try {
    const bytes = residentBytes([pid]);
    return Number.isNaN(bytes) ? undefined : bytes;
  } catch {
    return undefined;
  }
}

export const mebibyte = 1024 * 1024;
/** A heap finds its size within the first minutes; before, growth is no leak. */
const shortestHistoryMs = 8 * 60_000;
/**
 * The last half of 20 minutes carries about 15,000 connections through each sidecar and sees 60 renewals: 1 KiB that is lost with
 * each connection is 1.5 MiB a minute.
 */
export const memoryBoundMibPerMinute = 2;

export interface MemoryLine {
  readonly name: string;
  readonly lastMib: number;
  /** Undefined when the process has not lived long enough to say. */
  readonly slopeMibPerMinute: number | undefined;
}

export function memoryLine(name: string, samples: readonly Sample[]): MemoryLine {
  const livedMs = (samples.at(-1)?.atMs ?? 0) - (samples[0]?.atMs ?? 0);
  const isLong = livedMs >= shortestHistoryMs;
  return {
    name,
    lastMib: (samples.at(-1)?.value ?? 0) / mebibyte,
    slopeMibPerMinute: isLong ? growthPerMinute(samples) / mebibyte : undefined,
  };
}

/** The lesser of both: a leak moves both, a heap that is about to be collected moves one. */
const growthPerMinute = (samples: readonly Sample[]) =>
  Math.min(slopePerMinute(lastHalf(samples)), floorPerMinute(samples));

export function growing({ name, slopeMibPerMinute = 0 }: MemoryLine): string[] {
  if (slopeMibPerMinute <= memoryBoundMibPerMinute) return [];
  const slope = slopeMibPerMinute.toFixed(2);
  return [`The memory of ${name} grows by ${slope} MiB a minute, expected at most ${memoryBoundMibPerMinute}`];
}
