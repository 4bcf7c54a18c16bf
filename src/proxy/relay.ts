import type { Duplex } from 'node:stream';
import type { Clock, Timer } from '../clock.ts';
import { ConnectionError } from '../errors.ts';
import type { ClosedReason } from '../outcomes.ts';
import type { Leg } from './leg.ts';
import { watchPaused } from './paused.ts';

export interface RelayLimits {
  /** With no byte moved for this long the connection is reset; Infinity, the default, suits database pools. */
  readonly idleTimeoutMs: number;
  /** The same once one side has finished. */
  readonly halfCloseTimeoutMs: number;
}

/** Bytes of application data so far; read while the relay runs, too. */
export interface ByteCount {
  /** From downstream to upstream. */
  bytesSent: number;
  /** From upstream to downstream. */
  bytesReceived: number;
}

/** A relay that runs. */
export interface Relay {
  readonly bytes: Readonly<ByteCount>;
  /** Resolves once, when both directions have ended or either side was cut; never rejects. */
  readonly closed: Promise<ClosedReason>;
  /** Resets both sides; the first reason counts. */
  abort(reason: ClosedReason): void;
}

/**
 * Carries bytes both ways until both sides have finished. Backpressure of each side stops the reading of the other; the
 * end of one direction is passed on as a half-close; a cut of one side resets the other.
 */
export function relay(downstream: Leg, upstream: Leg, limits: RelayLimits, clock: Clock): Relay {
  const bytes: ByteCount = { bytesSent: 0, bytesReceived: 0 };
  const { promise: closed, resolve } = Promise.withResolvers<ClosedReason>();
  let openDirections = 2;
  let isOver = false;
  let idleTimer: Timer | undefined;

  const finish = (reason: ClosedReason) => {
    if (isOver) return;
    isOver = true;
    idleTimer?.cancel();
    resolve(reason);
  };

  const abort = (reason: ClosedReason, cause?: Error) => {
    if (isOver) return;
    finish(reason);
    const error = new ConnectionError(reason, `The connection was cut: ${reason}`, { cause });
    downstream.abort(error);
    upstream.abort(error);
  };

  const watchIdle = (timeoutMs: number, reason: ClosedReason) => {
    idleTimer?.cancel();
    if (timeoutMs === Number.POSITIVE_INFINITY) return;
    const before = bytes.bytesSent + bytes.bytesReceived;
    idleTimer = clock.after(timeoutMs, () => {
      if (bytes.bytesSent + bytes.bytesReceived === before) abort(reason);
      else watchIdle(timeoutMs, reason);
    });
  };

  const directionEnded = () => {
    openDirections -= 1;
    if (openDirections === 0) finish('eof');
    else watchIdle(limits.halfCloseTimeoutMs, 'half_close_timeout');
  };

  // A leg that went away while the other one was being made has nobody left to tell.
  if (downstream.stream.destroyed || upstream.stream.destroyed) abort('reset');
  if (!isOver) watchIdle(limits.idleTimeoutMs, 'idle');
  pump(downstream, upstream, clock, abort, directionEnded, (count) => {
    bytes.bytesSent += count;
  });
  pump(upstream, downstream, clock, abort, directionEnded, (count) => {
    bytes.bytesReceived += count;
  });
  return { bytes, closed, abort };
}

/** One direction. `ended` is called when `to` has taken the last byte and the end. */
function pump(
  from: Leg,
  to: Leg,
  clock: Clock,
  abort: (reason: ClosedReason, cause?: Error) => void,
  ended: () => void,
  count: (bytes: number) => void,
): void {
  const write = to.gathersWrites ? gatheringWrite(to.stream) : (chunk: Buffer) => to.stream.write(chunk);
  const paused = watchPaused(from, clock, () => abort('reset'));

  from.stream.on('data', (chunk: Buffer) => {
    count(chunk.length);
    if (write(chunk) || from.mustBeEmptied()) return;
    from.stream.pause();
    paused();
  });
  if (from.heard) from.stream.once('data', from.heard);
  to.stream.on('drain', () => from.stream.resume());
  const onEnd = () => {
    if (!from.endedCleanly()) return abort('reset');
    onceDone(to, ended);
    to.stream.end();
  };
  // A client that finished without a word has ended before anybody listened.
  if (from.stream.readableEnded) onEnd();
  else from.stream.once('end', onEnd);
  from.stream.on('error', (error) => abort(lossOf(error), error));
  // A leg that closes before it has ended and finished was cut, with or without an error.
  from.stream.once('close', () => {
    if (!from.closedCleanly()) abort('reset');
  });
}

/** Calls `done` once, when the leg has sent the last byte and the end. */
function onceDone(leg: Leg, done: () => void): void {
  const onFinish = () => {
    leg.stream.off('close', onClose);
    done();
  };
  const onClose = () => {
    leg.stream.off('finish', onFinish);
    if (leg.closedCleanly()) done();
  };
  leg.stream.once('finish', onFinish);
  leg.stream.once('close', onClose);
}

function lossOf(error: Error): ClosedReason {
  return error instanceof ConnectionError ? error.reason : 'reset';
}

/**
 * HTTP/2 hands out chunks of 16 KiB, and one write for each wakes the reader each time. Corked until the end of the turn
 * they go out as one, which cut the reader's CPU per byte by a third.
 */
function gatheringWrite(stream: Duplex): (chunk: Buffer) => boolean {
  let isCorked = false;
  const uncork = () => {
    isCorked = false;
    stream.uncork();
  };
  return (chunk) => {
    if (!isCorked) {
      isCorked = true;
      stream.cork();
      setImmediate(uncork);
    }
    return stream.write(chunk);
  };
}
