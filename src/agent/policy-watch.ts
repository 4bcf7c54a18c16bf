import type { Clock } from '../clock.ts';
import type { Readiness } from '../lifecycle.ts';
import type { Mode } from '../policy/mode.ts';
import { effectiveMode } from '../policy/mode.ts';
import type { Sources } from './sources.ts';

/** What is in force. */
export interface PolicyInForce {
  /** The stricter one of the policy and of the floor of this pod. */
  readonly mode: Mode;
  /** When it became so; wall time. */
  readonly sinceMs: number;
}

/** Keeps the gate `policy` open while there is one that can be enforced. Returns what is in force, undefined while there is none. */
export function watchPolicy(
  clock: Pick<Clock, 'now'>,
  policy: Sources['policy'],
  minimumMode: Mode,
  readiness: Pick<Readiness, 'open' | 'close'>,
): () => PolicyInForce | undefined {
  let inForce: PolicyInForce | undefined;
  policy.subscribe((current) => {
    inForce = current && { mode: effectiveMode(current.mode, minimumMode), sinceMs: clock.now() };
    if (current === undefined)
      readiness.close('policy', 'No policy has arrived yet, or the last one cannot be enforced');
    else readiness.open('policy');
  });
  return () => inForce;
}
