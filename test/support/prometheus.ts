import { spawnSync } from 'node:child_process';
import { isOnPath } from './pods.ts';

/** Why tests with Prometheus' own tools cannot run here; undefined when they can. */
export const noPrometheusBecause = isOnPath('promtool') && isOnPath('prometheus') ? undefined : 'needs prometheus';

/** What promtool says, and its exit code; `input` is its standard input. */
export function promtool(
  args: readonly string[],
  input = '',
): { readonly status: number | null; readonly said: string } {
  const { status, stdout, stderr } = spawnSync('promtool', args, { encoding: 'utf8', input });
  return { status, said: stdout + stderr };
}
