import type { Clock } from '../clock.ts';
import { RenewalError } from '../errors.ts';
import type { RenewalReason } from '../outcomes.ts';
import type { ControlClient } from './control-client.ts';

/** What is asked of the control plane besides its stream. */
export type CallKind = 'certificates' | 'destinations' | 'workloads' | 'reports' | 'canary';

/** A kind of call of which the last one failed; wall times. */
export interface FailingCall {
  readonly kind: CallKind;
  /** The first that failed after the last that did not. */
  readonly sinceMs: number;
  readonly lastMs: number;
  readonly reason: RenewalReason;
  readonly message: string;
}

/** How the control plane fares, as far as this sidecar has tried; wall times in milliseconds since the epoch. */
export interface ControlPlaneFacts {
  /** Since when the stream is up, or is not; the start of the sidecar when it never was. */
  readonly sinceMs: number;
  readonly hasBeenUp: boolean;
  /** Why the last stream ended, or could not be opened; undefined while one is up. */
  readonly why: string | undefined;
  readonly failing: readonly FailingCall[];
}

/** Writes down the life of the stream and of each call. An open stream says nothing of whether a new connection can be made. */
export interface ControlPlaneBook {
  streamUp(): void;
  streamDown(): void;
  streamEnded(why: string): void;
  /** The same client; whoever gives up waiting has not failed. */
  watching(client: ControlClient): ControlClient;
  facts(): ControlPlaneFacts;
}

export function createControlPlaneBook(clock: Pick<Clock, 'now'>): ControlPlaneBook {
  const failing = new Map<CallKind, FailingCall>();
  let sinceMs = clock.now();
  let hasBeenUp = false;
  let isUp = false;
  let why: string | undefined;

  const failed = (kind: CallKind, { reason, message }: RenewalError) => {
    const lastMs = clock.now();
    failing.set(kind, { kind, sinceMs: failing.get(kind)?.sinceMs ?? lastMs, lastMs, reason, message });
  };
  const watched =
    <Args extends unknown[], T>(kind: CallKind, call: (...args: Args) => Promise<T>) =>
    async (...args: Args): Promise<T> => {
      try {
        const reply = await call(...args);
        failing.delete(kind);
        return reply;
      } catch (error) {
        if (error instanceof RenewalError) failed(kind, error);
        throw error;
      }
    };
  const turn = (next: boolean) => {
    isUp = next;
    sinceMs = clock.now();
  };

  return {
    streamUp() {
      turn(true);
      hasBeenUp = true;
      why = undefined;
    },
    streamDown: () => turn(false),
    streamEnded(reason) {
      if (!isUp) why = reason;
    },
    watching: (client) => ({
      ...client,
      certificate: watched('certificates', client.certificate),
      destinations: watched('destinations', client.destinations),
      workloads: watched('workloads', client.workloads),
      report: watched('reports', client.report),
      canary: watched('canary', client.canary),
    }),
    facts: () => ({ sinceMs, hasBeenUp, why, failing: [...failing.values()] }),
  };
}
