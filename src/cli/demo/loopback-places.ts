import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Host } from '../../host.ts';
import type { ToolOptions } from '../../system-tool.ts';
import { runTool } from '../../system-tool.ts';
import type { Place } from './launch.ts';
import { applicationPath } from './launch.ts';

/** Processes beside this one, under its own user. */
export interface LoopbackPlace extends Place {
  /** Kills every process that is still there. */
  remove(): Promise<void>;
}

/** With setpriv, where it is there, the processes end with this one, however it ends. */
export async function createLoopbackPlace(program: Host['program'], env: ToolOptions['env']): Promise<LoopbackPlace> {
  const children = new Set<ChildProcess>();
  const { kind } = await runTool('setpriv', ['--version'], { env });
  const prefix = kind === 'missing' ? [] : ['setpriv', '--pdeathsig=KILL', '--'];
  const start = (argv: readonly string[]): ChildProcess => {
    const [command = '', ...args] = [...prefix, ...argv];
    const child = spawn(command, args, { env, stdio: 'pipe' });
    children.add(child);
    for (const event of ['exit', 'error'] as const) child.once(event, () => children.delete(child));
    return child;
  };
  return {
    remora: (args) => start([...program, ...args]),
    application: (script, args) => start([...program.slice(0, -1), applicationPath(script), ...args]),
    async remove() {
      const gone = [...children].map((child) => once(child, 'exit'));
      for (const child of children) child.kill('SIGKILL');
      await Promise.all(gone);
    },
  };
}
