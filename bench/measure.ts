import { join } from 'node:path';
import type { Backend } from './backend.ts';
import type { Contender } from './contender.ts';
import { BenchError } from './errors.ts';
import type { Job, JobResult } from './load/job.ts';
import type { Measurement } from './measurements.ts';
import { runProgram } from './programs.ts';

const warmUpMs = 1000;
/** Beyond the time that a load is to take: the last answers, and the start of the generator. */
const slackMs = 30_000;
/** A generator that was later than this measured itself and not the contender. */
const latenessBoundMs = 250;

/** Puts one load on one contender; throws BenchError unless the backend served exactly what was sent. */
export async function measure(
  { name, load }: Measurement,
  contender: Contender,
  backend: Backend,
  seconds: number,
): Promise<JobResult> {
  const job: Job = { ...load, port: contender.port, pids: contender.pids, warmUpMs, measureMs: seconds * 1000 };
  const servedBefore = await backend.servedRequests();
  const generator = [join(import.meta.dirname, 'load/main.ts'), JSON.stringify(job)];
  const output = await runProgram(process.execPath, generator, warmUpMs + job.measureMs + slackMs);
  const result = JSON.parse(output) as JobResult;
  const served = (await backend.servedRequests()) - servedBefore - 1;
  const what = `${name} through ${contender.name}`;
  if (served !== result.sent) {
    throw new BenchError(`${what}: ${result.sent} requests were sent and the backend served ${served}`);
  }
  checkWork(what, job, result);
  return result;
}

function checkWork(what: string, job: Job, { cpuSeconds, requests, bytes, latenciesMs, maxLatenessMs }: JobResult) {
  if (bytes === 0 || cpuSeconds === 0) throw new BenchError(`${what}: nothing was done, or no CPU time was seen`);
  // A small answer comes in one piece; a large one may be cut by either end of the window.
  const isCut = Math.abs(bytes - requests * job.bodyBytes) > job.bodyBytes * job.connections;
  if (isCut) throw new BenchError(`${what}: ${requests} answers of ${job.bodyBytes} bytes cannot be ${bytes} bytes`);
  if (job.kind !== 'fixed-rate') return;
  const due = Math.floor((job.measureMs / 1000) * job.ratePerSecond);
  if (Math.abs(latenciesMs.length - due) > 1) {
    throw new BenchError(`${what}: ${due} requests were due and ${latenciesMs.length} answers were timed`);
  }
  if (maxLatenessMs > latenessBoundMs) {
    throw new BenchError(
      `${what}: the generator itself was ${maxLatenessMs.toFixed()} ms late; the machine is too busy`,
    );
  }
}
