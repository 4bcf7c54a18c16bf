import type { Clock } from '../clock.ts';

/**
 * Runs `work` with a signal that is aborted with `late()` after `deadlineMs`, or with the outer signal's reason, and
 * rejects with that reason at once: a `work` that does not listen cannot hold up its caller.
 */
export function withDeadline<T>(
  clock: Clock,
  deadlineMs: number,
  late: () => Error,
  outer: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  return new Promise<T>((resolve, reject) => {
    const abort = (reason: unknown) => {
      controller.abort(reason);
      reject(reason);
    };
    if (outer?.aborted) return abort(outer.reason);
    const onOuterAbort = () => abort(outer?.reason);
    const timer = clock.after(deadlineMs, () => abort(late()));
    outer?.addEventListener('abort', onOuterAbort, { once: true });
    work(controller.signal)
      .then(resolve, reject)
      .finally(() => {
        timer.cancel();
        outer?.removeEventListener('abort', onOuterAbort);
      });
  });
}
