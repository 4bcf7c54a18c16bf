import { Writable } from 'node:stream';
import type { Log, LogLevel } from '../../src/log.ts';
import { createLog } from '../../src/log.ts';

/** One line of a log, as its reader sees it. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly level: string; readonly msg: string };

export interface CapturedLog {
  readonly log: Log;
  /** Every line so far. */
  readonly lines: readonly LogLine[];
  /** The whole text, to look for what must not be in it. */
  text(): string;
  /** The first line with this message that is not yet taken by an earlier call. */
  next(message: string): Promise<LogLine>;
}

/** The real log, kept in memory. */
export function captureLog(level: LogLevel = 'debug'): CapturedLog {
  const lines: LogLine[] = [];
  const untaken: LogLine[] = [];
  const waiting = new Set<() => void>();
  let text = '';
  const output = new Writable({
    write(chunk: Buffer, _, done) {
      text += chunk.toString();
      const line = JSON.parse(chunk.toString()) as LogLine;
      lines.push(line);
      untaken.push(line);
      for (const check of [...waiting]) check();
      done();
    },
  });
  return {
    log: createLog(level, output),
    lines,
    text: () => text,
    next: (message) =>
      new Promise((resolve) => {
        const check = () => {
          const index = untaken.findIndex(({ msg }) => msg === message);
          if (index === -1) return;
          waiting.delete(check);
          resolve(untaken.splice(index, 1)[0]!);
        };
        waiting.add(check);
        check();
      }),
  };
}
