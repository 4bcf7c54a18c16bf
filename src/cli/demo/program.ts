import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Clock } from '../../clock.ts';
import { FailureError } from '../../errors.ts';

/** A process of the demo that speaks in lines. */
export interface Program {
  readonly name: string;
  /** Resolves with the first line, also an earlier one, that `matches`; rejects when the program ends before, or after `timeoutMs`. */
  line(matches: (line: string) => boolean, timeoutMs?: number): Promise<string>;
  /** Rejects with one sentence when the program ends without having been asked to; never resolves. */
  readonly failure: Promise<never>;
  write(line: string): void;
  /** Asks it to end and resolves when it has; kills it after `timeoutMs`. */
  stop(timeoutMs?: number): Promise<void>;
}

const maxRememberedLines = 200;
const defaultTimeoutMs = 15_000;

/** Follows a child that was just started. `onLine` sees each line of its standard output. */
export function followProgram(
  name: string,
  child: ChildProcess,
  clock: Clock,
  onLine: (line: string) => void = () => undefined,
): Program {
  const remembered: string[] = [];
  const complaints: string[] = [];
  const waiting = new Set<() => void>();
  const failure = Promise.withResolvers<never>();
  // Who does not wait for it hears of it through whoever does.
  failure.promise.catch(() => undefined);
  let isStopping = false;
  let over: FailureError | undefined;

  const keep = (lines: string[], line: string) => {
    lines.push(line);
    if (lines.length > maxRememberedLines) lines.shift();
  };
  const wake = () => {
    for (const check of waiting) check();
  };
  if (child.stdout !== null) {
    createInterface({ input: child.stdout }).on('line', (line) => {
      keep(remembered, line);
      onLine(line);
      wake();
    });
  }
  if (child.stderr !== null) createInterface({ input: child.stderr }).on('line', (line) => keep(complaints, line));
  child.stdin?.on('error', () => undefined);
  const ended = (how: string) => {
    over = new FailureError(`${name} ${how}${lastWords(complaints)}`);
    if (!isStopping) failure.reject(over);
    wake();
  };
  child.once('error', (error) => ended(`could not be started: ${error.message}`));
  child.once('close', (code, signal) =>
    ended(signal === null ? `ended with exit code ${code}` : `was killed by ${signal}`),
  );

  return {
    name,
    failure: failure.promise,
    line(matches, timeoutMs = defaultTimeoutMs) {
      return new Promise((resolve, reject) => {
        const settle = (finish: () => void) => {
          waiting.delete(check);
          timer.cancel();
          finish();
        };
        const check = () => {
          const found = remembered.find(matches);
          if (found !== undefined) settle(() => resolve(found));
          else if (over !== undefined) settle(() => reject(over));
        };
        const late = new FailureError(
          `${name} did not say what was expected within ${timeoutMs} ms${lastWords(complaints)}`,
        );
        const timer = clock.after(timeoutMs, () => settle(() => reject(late)));
        waiting.add(check);
        check();
      });
    },
    write: (line) => void child.stdin?.write(`${line}\n`),
    async stop(timeoutMs = defaultTimeoutMs) {
      isStopping = true;
      if (over !== undefined) return;
      const closed = once(child, 'close');
      const timer = clock.after(timeoutMs, () => child.kill('SIGKILL'));
      child.kill('SIGTERM');
      await closed;
      timer.cancel();
    },
  };
}

/** Our programs say why they end in a line that begins with their name; others in their last. */
function lastWords(complaints: readonly string[]): string {
  const why = complaints.find((line) => line.startsWith('remora: ')) ?? complaints.at(-1);
  return why === undefined ? '' : `: ${why.replace(/^remora: /, '')}`;
}
