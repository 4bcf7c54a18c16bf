import type { Clock } from '../../clock.ts';
import type { Host } from '../../host.ts';
import { watchParent } from './parent-watch.ts';

export type StopReason = 'SIGINT' | 'SIGTERM' | 'orphaned';

/** Why and when the demo should end before its time. */
export interface Stop {
  /** Aborted, with a `StopReason`, by the first request to stop. */
  readonly signal: AbortSignal;
  /** Undefined while nobody has asked. */
  reason(): StopReason | undefined;
  /** Ends the watch: signals end the process again. */
  close(): void;
}

/** Under npm one Ctrl-C arrives twice within a millisecond; only a person presses it again after this time. */
const secondPressMs = 1000;

/** 128+n; who was orphaned has nobody to tell it. */
export const stopExitCodes: Readonly<Record<StopReason, number>> = { SIGINT: 130, SIGTERM: 143, orphaned: 129 };

/** Watches for signals, and for the death of the parent. A second signal, a second later, ends the process at once. */
export function watchForStop(host: Host, clock: Clock): Stop {
  const controller = new AbortController();
  let reason: StopReason | undefined;
  let askedAtMs = 0;
  const ask = (why: StopReason) => {
    if (reason !== undefined) {
      if (why !== 'orphaned' && clock.monotonic() - askedAtMs >= secondPressMs) host.exit(stopExitCodes[why]);
      return;
    }
    reason = why;
    askedAtMs = clock.monotonic();
    controller.abort(why);
  };
  const closeSignals = host.onStopSignal(ask);
  const closeParent = watchParent(clock, () => ask('orphaned'));
  return {
    signal: controller.signal,
    reason: () => reason,
    close() {
      closeSignals();
      closeParent();
    },
  };
}
