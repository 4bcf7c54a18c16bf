import type { ChildProcess, StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { SoakError } from './errors.ts';

/** A real program of the mesh, which may be ended and started again; its output goes to one file. */
export interface Part {
  readonly name: string;
  readonly logFile: string;
  /** Of the process that runs now; undefined while none does. */
  pid(): number | undefined;
  /** Starts it and resolves when it has said that it is ready. */
  start(): Promise<void>;
  signal(signal: NodeJS.Signals): void;
  /** Ends it and resolves with how it ended. */
  end(signal: NodeJS.Signals): Promise<number | NodeJS.Signals>;
}

export interface PartOptions {
  readonly name: string;
  readonly logFile: string;
  /** What its log says when it is ready. */
  readonly readyText: string;
  spawn(stdio: StdioOptions): ChildProcess;
  /** Hears of an end that nobody has asked for. */
  onLost(why: string): void;
}

const readyDeadlineMs = 60_000;
const readyPollMs = 30;

export function createPart({ name, logFile, readyText, spawn, onLost }: PartOptions): Part {
  let child: ChildProcess | undefined;
  let isEnding = false;
  return {
    name,
    logFile,
    pid: () => child?.pid,
    async start() {
      isEnding = false;
      const log = openSync(logFile, 'a');
      const from = statSync(logFile).size;
      const started = spawn(['ignore', log, log]);
      closeSync(log);
      child = started;
      started.once('exit', (code, signal) => {
        if (child === started) child = undefined;
        if (!isEnding) onLost(`${name} ended with ${code ?? signal} though nobody had asked it to`);
      });
      const over = once(started, 'exit').then(([code, signal]) => code ?? signal);
      const deadlineMs = performance.now() + readyDeadlineMs;
      while (!textFrom(logFile, from).includes(readyText)) {
        if (child !== started)
          throw new SoakError(`${name} ended with ${await over} before it was ready; see ${logFile}`);
        if (performance.now() > deadlineMs) throw new SoakError(`${name} was not ready in time; see ${logFile}`);
        await wait(readyPollMs);
      }
    },
    signal: (signal) => void child?.kill(signal),
    async end(signal) {
      isEnding = true;
      if (child === undefined) return 0;
      const ended = once(child, 'exit');
      child.kill(signal);
      const [code, killedBy] = (await ended) as [number | null, NodeJS.Signals | null];
      return code ?? killedBy ?? 0;
    },
  };
}

/** Of a file that is read again and again only while a program starts. */
function textFrom(file: string, offset: number): string {
  const fd = openSync(file, 'r');
  try {
    const buffer = Buffer.alloc(Math.max(0, statSync(file).size - offset));
    return buffer.subarray(0, readSync(fd, buffer, 0, buffer.length, offset)).toString();
  } finally {
    closeSync(fd);
  }
}
