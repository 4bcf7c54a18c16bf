import { spawnSync } from 'node:child_process';
import process from 'node:process';

/** A step that failed, in one sentence for a person; what the tool itself had to say is on stderr already. */
export class StepError extends Error {}

/** Runs a tool to its end, with its own output on stderr, and returns what it wrote to stdout. Throws `StepError`. */
export function run(command, args, options = {}) {
  const { status, signal, error, stdout } = spawnSync(command, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 64 * 1024 * 1024,
    ...options,
  });
  if (status === 0) return stdout?.trim() ?? '';
  if (error?.code === 'ENOENT')
    throw new StepError(`${command} is not on the PATH; install it, for example with apt-get`);
  throw new StepError(`\`${command} ${args[0]}\` failed (${signal ?? error?.message ?? `exit code ${status}`})`);
}

/** Like `run`, with the tool's stdout among ours on stderr: for what takes long and speaks about it. */
export function runAloud(command, args, options = {}) {
  run(command, args, { stdio: ['ignore', process.stderr, process.stderr], ...options });
}

/** True when the command succeeds; says nothing. */
export function succeeds(command, args) {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0;
}
