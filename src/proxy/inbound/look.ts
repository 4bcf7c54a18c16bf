import type { Socket } from 'node:net';
import { HandshakeError } from '../../errors.ts';
import type { InboundRequest } from '../../policy/authorize.ts';
import { authorize, decideInbound } from '../../policy/authorize.ts';
import type { Mode } from '../../policy/mode.ts';
import { untilClosed, withDeadline } from '../deadline.ts';
import { resetSocket } from '../leg.ts';
import type { CaptureParts } from './capture.ts';
import type { Delivered } from './deliver.ts';
import { deliver } from './deliver.ts';
import type { Detected } from './detect.ts';
import { detect } from './detect.ts';
import { firstToSpeak, silenceLimits } from './silence.ts';
import type { InboundSettings } from './tunnel.ts';

/** A captured connection of which nothing is known yet. */
export interface Unseen {
  readonly socket: Socket;
  /** Monotonic: deadlines count from there. */
  readonly acceptedAtMs: number;
  /** What it asks for if it turns out to have no identity. */
  readonly plaintext: InboundRequest;
}

export interface Seen {
  readonly detected: Detected;
  /** The application, where it was dialled because the client was silent; not a byte of it was taken. */
  readonly delivered: Delivered | undefined;
}

/**
 * What a captured connection begins with. Under STRICT silence ends at the deadline of the handshake; under PERMISSIVE the
 * application is dialled, and may speak first, where policies permit a peer without identity; under DISABLE nobody looks.
 * Throws `HandshakeError`, `DeniedError` or `ConnectionError`; the application is not connected then.
 */
export async function look(from: Unseen, mode: Mode, parts: CaptureParts, settings: InboundSettings): Promise<Seen> {
  const { socket, plaintext } = from;
  if (mode === 'DISABLE') return seen({ kind: 'plaintext', why: 'unseen' });
  if (mode === 'PERMISSIVE') {
    const { clock, greetings, policy, helloRoom } = parts;
    // So that a greeting can be there by the time at which it is passed on.
    const silentMs = Math.min(silenceLimits.beforeDialMs, greetings.heldMs(plaintext.destination.port) / 2);
    const first = await unproved(from, parts, settings, (signal) =>
      detect(socket, signal, helloRoom, { clock, silentMs }),
    );
    if (first.kind !== 'silent') return seen(first);
    if (decideInbound(plaintext, policy.current(), settings.floor).kind === 'permitted')
      return dialAndLook(from, parts, settings);
  }
  return seen(await unproved(from, parts, settings, (signal) => detect(socket, signal, parts.helloRoom)));
}

const seen = (detected: Detected): Seen => ({ detected, delivered: undefined });

/** Dials the application for a client that is silent, and listens to both. */
async function dialAndLook(from: Unseen, parts: CaptureParts, settings: InboundSettings): Promise<Seen> {
  const { socket, acceptedAtMs, plaintext } = from;
  const { clock, greetings, policy, helloRoom } = parts;
  const { port } = plaintext.destination;
  const permit = authorize(plaintext, policy.current(), settings.floor);
  const gone = untilClosed(socket);
  const delivered = await deliver(permit, parts, settings, gone);
  // Nothing carries it yet, and so nobody else listens; it shows as a close.
  delivered.application.on('error', () => undefined);
  try {
    const leftMs = (ofMs: number) => Math.max(0, ofMs - (clock.monotonic() - acceptedAtMs));
    const ends = { heldMs: leftMs(greetings.heldMs(port)), settledMs: leftMs(settings.handshakeTimeoutMs) };
    const first = await firstToSpeak(socket, delivered.application, clock, ends);
    gone.throwIfAborted();
    if (first === 'greeting') greetings.spoken(port);
    if (first !== 'client') return { detected: { kind: 'plaintext', why: 'silent' }, delivered };
    return {
      detected: await inTime(from, parts, settings, undefined, (signal) => detect(socket, signal, helloRoom)),
      delivered,
    };
  } catch (error) {
    resetSocket(delivered.application);
    delivered.release();
    throw error;
  }
}

/** Takes a place among the peers that have proved nothing. */
function unproved<T>(
  from: Unseen,
  parts: CaptureParts,
  settings: InboundSettings,
  detecting: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { signal, end } = parts.inFlight.begin();
  return inTime(from, parts, settings, signal, detecting).finally(end);
}

/** One deadline for everything until it is known what the peer is, and for its handshake after that. */
function inTime<T>(
  { socket, acceptedAtMs, plaintext }: Unseen,
  { clock }: CaptureParts,
  { handshakeTimeoutMs }: InboundSettings,
  outer: AbortSignal | undefined,
  detecting: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const at = `within ${handshakeTimeoutMs} ms on port ${plaintext.destination.port}`;
  const late = () =>
    new HandshakeError(
      'timeout',
      socket.bytesRead > 0
        ? `The peer did not finish its ClientHello ${at}`
        : `The peer said nothing ${at}, where it has to prove who it is: a client without a sidecar that waits for the server to speak first does so`,
    );
  const leftMs = Math.max(0, handshakeTimeoutMs - (clock.monotonic() - acceptedAtMs));
  return withDeadline(clock, leftMs, late, outer, detecting);
}
