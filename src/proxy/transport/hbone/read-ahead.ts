import type { TLSSocket } from 'node:tls';
import type { Clock, Timer } from '../../../clock.ts';

/** Between two looks at a tunnel, and while a write of it waits. */
export const readAheadLimits = { intervalMs: 1000, waitingMs: 20 } as const;

const { intervalMs, waitingMs } = readAheadLimits;

/** The native end of a socket that an HTTP/2 session has taken over; Node.js has no other words for it. */
interface NativeSocket {
  /** Bytes of the write that waits for the kernel. */
  readonly writeQueueSize: number;
  /** With those that wait: it changes when a write begins. */
  readonly bytesWritten: number;
  readStart(): void;
  readStop(): void;
}

/**
 * An HTTP/2 session of Node.js reads nothing while a write of its own waits, so two peers that both have more to say than
 * the kernel takes would wait for each other for ever. What the peer says during a write that waits is read here: then
 * the peer's write ends, it reads, and ours ends as well. `limitBytes` at most for one write; the windows of HTTP/2 allow a
 * peer no more. Runs until the returned function is called.
 */
export function readAhead(socket: TLSSocket, clock: Clock, limitBytes: number): () => void {
  let timer: Timer;
  let written = 0;
  let read = 0;
  let ahead = 0;

  const look = () => {
    const native = (socket as unknown as { _handle: NativeSocket | null })._handle;
    if (native === null) return;
    const isWaiting = native.writeQueueSize > 0;
    // What blocked once will soon do so again.
    const delayMs = isWaiting || ahead > 0 ? waitingMs : intervalMs;
    if (isWaiting && native.bytesWritten === written) {
      ahead += socket.bytesRead - read;
      if (ahead < limitBytes) native.readStart();
      else native.readStop();
    } else if (ahead > 0) {
      native.readStart();
      ahead = 0;
    }
    written = native.bytesWritten;
    read = socket.bytesRead;
    watch(delayMs);
  };
  // Looks at many tunnels are made together: a wake-up costs more than many of them.
  const watch = (delayMs: number) => {
    timer = clock.after(delayMs - (clock.monotonic() % waitingMs), look);
  };
  watch(intervalMs);
  return () => timer.cancel();
}
