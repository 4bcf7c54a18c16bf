import type { Clock } from '../clock.ts';
import { heartbeatIntervalMs, maxReplyBytes } from '../control-api.ts';
import { RenewalError } from '../errors.ts';
import type { ControlClient } from './control-client.ts';
import { linesOf } from './stream-lines.ts';
import type { StreamLine } from './stream-message.ts';
import { parseStreamLine } from './stream-message.ts';

/** One stream from its request to its end. */
export interface StreamSession {
  readonly destinations: readonly string[];
  readonly startedMs: number;
  /** Resolves when the first line has been understood; rejects when the stream ended before. */
  readonly live: Promise<void>;
  /** Resolves with the reason of the end; never rejects. */
  readonly ended: Promise<unknown>;
  /** Idempotent. */
  end(reason: Error): void;
}

/** A stream that says nothing for this long is lost; milliseconds. */
export const streamSilenceMs = 2 * heartbeatIntervalMs;

/** Opens a stream at once; `onLine` gets every line in order. */
export function startStreamSession(
  { clock, client }: { clock: Clock; client: Pick<ControlClient, 'stream'> },
  destinations: readonly string[],
  onLine: (session: StreamSession, line: StreamLine) => void,
): StreamSession {
  const controller = new AbortController();
  const live = Promise.withResolvers<void>();
  // Whoever waits for the end only must not make the process fail.
  live.promise.catch(() => undefined);

  const read = async () => {
    const bytes = await client.stream(destinations, controller.signal);
    let watchdog = watch();
    try {
      for await (const line of linesOf(bytes, maxReplyBytes)) {
        watchdog.cancel();
        watchdog = watch();
        onLine(session, parseStreamLine(line));
        live.resolve();
      }
    } finally {
      watchdog.cancel();
    }
    throw new RenewalError('unreachable', 'The control plane has ended the stream');
  };
  const watch = () => clock.after(streamSilenceMs, () => controller.abort(silence()));

  const session: StreamSession = {
    destinations,
    startedMs: clock.monotonic(),
    live: live.promise,
    ended: read().catch((reason: unknown) => {
      live.reject(reason);
      return reason;
    }),
    end: (reason) => controller.abort(reason),
  };
  return session;
}

function silence(): RenewalError {
  return new RenewalError('timeout', `The stream of the control plane was silent for ${streamSilenceMs} ms`);
}
