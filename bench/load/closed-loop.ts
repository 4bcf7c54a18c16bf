import { once } from 'node:events';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { answerReader } from './answers.ts';
import type { Job, JobResult } from './job.ts';
import type { Window } from './window.ts';
import { openWindow } from './window.ts';

/** Sends the next request as soon as the one before is answered, on connections that stay open or on a new one for each. */
export async function closedLoop(job: Job): Promise<JobResult> {
  const window = openWindow(job);
  const loop = job.kind === 'connect' ? connectAnewEachTime : keepAlive;
  const loops = Promise.all(Array.from({ length: job.connections }, () => loop(job, window)));
  const result = await window.result(loops);
  return { ...result, latenciesMs: [], maxLatenessMs: 0 };
}

async function keepAlive(job: Job, window: Window): Promise<void> {
  const request = requestFor(job.path, 'keep-alive');
  const socket = await dial(job.port);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const next = () => {
    if (!window.isOpen) return resolve();
    window.onSent();
    socket.write(request);
  };
  const onAnswer = () => {
    window.onAnswer();
    next();
  };
  readAnswers(socket, job, { onBody: window.onBody, onAnswer }, reject);
  next();
  await promise;
  socket.destroy();
}

async function connectAnewEachTime(job: Job, window: Window): Promise<void> {
  const request = requestFor(job.path, 'close');
  while (window.isOpen) {
    const socket = await dial(job.port);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    readAnswers(socket, job, { onBody: window.onBody, onAnswer: resolve }, reject);
    window.onSent();
    socket.write(request);
    await promise;
    // The application ends the connection: it is whole only with its end, passed on by both proxies.
    if (!socket.readableEnded) await once(socket, 'end');
    socket.destroy();
    window.onAnswer();
  }
}

export const requestFor = (path: string, connection: 'keep-alive' | 'close'): Buffer =>
  Buffer.from(`GET ${path} HTTP/1.1\r\nHost: bench.test\r\nConnection: ${connection}\r\n\r\n`);

export async function dial(port: number): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true });
  await once(socket, 'connect');
  return socket;
}

/** Any failure of the connection, and any end before an answer that is due, is for `onError`. */
export function readAnswers(
  socket: Socket,
  { bodyBytes }: Job,
  listener: Parameters<typeof answerReader>[1],
  onError: (error: Error) => void,
): void {
  const read = answerReader(bodyBytes, listener);
  socket.on('data', (chunk: Buffer) => {
    try {
      read(chunk);
    } catch (error) {
      onError(error as Error);
    }
  });
  socket.once('error', onError);
  socket.once('end', () => onError(new Error('A connection ended before the answer')));
}
