import type { Clock } from '../clock.ts';
import { createLineRate } from '../line-rate.ts';

/**
 * Whether a line of this kind may be logged now, and how many were not since the last one that was: a flood of requests
 * must not fill the disk. Undefined is no.
 */
export type LineLimit<Kind> = (kind: Kind) => { readonly suppressed?: number } | undefined;

/** `linesPerSecond` for each kind, and as many at once; kinds are of a closed list. */
export function createLineLimit<Kind extends string>(clock: Clock, linesPerSecond: number): LineLimit<Kind> {
  const passes = createLineRate<Kind>(clock, { linesPerSecond, burst: linesPerSecond });
  const suppressed = new Map<Kind, number>();
  return (kind) => {
    const missing = suppressed.get(kind) ?? 0;
    if (!passes(kind)) {
      suppressed.set(kind, missing + 1);
      return undefined;
    }
    suppressed.delete(kind);
    return missing === 0 ? {} : { suppressed: missing };
  };
}
