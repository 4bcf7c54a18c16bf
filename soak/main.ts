import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { noPodsBecause } from '../test/support/pods.ts';
import { SoakError } from './errors.ts';
import { emptyFolder } from './mesh.ts';
import { readOptions, UsageError } from './options.ts';
import { isSound, jsonOf, textOf } from './report.ts';
import { logFolder, run } from './run.ts';

/*
 * `npm run soak`: a whole mesh of real parts under load and faults. docs/soak.md says what it shows and how to read it.
 *
 *   npm run soak -- [--minutes N] [--seed N] [--json]
 */

const stop = new AbortController();
const exitCodes = { SIGINT: 130, SIGTERM: 143 } as const;
/** Under npm one Ctrl-C arrives twice within a millisecond. */
const secondPressMs = 1000;
let askedAtMs: number | undefined;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    if (askedAtMs !== undefined && performance.now() - askedAtMs > secondPressMs) process.exit(exitCodes[signal]);
    askedAtMs ??= performance.now();
    process.exitCode ??= exitCodes[signal];
    stop.abort();
  });
}

try {
  if (noPodsBecause !== undefined) throw new SoakError(`cannot make pods here: ${noPodsBecause}`);
  await soak();
} catch (error) {
  if (!stop.signal.aborted) {
    console.error(
      `soak: ${error instanceof UsageError || error instanceof SoakError ? error.message : (error as Error).stack}`,
    );
    process.exitCode = error instanceof UsageError ? 2 : 1;
  }
}

async function soak(): Promise<void> {
  const { seed, durationMs, isJson } = readOptions(process.argv.slice(2), Math.random);
  const again = `npm run soak -- --minutes ${durationMs / 60_000} --seed ${seed}`;
  const folder = await emptyFolder(join(tmpdir(), `remora-soak-${process.pid}`));
  const progress = (text: string) => console.error(`soak: ${text}`);
  progress(`seed ${seed}; the same again: ${again}`);
  let isKept = true;
  try {
    const result = await run({ seed, durationMs, folder, signal: stop.signal, progress });
    console.log(isJson ? JSON.stringify(jsonOf(result)) : textOf(result));
    isKept = !isSound(result);
    if (isKept) process.exitCode = 1;
  } finally {
    if (isKept && !stop.signal.aborted)
      progress(`failed; the same again: ${again}; the logs are in ${logFolder(folder)}`);
    else await rm(folder, { recursive: true, force: true });
  }
}
