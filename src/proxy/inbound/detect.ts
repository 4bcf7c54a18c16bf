import type { Socket } from 'node:net';

/** What a captured connection begins with. */
export type Detected =
  | { readonly kind: 'tls' }
  | { readonly kind: 'plaintext'; readonly why: 'no-client-hello' }
  | { readonly kind: 'ended' };

/** ContentType handshake, RFC 8446 §5.1. */
const handshakeRecord = 0x16;

/**
 * Looks at the first byte and puts it back. Waits until the peer speaks or ends; `signal` ends the wait with its reason.
 */
export async function detect(socket: Socket, signal: AbortSignal): Promise<Detected> {
  const first = await peek(socket, signal);
  if (first === undefined) return { kind: 'ended' };
  return first === handshakeRecord ? { kind: 'tls' } : { kind: 'plaintext', why: 'no-client-hello' };
}

function peek(socket: Socket, signal: AbortSignal): Promise<number | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<number | undefined>();
  const onAbort = () => reject(signal.reason);
  const onClose = () => resolve(undefined);
  const onReadable = () => {
    const chunk: Buffer | null = socket.read();
    if (chunk !== null) socket.unshift(chunk);
    resolve(chunk?.[0]);
  };
  signal.addEventListener('abort', onAbort, { once: true });
  socket.once('readable', onReadable);
  socket.once('close', onClose);
  if (signal.aborted) onAbort();
  return promise.finally(() => {
    signal.removeEventListener('abort', onAbort);
    socket.off('readable', onReadable);
    socket.off('close', onClose);
  });
}
