import type { Writable } from 'node:stream';
import type { Logger } from 'pino';
import { pino } from 'pino';
import type { LogOutput } from './log-output.ts';
import { createLogOutput } from './log-output.ts';
import { redacted } from './log-redaction.ts';
import { textLine } from './log-text.ts';
import { outputBlocked } from './outcomes.ts';
import { escapeSteering } from './printable.ts';

/**
 * Structured logs, one JSON object a line. Messages are in sentence case without a full stop; details are fields. A key,
 * a token or an authorization header is never a field; the redaction is the second line of defence.
 */
export type Log = Logger;

export const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

/** `json`: one object a line, for machines; `text`: one line an entry, for people. */
export const logFormats = ['json', 'text'] as const;
export type LogFormat = (typeof logFormats)[number];

/**
 * A log that writes to `output`, or to standard output when there is none. When an output that has dropped lines takes
 * them again, one line says how many there were.
 */
export function createLog(
  level: LogLevel,
  output: Writable | LogOutput = createLogOutput(),
  format: LogFormat = 'json',
): Log {
  const log = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label: string) => ({ level: label }), log: redacted },
      // Whatever a stranger has said, an entry is one line, and nothing in it steers the terminal of who reads it.
      hooks: { streamWrite: format === 'text' ? textLine : escapeSteering },
    },
    output,
  );
  tellOfDropped(log, output);
  return log;
}

function tellOfDropped(log: Log, output: Writable | LogOutput): void {
  let dropped = 0;
  output.on('drop', () => {
    dropped += 1;
  });
  output.on('drain', () => {
    if (dropped === 0) return;
    const suppressed = dropped;
    dropped = 0;
    log.warn({ reason: outputBlocked, suppressed }, 'Log lines dropped while nobody read the log');
  });
}
