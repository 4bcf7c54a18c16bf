import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import type { Refusal, RefusalReason } from './refusals.ts';

/** Logs refusals without letting a flood of them fill the disk. */
export type RefusalLog = (refusal: Refusal, fields: Readonly<Record<string, unknown>>) => void;

const windowMs = 1000;
const linesPerWindow = 5;

/** At most five lines a second for each reason; the next line that passes says how many did not. */
export function createRefusalLog(clock: Clock, log: Log): RefusalLog {
  const windows = new Map<RefusalReason, { startedMs: number; lines: number; suppressed: number }>();
  return (refusal, fields) => {
    const { reason, message, status } = refusal;
    const nowMs = clock.monotonic();
    const last = windows.get(reason) ?? { startedMs: nowMs, lines: 0, suppressed: 0 };
    const current = nowMs - last.startedMs < windowMs ? last : { ...last, startedMs: nowMs, lines: 0 };
    windows.set(reason, current);
    if (current.lines >= linesPerWindow) {
      current.suppressed += 1;
      return;
    }
    const suppressed = current.suppressed === 0 ? {} : { suppressed: current.suppressed };
    current.lines += 1;
    current.suppressed = 0;
    log[status >= 500 ? 'error' : 'warn']({ reason, why: message, ...fields, ...suppressed }, 'Request refused');
  };
}
