import type { Socket } from 'node:net';
import type { Clock } from '../../clock.ts';
import { ConnectionError } from '../../errors.ts';
import { isOtherRecord, readClientHello } from './client-hello.ts';
import type { HelloRoom } from './hello-room.ts';

/** What a captured connection begins with. */
export type Detected =
  /** TLS that offers a protocol of the mesh, which says nothing yet of who it is. */
  | { readonly kind: 'mesh_tls' }
  /** TLS of the application's own. */
  | { readonly kind: 'other_tls' }
  /** It begins like a TLS handshake and is none. */
  | { readonly kind: 'bad_record'; readonly why: string }
  | { readonly kind: 'plaintext'; readonly why: 'no-client-hello' | 'other-record' | 'silent' | 'unseen' }
  /** The client ended, or is gone, without a byte. */
  | { readonly kind: 'ended' }
  /** The client ended, or is gone, in the middle of its hello. */
  | { readonly kind: 'cut' };

/** Not a byte came for as long as was asked for; nothing was taken that comes later. */
export type Silent = { readonly kind: 'silent' };

/** Which protocols of ALPN say that a client means the mesh. */
const meshProtocols: ReadonlySet<string> = new Set(['istio', 'remora', 'istio-peer-exchange']);

/** How long a client may say nothing; milliseconds. */
export interface Silence {
  readonly clock: Clock;
  readonly silentMs: number;
}

/**
 * Looks at what the peer says first, and puts it back. Waits until that tells what it is; `signal` ends the wait with its
 * reason. Every byte that is not known to be something else is held, `maxHelloRecordBytes` and one read at most, as long as
 * there is `room`: else it throws `DeniedError`.
 */
export function detect(socket: Socket, signal: AbortSignal, room: HelloRoom): Promise<Detected>;
export function detect(
  socket: Socket,
  signal: AbortSignal,
  room: HelloRoom,
  silence: Silence,
): Promise<Detected | Silent>;
export function detect(
  socket: Socket,
  signal: AbortSignal,
  room: HelloRoom,
  silence?: Silence,
): Promise<Detected | Silent> {
  const { promise, resolve, reject } = Promise.withResolvers<Detected | Silent>();
  const held = createHeld();
  const hold = room.hold();
  let answer = readClientHello(held.bytes());

  const onReadable = () => {
    for (let chunk: Buffer | null = socket.read(); chunk !== null; chunk = socket.read()) {
      timer?.cancel();
      held.add(chunk);
      if (answer.kind === 'more' && held.bytes().length >= answer.atLeast)
        answer = readClientHello(held.bytes(), answer.progress);
      if (answer.kind === 'more') {
        try {
          hold.resize(held.roomBytes());
          continue;
        } catch (error) {
          return reject(error);
        }
      }
      // In this very turn: the end may be here as well, and nothing can be put back behind it. What is put back is readable again.
      ignore();
      socket.unshift(held.bytes());
      return resolve(detectedBy(answer, held.bytes()));
    }
  };
  const onEnd = () => resolve({ kind: held.bytes().length === 0 ? 'ended' : 'cut' });
  // Where we reset it ourselves, we have said why.
  const onClose = () => (socket.errored instanceof ConnectionError ? reject(socket.errored) : onEnd());
  const onAbort = () => reject(signal.reason);
  const timer = silence?.clock.after(silence.silentMs, () => resolve({ kind: 'silent' }));
  const ignore = () => {
    timer?.cancel();
    signal.removeEventListener('abort', onAbort);
    socket.off('readable', onReadable);
    socket.off('end', onEnd);
    socket.off('close', onClose);
  };
  signal.addEventListener('abort', onAbort, { once: true });
  socket.on('readable', onReadable);
  socket.once('end', onEnd);
  socket.once('close', onClose);
  if (signal.aborted) onAbort();
  else if (socket.readableEnded || socket.destroyed) onClose();
  return promise.finally(() => {
    ignore();
    hold.release();
  });
}

type Answer = Exclude<ReturnType<typeof readClientHello>, { kind: 'more' }>;

function detectedBy(answer: Answer, bytes: Buffer): Detected {
  switch (answer.kind) {
    case 'no':
      return { kind: 'plaintext', why: isOtherRecord(bytes) ? 'other-record' : 'no-client-hello' };
    case 'bad':
      return { kind: 'bad_record', why: answer.why };
    case 'hello':
      return { kind: answer.alpn.some((name) => meshProtocols.has(name)) ? 'mesh_tls' : 'other_tls' };
    default:
      return answer satisfies never;
  }
}

/** Bytes in one piece, which grows by doubling: of single bytes each is copied a few times at most, and not once for each that follows. */
function createHeld(): { add(chunk: Buffer): void; bytes(): Buffer; roomBytes(): number } {
  let room: Buffer = Buffer.alloc(0);
  let length = 0;
  return {
    add(chunk) {
      // Almost always there is one chunk alone.
      if (length === 0) room = chunk;
      else if (length + chunk.length > room.length) {
        const larger = Buffer.allocUnsafe(Math.max(2 * room.length, length + chunk.length));
        room.copy(larger, 0, 0, length);
        room = larger;
      }
      if (length > 0) chunk.copy(room, length);
      length += chunk.length;
    },
    bytes: () => room.subarray(0, length),
    roomBytes: () => room.length,
  };
}
