import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2';
import { connect, constants } from 'node:http2';
import type { Address } from '../../../addresses.ts';
import { formatAddress } from '../../../addresses.ts';
import type { Clock } from '../../../clock.ts';
import { ConnectionError, withFacts } from '../../../errors.ts';
import { withDeadline } from '../../deadline.ts';
import type { Leg } from '../../leg.ts';
import { tunnelLeg } from '../../leg.ts';
import type { Proof } from '../../proof.ts';
import type { Proofs } from '../../proofs.ts';
import type { MutualTls } from '../tls.ts';
import { endSession } from './end-session.ts';
import { tunnelFacts } from './facts.ts';
import type { OnGivenUp } from './given-up.ts';
import type { TunnelKey } from './pool.ts';
import { awaitSettings } from './settings.ts';
import type { TunnelLifeLimits } from './tunnel-life.ts';
import { liveTunnel, TunnelRetiredError } from './tunnel-life.ts';
import type { ProofReply, ProofRequest, TunnelCapacity } from './wire.ts';
import { connectHeaders, proofReplyIn, proofRequestHeaders, refusalFrom, sessionOptions } from './wire.ts';

export interface TunnelLimits extends TunnelCapacity, TunnelLifeLimits {
  /** From the request to the peer's answer; longer than the peer's own connect deadline, so that its reason arrives. */
  readonly openTimeoutMs: number;
}

/** The client end of one HBONE tunnel. */
export interface Tunnel {
  /** Short, for people, and the same at both ends. */
  readonly name: string;
  readonly key: TunnelKey;
  readonly mutualTls: MutualTls;
  readonly proof: Proof;
  /** Wall time, milliseconds since the epoch. */
  readonly openedAtMs: number;
  /** Resolves when it has ended: what was sent in it has arrived, unless it was destroyed or lost. */
  readonly closed: Promise<void>;
  /** Streams of ours that are open or asked for. */
  streams(): number;
  /** Whether it takes a further stream. */
  hasRoom(): boolean;
  /** It takes nothing new, and ends when its last stream does. */
  isRetiring(): boolean;
  /**
   * Asks the peer for a connection to `destination`; resolves when it has answered 200, and only then application bytes
   * may be read. Throws `DeniedError` or `ConnectionError` for its refusal, `TunnelRetiredError` for a race.
   */
  open(destination: Address, connectionId: string, signal: AbortSignal): Promise<Leg>;
  /** Shows the peer that an older tunnel is ours as well. Throws as `open` does, but has no refusals. */
  prove(older: ProofRequest, signal: AbortSignal): Promise<ProofReply>;
  /** No new streams; closed when the last one has ended. */
  retire(): void;
  /** Ends it and its streams at once, as an abort. */
  destroy(): void;
}

export interface TunnelParts {
  readonly clock: Clock;
  readonly proofs: Proofs;
  onClose(): void;
  readonly onGivenUp: OnGivenUp;
}

/** Makes a tunnel of an authenticated connection; resolves when the peer's SETTINGS have come. Throws `HandshakeError`. */
export async function startTunnel(
  key: TunnelKey,
  mutualTls: MutualTls,
  parts: TunnelParts,
  limits: TunnelLimits,
  signal: AbortSignal,
): Promise<Tunnel> {
  const session = connect('https://hbone.invalid', {
    ...sessionOptions(limits),
    createConnection: () => mutualTls.socket,
  });
  // The reason reaches the streams; the session itself has nobody else to tell.
  session.on('error', () => undefined);
  try {
    await awaitSettings(
      session,
      'The peer closed the connection after the handshake; it may have refused our certificate',
      signal,
    );
  } catch (error) {
    endSession(session, mutualTls.socket);
    throw error;
  }
  session.setLocalWindowSize(limits.tunnelWindowBytes);
  return createTunnel(session, key, mutualTls, parts, limits);
}

