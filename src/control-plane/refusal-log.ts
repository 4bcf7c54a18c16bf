import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import { createLineLimit } from './line-limit.ts';
import type { Refusal, RefusalReason } from './refusals.ts';

/** Logs refusals without letting a flood of them fill the disk. */
export type RefusalLog = (refusal: Refusal, fields: Readonly<Record<string, unknown>>) => void;

const linesPerSecond = 5;

/** At most five lines a second for each reason; the next line that passes says how many did not. */
export function createRefusalLog(clock: Clock, log: Log): RefusalLog {
  const limit = createLineLimit<RefusalReason>(clock, linesPerSecond);
  return ({ reason, message, status }, fields) => {
    const line = limit(reason);
    if (line === undefined) return;
    log[status >= 500 ? 'error' : 'warn']({ reason, why: message, ...fields, ...line }, 'Request refused');
  };
}
