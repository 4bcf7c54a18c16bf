import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import { constants, performServerHandshake } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import type { Clock, Timer } from '../../../clock.ts';
import { ConnectionError } from '../../../errors.ts';
import type { Leg } from '../../leg.ts';
import { tunnelLeg } from '../../leg.ts';
import type { MutualTls } from '../tls.ts';
import { closeSession, endSession } from './end-session.ts';
import type { OnGivenUp } from './given-up.ts';
import { watchLiveness } from './liveness.ts';
import { readAhead } from './read-ahead.ts';
import { awaitSettings } from './settings.ts';
import type { ProofRequest, TunnelCapacity } from './wire.ts';
import { acceptance, proofReplyHeaders, proofRequestIn, refusalHeaders, serverSessionOptions } from './wire.ts';

export interface ServedTunnelLimits extends TunnelCapacity {
  /** A tunnel without a stream for this long is closed; longer than the client's, so that the client chooses the moment. */
  readonly servedIdleTimeoutMs: number;
}

/** One request for a connection. Answer it once, with `accept` or `refuse`. */
export interface StreamRequest {
  readonly headers: IncomingHttpHeaders;
  /** Aborted when the peer gives up before the answer. */
  readonly signal: AbortSignal;
  /** Answers 200; from now on the stream carries the application's bytes. */
  accept(): Leg;
  /** Answers with the refusal that `error` stands for; after an answer it is a reset. */
  refuse(error: unknown, connectionId: string): void;
  /** Gives up: the peer sees a reset. */
  abort(error: Error): void;
}

/** The server end of one HBONE tunnel. */
export interface ServedTunnel {
  /** Short, for people, and the same at both ends. */
  readonly name: string;
  readonly mutualTls: MutualTls;
  /** Wall time, milliseconds since the epoch. */
  readonly openedAtMs: number;
  /** Resolves when it has ended: what was sent in it has arrived, unless it was destroyed or lost. */
  readonly closed: Promise<void>;
  /** Streams that are open. */
  streams(): number;
  /** It takes nothing new, and ends when its last stream does. */
  isRetiring(): boolean;
  /** Since when it has had no stream, monotonic; undefined while it has some, or is closing. */
  idleSinceMs(): number | undefined;
  /** GOAWAY: the peer opens no new streams; closed when the last one has ended. Idempotent. */
  retire(): void;
  /** Ends it and its streams at once. */
  destroy(): void;
}

/** What comes in through a tunnel. */
export interface TunnelRequests {
  onRequest(request: StreamRequest): void;
  /** The peer shows that an older tunnel is its own; undefined does not accept it. */
  onProof(request: ProofRequest): string | undefined;
  readonly onGivenUp: OnGivenUp;
}

/**
 * Serves HTTP/2 on an authenticated connection; resolves when the peer's SETTINGS have come. `signal` bounds that wait.
 * Throws `HandshakeError`.
 */
export async function serveTunnel(
  mutualTls: MutualTls,
  clock: Clock,
  limits: ServedTunnelLimits,
  { onRequest, onProof, onGivenUp }: TunnelRequests,
  signal: AbortSignal,
): Promise<ServedTunnel> {
  const session = performServerHandshake(mutualTls.socket, serverSessionOptions(limits));
  // Streams tell their own end; the session has nobody else to tell.
  session.on('error', () => undefined);
  let connections = 0;
  const usage = trackStreams(session, mutualTls.socket, clock, limits.servedIdleTimeoutMs, (stream, headers) => {
    const proof = proofRequestIn(headers);
    if (proof !== undefined) return answerProof(stream, onProof(proof));
    connections += 1;
    onRequest(requestOf(stream, headers));
  });
  try {
    // Node.js itself would wait without end for a client that finished TLS and sends no HTTP/2 preface.
    await awaitSettings(session, 'The peer closed the connection before its HTTP/2 preface', signal);
    session.setLocalWindowSize(limits.tunnelWindowBytes);
  } catch (error) {
    usage.cancel();
    throw error;
  }
  const end = (error?: Error) => endSession(session, mutualTls.socket, error);
  const stopWatching = watchLiveness(session, clock, {
    suspect: () => undefined,
    lost(why) {
      onGivenUp(why, connections);
      end(new ConnectionError('tunnel_lost', 'The peer stopped answering'));
    },
  });
  const stopReadingAhead = readAhead(mutualTls.socket, clock, limits.tunnelWindowBytes);
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  session.once('close', () => {
    stopWatching();
    stopReadingAhead();
    usage.cancel();
    resolve();
  });
  const { streams, idleSinceMs, retire } = usage;
  const isRetiring = () => session.closed || session.destroyed;
  const facts = { name: mutualTls.name, mutualTls, openedAtMs: clock.now() };
  return { ...facts, closed, streams, isRetiring, idleSinceMs, retire, destroy: () => end() };
}

/** Counts the streams. A tunnel that has had none for the idle timeout is closed, and one that is retired when its last one has ended. */
function trackStreams(
  session: ServerHttp2Session,
  socket: TLSSocket,
  clock: Clock,
  idleTimeoutMs: number,
  onStream: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void,
): { streams(): number; idleSinceMs(): number | undefined; retire(): void; cancel(): void } {
  let streams = 0;
  let idleSinceMs = 0;
  let timer: Timer | undefined;
  let isClosing = false;
  const close = () => {
    if (!isClosing) closeSession(session, socket, clock);
    isClosing = true;
  };
  const watch = () => {
    timer?.cancel();
    if (streams > 0 || session.destroyed) return;
    idleSinceMs = clock.monotonic();
    if (session.closed) close();
    else timer = clock.after(idleTimeoutMs, close);
  };
  session.on('stream', (stream, headers) => {
    streams += 1;
    timer?.cancel();
    stream.once('close', () => {
      streams -= 1;
      watch();
    });
    onStream(stream, headers);
  });
  watch();
  return {
    streams: () => streams,
    idleSinceMs: () => (streams > 0 || session.closed || session.destroyed ? undefined : idleSinceMs),
    retire() {
      session.close();
      watch();
    },
    cancel: () => timer?.cancel(),
  };
}

function answerProof(stream: ServerHttp2Stream, answer: string | undefined): void {
  stream.on('error', () => undefined);
  respondWhole(stream, proofReplyHeaders(answer));
}

/** Answers with headers alone. After a complete answer, NO_ERROR tells the peer to stop sending (RFC 9113 §8.1). */
function respondWhole(stream: ServerHttp2Stream, headers: OutgoingHttpHeaders): void {
  if (stream.destroyed || stream.closed) return;
  stream.respond(headers, { endStream: true });
  stream.close(constants.NGHTTP2_NO_ERROR);
}

function requestOf(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): StreamRequest {
  const controller = new AbortController();
  // Made before the first byte is read, so that it sees how the stream ends.
  const leg = tunnelLeg(stream);
  const onClose = () => controller.abort(new ConnectionError('reset', 'The peer gave up before the answer'));
  stream.on('error', () => undefined);
  stream.once('close', onClose);
  return {
    headers,
    signal: controller.signal,
    abort(error) {
      controller.abort(error);
      leg.abort(error);
    },
    accept() {
      stream.off('close', onClose);
      if (!stream.destroyed && !stream.closed) stream.respond(acceptance);
      return leg;
    },
    refuse(error, connectionId) {
      stream.off('close', onClose);
      if (stream.headersSent && !stream.destroyed && !stream.closed) return leg.abort(error as Error);
      respondWhole(stream, refusalHeaders(error, connectionId));
    },
  };
}
