import type { Socket } from 'node:net';
import type { Clock } from '../clock.ts';
import { ConnectionError } from '../errors.ts';

/**
 * Runs `work` with a signal that is aborted with `onTimeout()` after `timeoutMs`, or with the outer signal's reason
 * before. The work must end when its signal does.
 */
export async function withDeadline<T>(
  clock: Clock,
  timeoutMs: number,
  onTimeout: () => Error,
  outer: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const onOuterAbort = () => controller.abort(outer?.reason);
  const timer = clock.after(timeoutMs, () => controller.abort(onTimeout()));
  outer?.addEventListener('abort', onOuterAbort, { once: true });
  if (outer?.aborted) onOuterAbort();
  try {
    return await work(controller.signal);
  } finally {
    timer.cancel();
    outer?.removeEventListener('abort', onOuterAbort);
  }
}

/** Waits for shared work without ending it when this one caller gives up. */
export function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const onAbort = () => reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  work.then(resolve, reject);
  return promise.finally(() => signal.removeEventListener('abort', onAbort));
}

/** Why the drain deadline ends a connection that nothing carries yet. */
export function cutWhileOpening(): ConnectionError {
  return new ConnectionError('drain_deadline', 'It was still being opened');
}

/** Aborted when the socket closes, with the reason for which we reset it if we did: whoever waits on behalf of its peer can stop. */
export function untilClosed(socket: Socket): AbortSignal {
  const controller = new AbortController();
  const onClose = () => {
    const why = socket.errored instanceof ConnectionError ? socket.errored : undefined;
    controller.abort(why ?? new ConnectionError('reset', 'The client gave up before the destination answered'));
  };
  if (socket.destroyed) onClose();
  else socket.once('close', onClose);
  return controller.signal;
}
