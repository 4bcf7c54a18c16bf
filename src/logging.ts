import type { Log, LogLevel } from './log.ts';

/** Which connections have a line in the log. Refused or not, all of them are counted. */
export const accessLogs = ['all', 'failures', 'off'] as const;
export type AccessLog = (typeof accessLogs)[number];

/** What is logged; may be changed while the sidecar runs. */
export interface LoggingState {
  readonly level: LogLevel;
  readonly accessLog: AccessLog;
}

export interface Logging {
  current(): LoggingState;
  /** Until it is set again, or the process ends. What is absent stays. */
  set(change: Partial<LoggingState>): void;
}

/** `log` has its level already. */
export function createLogging(log: Log, first: AccessLog): Logging {
  let accessLog = first;
  const current = (): LoggingState => ({ level: log.level as LogLevel, accessLog });
  return {
    current,
    set(change) {
      const before = current();
      if (change.accessLog !== undefined) accessLog = change.accessLog;
      // Past any level: whoever reads the log later sees from when on lines are missing, and until when.
      log.level = 'info';
      log.info({ before, after: { ...before, ...change } }, 'What is logged was changed');
      log.level = change.level ?? before.level;
    },
  };
}
