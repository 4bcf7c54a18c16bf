import type { Writable } from 'node:stream';
import type { Logger } from 'pino';
import { pino } from 'pino';

/**
 * Structured logs, one JSON object a line. Messages are in sentence case without a full stop; details are fields. A key,
 * a token or an authorization header is never a field; the redaction is the second line of defence.
 */
export type Log = Logger;

export const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

const neverLogged = ['key', 'privateKey', 'token', 'authorization', 'password', 'headers'];

/** A log that writes to `output`, or to standard output through pino's own unbuffered writer when there is none. */
export function createLog(level: LogLevel, output?: Writable): Log {
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: neverLogged.flatMap((field) => [field, `*.${field}`]), censor: '[redacted]' },
  };
  return output === undefined ? pino(options) : pino(options, output);
}
