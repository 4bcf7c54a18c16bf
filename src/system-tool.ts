import { execFile } from 'node:child_process';
import { constants } from 'node:os';
import { codeOf } from './errors.ts';

/** How a tool of the system ended; `missing` when it is not on the PATH or may not be executed. */
export type ToolResult =
  | { readonly kind: 'ended'; readonly status: number; readonly stdout: string; readonly stderr: string }
  | { readonly kind: 'missing' };

export interface ToolOptions {
  /** Its `PATH` decides where the tool is found. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Written to its standard input. */
  readonly input?: string;
  /** It is killed after this time and its status is then 137; default 20 s. */
  readonly timeoutMs?: number;
}

const maxOutputBytes = 16 * 1024 * 1024;

/** Runs a tool such as `nft` or `ip` to its end. Never rejects for what the tool did: look at the status. */
export function runTool(command: string, args: readonly string[], options: ToolOptions): Promise<ToolResult> {
  const { env, input = '', timeoutMs = 20_000 } = options;
  return new Promise((resolve) => {
    const child = execFile(
      command,
      args,
      { env, timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: maxOutputBytes, encoding: 'utf8' },
      (error, stdout, stderr) => {
        if (['ENOENT', 'EACCES', 'ENOTDIR'].includes(codeOf(error))) return resolve({ kind: 'missing' });
        const signal = child.signalCode;
        const status = child.exitCode ?? (signal === null ? 1 : 128 + constants.signals[signal]);
        resolve({
          kind: 'ended',
          status,
          stdout,
          stderr: stderr === '' && status !== 0 ? (error?.message ?? '') : stderr,
        });
      },
    );
    // A tool that ends before it has read everything closes the pipe.
    child.stdin?.on('error', () => undefined).end(input);
  });
}
