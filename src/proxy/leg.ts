import type { Http2Stream } from 'node:http2';
import { constants } from 'node:http2';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { PeerState } from '../libc.ts';
import { finishOnClose, peerStateOf, resetOnClose } from '../libc.ts';

/**
 * One side of a connection as the relay sees it. An end and an abort are different things and stay different on the
 * other side: a cut must never look like the end of the data.
 */
export interface Leg {
  readonly stream: Duplex;
  /** Asked once, on `end`: whether the peer finished, as opposed to having gone away. */
  endedCleanly(): boolean;
  /**
   * Whether nothing more will come, but what is here can still be lost, or hides that the peer has gone: then it is taken
   * at once, whether or not the other side is slow. It is no more than a stream's window.
   */
  mustBeEmptied(): boolean;
  /** For a leg that hears nothing of its peer while it is paused: what the peer has done. After `cut`, abort it. */
  peerState?(): PeerState;
  /** Asked once, on `close`: whether both directions had come to their ends. */
  closedCleanly(): boolean;
  /** Called once, with the first byte of the peer. */
  heard?(): void;
  /** Asked once it is over: one sentence about what its end may have been besides what it looks like. */
  doubt?(): string | undefined;
  /** Ends both directions at once, so that the peer sees a reset. Idempotent. */
  abort(error: Error): void;
  /** Writes are collected for the rest of the event-loop turn: fewer, larger segments for a reader that wakes at each. */
  readonly gathersWrites: boolean;
}

/**
 * A TCP connection that was made with `allowHalfOpen`, or the TLS connection of one. A peer that ends TLS without saying so (a
 * FIN without close_notify) is taken to have ended: Node.js does not tell the two apart. Until our own end has gone out, closing it is a reset: the kernel
 * closes the sockets of a process that was killed, and would tell an application that its data is complete.
 */
export function socketLeg(socket: Socket): Leg {
  resetOnClose(socket);
  socket.once('finish', () => finishOnClose(socket));
  return {
    stream: socket,
    endedCleanly: () => !socket.errored,
    mustBeEmptied: () => false,
    peerState: () => peerStateOf(socket),
    closedCleanly: () => socket.readableEnded && socket.writableFinished,
    abort: () => resetSocket(socket),
    gathersWrites: true,
  };
}

/**
 * Resets a connection; one that is not open yet is only given up. Not with `resetAndDestroy`: that fails with EINVAL
 * while an end is on its way, and leaves the connection open for ever. Whoever waits for it is told `why`.
 */
export function resetSocket(socket: Socket, why?: Error): void {
  if (socket.destroyed) return;
  resetOnClose(socket);
  socket.destroy(why);
}

/**
 * A stream of an HBONE tunnel. Only `destroy(error)` reaches the peer as an abort (RST_STREAM without END_STREAM);
 * `close(code)` and `destroy()` send END_STREAM first, which the peer must take for the end of the data.
 */
export function tunnelLeg(stream: Http2Stream): Leg {
  const endOfStream = watchEndOfStream(stream);
  return {
    stream,
    endedCleanly: () => endOfStream.arrived(),
    mustBeEmptied: () => endOfStream.isOver(),
    // A stream that the peer resets after its own end is finished for us by Node.js, but it is `aborted`.
    closedCleanly: () => stream.readableEnded && endOfStream.arrived() && !stream.aborted && hasSentEverything(stream),
    abort: (error) => void stream.destroy(error),
    gathersWrites: false,
  };
}

/**
 * A stream that is closed without an error after our end has sent that end. Its tunnel may be gone in the same turn, and
 * then `finish` never comes.
 */
function hasSentEverything(stream: Http2Stream): boolean {
  return stream.writableFinished || (stream.writableEnded && stream.rstCode === constants.NGHTTP2_NO_ERROR);
}

/**
 * Whether END_STREAM has arrived. Node.js emits `end` also for RST_STREAM, and with code 0 after our own END_STREAM
 * neither `aborted` nor `rstCode` tells the two apart afterwards. They differ at the moment at which the read side is
 * finished: RST_STREAM has marked the stream as closed before, END_STREAM has not.
 *
 * The peer may close the tunnel right after the last end, and Node.js then drops what nobody has read yet; and for
 * RST_STREAM with code 0 it says nothing until all has been read. So a reader that was paused for a slow other side is woken
 * here.
 */
function watchEndOfStream(stream: Http2Stream): { arrived(): boolean; isOver(): boolean } {
  let arrived: boolean | undefined;
  const push = stream.push;
  stream.push = (chunk: unknown, encoding?: BufferEncoding) => {
    if (chunk === null) {
      arrived ??= !stream.closed && !stream.aborted;
      if (stream.listenerCount('data') > 0) stream.resume();
    }
    return push.call(stream, chunk, encoding);
  };
  const hasArrived = () => arrived === true || (arrived === undefined && stream.endAfterHeaders);
  return { arrived: hasArrived, isOver: () => arrived !== undefined || hasArrived() };
}
