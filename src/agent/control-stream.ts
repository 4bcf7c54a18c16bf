import type { Backoff } from '../backoff.ts';
import { backoffMs } from '../backoff.ts';
import type { Clock } from '../clock.ts';
import type { PolicyState, RevocationState } from '../control-api.ts';
import { maxDestinations } from '../control-api.ts';
import { messageOf, RenewalError } from '../errors.ts';
import type { ControlClient } from './control-client.ts';
import type { StreamLine } from './stream-message.ts';
import type { StreamSession } from './stream-session.ts';
import { startStreamSession, streamSilenceMs } from './stream-session.ts';
import type { PemBundles, StreamListener } from './stream-state.ts';
import { createStreamState } from './stream-state.ts';

/** Sees the life of the stream; for logs and metrics. The reasons are one sentence each. */
export interface StreamObserver {
  streamUp(): void;
  streamDown(): void;
  /** A stream ended or could not be opened; an older one may still be up. */
  streamEnded(why: string, nextAttemptMs: number): void;
  /** A line was not understood; if that was not a policy, it ended its stream. */
  lineRefused(why: string): void;
}

/** The push side of the control plane. What it last said stays in force while it is away. */
export interface ControlStream {
  /** The last complete policy; undefined before the first. */
  policy(): PolicyState | undefined;
  trustBundles(): PemBundles | undefined;
  revocations(): RevocationState | undefined;
  isUp(): boolean;
  /** Returns the function that ends the subscription. */
  subscribe(listener: StreamListener): () => void;
  /** The whole set of destinations to be told about; at most `maxDestinations`, the rest is left out. */
  watch(destinations: readonly string[]): void;
  close(): Promise<void>;
}

const backoff: Backoff = { baseMs: 1000, capMs: 30_000 };
/** All sidecars lose the same control plane in the same moment, and after a short outage the first waits alone would not part them. */
const spreadMs = 5000;
/** A changed set waits this long for further changes. */
const debounceMs = 100;
/** A changed set opens a stream at most this often. */
const reopenIntervalMs = 1000;

/** How long to wait before a stream is opened again after this many that ended in a row, at least 1. */
export function reopenDelayMs(failures: number, { random }: Pick<Clock, 'random'>): number {
  return backoffMs(backoff, failures, random()) + spreadMs * random();
}

interface Parts {
  readonly clock: Clock;
  readonly client: Pick<ControlClient, 'stream'>;
  readonly observer: StreamObserver;
}

/** Starts at once and reconnects until closed. */
export function startControlStream({ clock, client, observer }: Parts): ControlStream {
  const stopping = new AbortController();
  const state = createStreamState(observer);
  let wanted: readonly string[] = [];
  let wake: () => void = () => undefined;
  /** Only what this one says counts: a stream that it replaced may still say something older. */
  let current: StreamSession | undefined;
  let opening: StreamSession | undefined;

  const onLine = (session: StreamSession, line: StreamLine) => {
    if (session === opening) promote(session);
    if (session === current) state.apply(line);
  };

  const promote = (session: StreamSession) => {
    const replaced = current;
    current = session;
    opening = undefined;
    if (replaced === undefined) observer.streamUp();
    else replaced.end(new Error('Replaced by a newer stream'));
    void session.ended.then(() => {
      if (session !== current) return;
      current = undefined;
      observer.streamDown();
    });
  };

  const untilChanged = async (session: StreamSession): Promise<'changed'> => {
    for (;;) {
      while (isSame(wanted, session.destinations)) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      const ageMs = clock.monotonic() - session.startedMs;
      await clock.sleep(Math.max(debounceMs, reopenIntervalMs - ageMs), stopping.signal);
      // The next stream begins a large policy anew: with a set that changes all the time it would never be whole.
      while (state.isHalfTold() && session === current) await clock.sleep(debounceMs, stopping.signal);
      if (!isSame(wanted, session.destinations)) return 'changed';
    }
  };

  /** Opens a stream and stays with it until it has ended, or should be replaced. */
  const attempt = async (): Promise<'changed' | { readonly reason: unknown; readonly livedMs: number }> => {
    const session = startStreamSession({ clock, client }, wanted, onLine);
    opening = session;
    const isLive = await session.live.then(
      () => true,
      () => false,
    );
    if (!isLive) return { reason: await session.ended, livedMs: 0 };
    if ((await Promise.race([session.ended, untilChanged(session)])) === 'changed') return 'changed';
    return { reason: await session.ended, livedMs: clock.monotonic() - session.startedMs };
  };

  const run = async () => {
    let failures = 0;
    while (!stopping.signal.aborted) {
      const outcome = await attempt();
      if (outcome === 'changed') continue;
      stopping.signal.throwIfAborted();
      failures = outcome.livedMs >= streamSilenceMs ? 1 : failures + 1;
      const waitMs = Math.max(reopenDelayMs(failures, clock), retryAfterMsOf(outcome.reason));
      const why = messageOf(outcome.reason);
      if (isMalformed(outcome.reason)) observer.lineRefused(why);
      observer.streamEnded(why, waitMs);
      await clock.sleep(waitMs, stopping.signal);
    }
  };
  const running = run().catch((error: unknown) => {
    if (!stopping.signal.aborted) throw error;
  });

  return {
    policy: state.policy,
    trustBundles: state.trustBundles,
    revocations: state.revocations,
    isUp: () => current !== undefined,
    subscribe: state.subscribe,
    watch(destinations) {
      wanted = [...new Set(destinations)].sort().slice(0, maxDestinations);
      state.keepDestinations(new Set(wanted));
      wake();
    },
    async close() {
      stopping.abort(new Error('The stream is closed'));
      opening?.end(stopping.signal.reason);
      current?.end(stopping.signal.reason);
      await running;
    },
  };
}

const isSame = (a: readonly string[], b: readonly string[]) => a.join() === b.join();

function isMalformed(reason: unknown): boolean {
  return reason instanceof RenewalError && (reason.reason === 'bad_json' || reason.reason === 'too_large');
}

/** Already capped. */
function retryAfterMsOf(reason: unknown): number {
  return reason instanceof RenewalError ? (reason.retryAfterMs ?? 0) : 0;
}
