import { constants } from 'node:os';
import type { Clock } from './clock.ts';
import type { Host } from './host.ts';
import type { Drain, Readiness } from './lifecycle.ts';
import type { Log } from './log.ts';

/** How long peers may take what was sent last, where the drain deadline leaves less. */
export const lastBytesTimeoutMs = 1000;

/** How far it has come on the way to its end. */
export interface StopProgress {
  readonly stage:
    | 'serving'
    /** Not ready; new inbound connections are still taken, for the drain delay. */
    | 'leaving'
    /** No new inbound connections; what is open goes on, and outbound is taken. */
    | 'draining';
  /** The process ends when nothing is open any more, or at the drain deadline. */
  readonly isStopping: boolean;
}

/** The way from serving to the end: to draining when it is asked for, and to the end at a stop, in one order. */
export interface Stopping {
  progress(): StopProgress;
  /**
   * Makes the sidecar unready at once, and after the drain delay takes no new inbound connections. Nothing is reset, and
   * it goes on like that until `stop`. Resolves when inbound is closed. Idempotent.
   */
  drain(): Promise<void>;
  /**
   * Drains, or goes on with that, then waits for what is open, resets what is still open at the drain deadline, and ends
   * the tunnels. The deadline begins here, and not before inbound is closed: to drain alone resets nothing. Resolves with
   * how many connections were reset.
   */
  stop(): Promise<number>;
}

export interface StoppingParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly readiness: Pick<Readiness, 'close'>;
  readonly drain: Pick<Drain, 'size' | 'finish'>;
  readonly plane: {
    retireInbound(): void;
    retireOutbound(): void;
    close(timeoutMs: number): Promise<void>;
  };
}

export interface StoppingSettings {
  readonly drainDelayMs: number;
  readonly drainDeadlineMs: number;
}

export function createStopping(
  { clock, log, readiness, drain, plane }: StoppingParts,
  { drainDelayMs, drainDeadlineMs }: StoppingSettings,
): Stopping {
  let stage: StopProgress['stage'] = 'serving';
  let isStopping = false;
  let draining: Promise<void> | undefined;

  const leave = async () => {
    stage = 'leaving';
    await clock.sleep(drainDelayMs);
    plane.retireInbound();
    stage = 'draining';
    log.info({ open: drain.size }, 'Draining');
  };
  const drainOnce = () => {
    draining ??= leave();
    return draining;
  };

  return {
    progress: () => ({ stage, isStopping }),
    drain() {
      if (draining === undefined) readiness.close('not_draining', 'The sidecar was asked to drain');
      return drainOnce();
    },
    async stop() {
      isStopping = true;
      readiness.close('not_draining', 'The sidecar is shutting down');
      await drainOnce();
      const deadlineMs = clock.monotonic() + drainDeadlineMs;
      const forced = await drain.finish(drainDeadlineMs);
      plane.retireOutbound();
      await plane.close(Math.max(deadlineMs - clock.monotonic(), lastBytesTimeoutMs));
      return forced;
    },
  };
}

/**
 * `asked` resolves with who was the first to ask for a stop. A signal may come twice at once under a terminal; a second one
 * after a second ends the process.
 */
export function createStopRequest(
  host: Host,
  clock: Clock,
): { readonly asked: Promise<string>; ask(by: string): void } {
  const { promise, resolve } = Promise.withResolvers<string>();
  let firstMs: number | undefined;
  host.onStopSignal((signal) => {
    firstMs ??= clock.monotonic();
    if (clock.monotonic() - firstMs > 1000) host.exit(128 + constants.signals[signal]);
    resolve(signal);
  });
  return { asked: promise, ask: resolve };
}
