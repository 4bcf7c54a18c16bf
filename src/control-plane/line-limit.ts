import type { Clock } from '../clock.ts';

const windowMs = 1000;

/**
 * Whether a line of this kind may be logged now, and how many were not since the last one that was: a flood of requests
 * must not fill the disk. Undefined is no.
 */
export type LineLimit<Kind> = (kind: Kind) => { readonly suppressed?: number } | undefined;

/** At most `linesPerSecond` for each kind; kinds are of a closed list. */
export function createLineLimit<Kind extends string>(clock: Clock, linesPerSecond: number): LineLimit<Kind> {
  const windows = new Map<Kind, { startedMs: number; lines: number; suppressed: number }>();
  return (kind) => {
    const nowMs = clock.monotonic();
    const last = windows.get(kind) ?? { startedMs: nowMs, lines: 0, suppressed: 0 };
    const current = nowMs - last.startedMs < windowMs ? last : { ...last, startedMs: nowMs, lines: 0 };
    windows.set(kind, current);
    if (current.lines >= linesPerSecond) {
      current.suppressed += 1;
      return undefined;
    }
    const { suppressed } = current;
    current.lines += 1;
    current.suppressed = 0;
    return suppressed === 0 ? {} : { suppressed };
  };
}