function createTunnel(
  session: ClientHttp2Session,
  key: TunnelKey,
  mutualTls: MutualTls,
  { clock, proofs, onClose, onGivenUp }: TunnelParts,
  limits: TunnelLimits,
): Tunnel {
  const life = liveTunnel(session, mutualTls.socket, { clock, onGivenUp }, limits);
  const { begin, retire } = life;
  const proof = proofs.open({ ...mutualTls, direction: 'outbound', retire });
  void life.closed.then(() => {
    proof.close();
    onClose();
  });

  return {
    name: mutualTls.name,
    key,
    mutualTls,
    proof,
    openedAtMs: clock.now(),
    closed: life.closed,
    streams: life.streams,
    isRetiring: () => !life.isUsable(),
    hasRoom: () =>
      life.isUsable() &&
      life.streams() < Math.min(limits.maxStreams, session.remoteSettings.maxConcurrentStreams ?? limits.maxStreams),
    async open(destination, connectionId, signal) {
      const stream = begin(connectHeaders(destination, connectionId), false);
      const leg = tunnelLeg(stream);
      const late = () => {
        // A CONNECT that hangs says the same as a PING that does: use another tunnel for what is new.
        life.giveUp('a request for a connection was not answered in time');
        return new ConnectionError(
          'upstream_timeout',
          `No answer for ${formatAddress(destination)} through its sidecar in time`,
        );
      };
      try {
        await withDeadline(clock, limits.openTimeoutMs, late, signal, (ending) => accepted(stream, session, ending));
        return leg;
      } catch (error) {
        leg.abort(error as Error);
        // Also when the peer refused this one stream alone: it would refuse the next attempt as well.
        if (error instanceof TunnelRetiredError) retire();
        throw withFacts(error, tunnelFacts(mutualTls));
      }
    },
    async prove(older, signal) {
      const stream = begin(proofRequestHeaders(older), true);
      const late = () => {
        // The peer may have accepted it all the same: on this tunnel it would refuse it the next time.
        retire();
        return new ConnectionError('upstream_timeout', 'No answer to the proof of an older tunnel in time');
      };
      try {
        return await withDeadline(clock, limits.openTimeoutMs, late, signal, (ending) => replied(stream, ending));
      } finally {
        stream.close(constants.NGHTTP2_CANCEL);
      }
    },
    retire,
    destroy: () => life.end('The tunnel was ended'),
  };
}

function replied(stream: ClientHttp2Stream, signal: AbortSignal): Promise<ProofReply> {
  const { promise, resolve, reject } = Promise.withResolvers<ProofReply>();
  stream.on('error', () => undefined);
  stream.resume();
  stream.once('response', (headers) => resolve(proofReplyIn(headers)));
  stream.once('close', () => reject(new TunnelRetiredError('The tunnel closed before the peer answered')));
  signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  return promise;
}

/**
 * Resolves at the peer's 200. A stream that ends without an answer has carried no byte, whatever became of its tunnel. One
 * that the peer cancels on a tunnel that goes on was its decision, and is not a race.
 */
function accepted(stream: ClientHttp2Stream, session: ClientHttp2Session, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onAbort = () => reject(signal.reason);
  const onClose = () => {
    const isRace = stream.rstCode === constants.NGHTTP2_REFUSED_STREAM || session.closed || session.destroyed;
    reject(
      isRace
        ? new TunnelRetiredError('The tunnel closed before the peer answered')
        : new ConnectionError('tunnel_lost', 'The peer cancelled the request without an answer'),
    );
  };
  // After the answer the relay listens as well; before it, the close tells everything.
  stream.on('error', () => undefined);
  stream.once('response', (headers) => (headers[':status'] === 200 ? resolve() : reject(refusalFrom(headers))));
  stream.once('close', onClose);
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  return promise.finally(() => {
    stream.off('close', onClose);
    signal.removeEventListener('abort', onAbort);
  });
}
