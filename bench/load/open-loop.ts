import { dial, readAnswers, requestFor } from './closed-loop.ts';
import type { Job, JobResult } from './job.ts';
import type { Window } from './window.ts';
import { openWindow } from './window.ts';

/**
 * Sends requests at a fixed rate, over connections in turn, and takes each one's time from the moment at which it was
 * due: one that waits behind a slow answer counts its wait, so that a stall is not hidden by the requests that it kept
 * from being sent (coordinated omission).
 */
export async function openLoop(job: Extract<Job, { kind: 'fixed-rate' }>): Promise<JobResult> {
  const lanes: Lane[] = [];
  const latenciesMs: number[] = [];
  let openWindowOf: Window | undefined;
  const { promise: whenIdle, resolve: onIdle, reject: onError } = Promise.withResolvers<void>();
  whenIdle.catch(() => undefined);
  for (let lane = 0; lane < job.connections; lane++) {
    lanes.push(
      await openLane(
        job,
        () => openWindowOf,
        (ms) => latenciesMs.push(ms),
        onError,
      ),
    );
  }
  const window = openWindow(job);
  openWindowOf = window;
  const maxLatenessMs = await sendAtRate(job, window, lanes);
  const check = setInterval(() => {
    if (lanes.every((lane) => lane.isIdle())) onIdle();
  }, 5);
  try {
    const [result] = await Promise.all([window.result(whenIdle), whenIdle]);
    return { ...result, latenciesMs, maxLatenessMs };
  } finally {
    clearInterval(check);
    for (const lane of lanes) lane.close();
  }
}

interface Lane {
  send(dueMs: number): void;
  isIdle(): boolean;
  close(): void;
}

async function openLane(
  job: Job,
  window: () => Window | undefined,
  onLatency: (ms: number) => void,
  onError: (error: Error) => void,
): Promise<Lane> {
  const request = requestFor(job.path, 'keep-alive');
  const socket = await dial(job.port);
  /** When the requests that are not answered yet were due; the first of them is on its way. */
  const due: number[] = [];
  const write = () => {
    window()?.onSent();
    socket.write(request);
  };
  const onAnswer = () => {
    const dueMs = due.shift() ?? 0;
    if (dueMs >= (window()?.beginsMs ?? 0)) onLatency(performance.now() - dueMs);
    window()?.onAnswer();
    if (due.length > 0) write();
  };
  readAnswers(socket, job, { onBody: (bytes) => window()?.onBody(bytes), onAnswer }, onError);
  return {
    send(dueMs) {
      if (due.push(dueMs) === 1) write();
    },
    isIdle: () => due.length === 0,
    close: () => socket.destroy(),
  };
}

/**
 * Resolves at the end of the window with how late a request was handed over at worst. A timer is up to a millisecond
 * late, more than most answers take, so it turns the event loop instead, which costs one CPU, for every contender alike.
 */
function sendAtRate({ ratePerSecond, warmUpMs }: Extract<Job, { kind: 'fixed-rate' }>, window: Window, lanes: Lane[]) {
  const { promise, resolve } = Promise.withResolvers<number>();
  const startMs = window.beginsMs - warmUpMs;
  let [sent, maxLatenessMs] = [0, 0];
  const turn = () => {
    const nowMs = performance.now();
    for (;;) {
      const dueMs = startMs + (sent * 1000) / ratePerSecond;
      if (dueMs >= window.endsMs) return resolve(maxLatenessMs);
      if (dueMs > nowMs) break;
      if (dueMs >= window.beginsMs) maxLatenessMs = Math.max(maxLatenessMs, nowMs - dueMs);
      lanes[sent++ % lanes.length]?.send(dueMs);
    }
    setImmediate(turn);
  };
  turn();
  return promise;
}
