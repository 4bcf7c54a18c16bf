import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { Applications } from './applications.ts';
import { createApplications } from './applications.ts';
import { nowMs } from './apps/reports.ts';
import { SoakError } from './errors.ts';
import type { FaultRow, PodName } from './faults.ts';
import { podNames, servers } from './faults.ts';
import type { Holdings, Memory, MemoryLine } from './health.ts';
import { growing, holdingsOf, memoryLine, settleMs, watchMemory, whatStays } from './health.ts';
import type { Undo } from './inflict.ts';
import { inflict } from './inflict.ts';
import { problemsInLog } from './log-check.ts';
import type { SoakMesh } from './mesh.ts';
import { startSoakMesh } from './mesh.ts';
import type { PlannedFault } from './schedule.ts';
import { quietMs, scheduleOf } from './schedule.ts';
import type { Fault, Judged } from './verdict.ts';
import { judge, repeated } from './verdict.ts';

export interface RunOptions {
  readonly seed: number;
  readonly durationMs: number;
  /** An empty folder that everyone may enter, for all files of the run. */
  readonly folder: string;
  readonly signal: AbortSignal;
  progress(text: string): void;
}

/** What a run has seen. */
export interface Result {
  readonly seed: number;
  /** Of the clock of `nowMs`, at which the load began. */
  readonly beganMs: number;
  readonly loadMs: number;
  readonly done: Readonly<Record<string, number>>;
  readonly bytes: number;
  readonly faults: readonly Fault[];
  readonly judged: readonly Judged[];
  readonly memory: readonly MemoryLine[];
  /** What fails the run besides unexplained errors, one sentence each. */
  readonly problems: readonly string[];
}

const progressEveryMs = 10_000;
const memoryEveryMs = 2000;
/** So many unexplained errors are told while the run goes on. */
const mostTold = 30;

/** Starts everything, lets it run under faults, and ends and removes everything, also when it fails. */
export async function run(options: RunOptions): Promise<Result> {
  const lost = createLosses();
  const mesh = await startSoakMesh(options.folder, lost.onLost);
  const leftovers: string[] = [];
  let result: Result;
  try {
    options.signal.throwIfAborted();
    result = await soak(mesh, lost, options);
  } finally {
    // After a failure it is the failure that is told.
    await mesh.close().catch((error: Error) => leftovers.push(error.message));
  }
  return { ...result, problems: [...result.problems, ...leftovers] };
}

/** What has ended though nobody had asked it to; the load is over then. */
interface Losses {
  readonly all: readonly string[];
  /** Aborted by the first. */
  readonly signal: AbortSignal;
  onLost(why: string): void;
}

function createLosses(): Losses {
  const all: string[] = [];
  const controller = new AbortController();
  return {
    all,
    signal: controller.signal,
    onLost(why) {
      all.push(why);
      controller.abort();
    },
  };
}

async function soak(mesh: SoakMesh, lost: Losses, options: RunOptions): Promise<Result> {
  const applications = createApplications(mesh, lost.onLost);
  for (const pod of servers) await applications.startServer(pod);
  const before = await holdingsOfAll(mesh);
  await applications.startClients(options.seed);
  const beganMs = nowMs();
  options.progress('everything is ready, and the load begins');
  const memory = watchMemory(mesh);
  const faults: Fault[] = [];
  const looking = setInterval(() => memory.look(), memoryEveryMs);
  let told = 0;
  const telling = setInterval(() => {
    const unexplained = judge(applications.tally.failures, faults).filter((one) => one.explainedBy === undefined);
    // A run that somebody ends early has told what is wrong as well.
    for (const { failure } of unexplained.slice(told, mostTold))
      options.progress(`UNEXPLAINED at ${Math.round((failure.atMs - beganMs) / 1000)} s ${JSON.stringify(failure)}`);
    told = unexplained.length;
    options.progress(progressLine(nowMs() - beganMs, applications, unexplained.length, faults, memory));
  }, progressEveryMs);
  try {
    await load(mesh, applications, faults, beganMs, lost.signal, options);
  } finally {
    clearInterval(telling);
    clearInterval(looking);
  }
  const loadMs = nowMs() - beganMs;
  options.progress('the faults are over; the applications finish what they have begun');
  await applications.endClients();
  // A sidecar that is gone gives nothing back.
  const stays = await whatStays(mesh, before, lost.signal.aborted ? 0 : settleMs);
  for (const pod of servers) await applications.endServer(pod);
  const lines = [...memory.longest()].map(([name, samples]) => memoryLine(name, samples));
  const twice = repeated(applications.tally.taken);
  return {
    seed: options.seed,
    beganMs,
    loadMs,
    done: applications.tally.done,
    bytes: applications.tally.bytes,
    faults,
    judged: judge(applications.tally.failures, faults),
    memory: lines,
    problems: [
      ...lost.all,
      ...stays,
      ...lines.flatMap(growing),
      ...twice.map((id) => `The connection ${id} reached a server twice`),
      ...(await endParts(mesh)),
      ...(await logProblems(mesh)),
    ],
  };
}

