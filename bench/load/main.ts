import { closedLoop } from './closed-loop.ts';
import type { Job } from './job.ts';
import { openLoop } from './open-loop.ts';

/*
 * The load generator, a process of its own, the same for every contender: `node bench/load/main.ts JOB`. Any error ends it
 * with 1: a figure with errors in it means nothing.
 */

const job = JSON.parse(process.argv[2] ?? '') as Job;
try {
  const result = await (job.kind === 'fixed-rate' ? openLoop(job) : closedLoop(job));
  console.log(JSON.stringify(result));
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
// Whoever started it may be gone, and connections of an interrupted job would keep it alive.
process.exit();