async function holdingsOfAll(mesh: SoakMesh): Promise<Record<PodName, Holdings>> {
  const entries = await Promise.all(
    podNames.map(async (pod) => {
      const holdings = await holdingsOf(mesh, pod);
      if (holdings === undefined) throw new SoakError(`The sidecar of ${pod} does not answer`);
      return [pod, holdings];
    }),
  );
  return Object.fromEntries(entries);
}

/** Both lanes of faults at once; resolves at the end of the load, or at the first loss, when every fault is undone. */
async function load(
  mesh: SoakMesh,
  applications: Applications,
  faults: Fault[],
  beganMs: number,
  lost: AbortSignal,
  { seed, durationMs, signal }: RunOptions,
): Promise<void> {
  // A fault that cannot be inflicted or undone ends both lanes.
  const failed = new AbortController();
  const over = AbortSignal.any([signal, failed.signal, lost]);
  const pause: Pause = (ms) =>
    wait(Math.max(0, ms), undefined, { signal: over }).catch((error) => {
      if (signal.aborted || failed.signal.aborted) throw error;
    });
  const lane = async (name: FaultRow['lane']) => {
    let freeMs = beganMs;
    for (const fault of scheduleOf(seed, durationMs).filter((one) => one.lane === name)) {
      // On a busy machine a fault takes longer than it was planned to, and must not run into the next.
      await pause(Math.max(beganMs + fault.atMs, freeMs) - nowMs());
      if (lost.aborted || nowMs() > beganMs + durationMs) return;
      await endure(fault, faults, () => inflict(fault, { mesh, over, ...applications }), pause);
      freeMs = nowMs() + quietMs.least;
    }
    await pause(beganMs + durationMs - nowMs());
  };
  const lanes = [lane('disruptive'), lane('harmless')];
  await Promise.all(lanes).catch(async (error: unknown) => {
    failed.abort();
    await Promise.allSettled(lanes);
    throw error;
  });
}

/** Resolves after the time, or at a loss. */
type Pause = (ms: number) => Promise<void>;

async function endure({ kind, pod, forMs }: PlannedFault, faults: Fault[], begin: () => Promise<Undo>, pause: Pause) {
  const index = faults.push({ kind, pod, beganMs: nowMs(), undoneMs: undefined }) - 1;
  const undo = await begin();
  await pause(forMs);
  await undo();
  const begun = faults[index];
  if (begun !== undefined) faults[index] = { ...begun, undoneMs: nowMs() };
}

/** SIGTERM with nothing open: everything ends in order. */
async function endParts(mesh: SoakMesh): Promise<string[]> {
  const parts = [...Object.values(mesh.sidecars), mesh.controlPlane];
  const ends = await Promise.all(parts.map((part) => part.end('SIGTERM')));
  return ends.flatMap((end, index) =>
    end === 0 ? [] : [`${parts[index]?.name} ended with ${end} at the end, expected 0`],
  );
}

async function logProblems(mesh: SoakMesh): Promise<string[]> {
  const parts = [...Object.values(mesh.sidecars), mesh.controlPlane];
  return (await Promise.all(parts.map(({ name, logFile }) => problemsInLog(name, logFile)))).flat();
}

function progressLine(
  sinceMs: number,
  { tally }: Applications,
  unexplained: number,
  faults: readonly Fault[],
  memory: Memory,
): string {
  const connections = Object.values(tally.done).reduce((sum, count) => sum + count, 0);
  const now = faults.filter(({ undoneMs }) => undoneMs === undefined).map(({ kind, pod = '' }) => `${kind} ${pod}`);
  const mebibytes = [...memory.longest()].map(
    ([name, samples]) => `${name} ${memoryLine(name, samples).lastMib.toFixed()}`,
  );
  return [
    `${Math.round(sinceMs / 1000)} s`,
    `${connections} connections, ${(tally.bytes / 2 ** 20).toFixed()} MiB checked`,
    `${tally.failures.length} errors, ${unexplained} unexplained`,
    `${faults.length} faults${now.length > 0 ? `, now ${now.join(', ').replaceAll(' ,', ',').trim()}` : ''}`,
    `MiB ${mebibytes.join(', ')}`,
  ].join('; ');
}

export const logFolder = (folder: string) => join(folder, 'logs');
