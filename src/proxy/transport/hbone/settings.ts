import type { Http2Session } from 'node:http2';
import { HandshakeError } from '../../../errors.ts';

/**
 * Waits for the peer's SETTINGS (RFC 9113 §3.4): the first proof that a client has anything to say, and that a server
 * has not refused our certificate, because a TLS 1.3 client that is refused sees a finished handshake first. `signal`
 * ends the wait with its reason. Throws `HandshakeError`; the session is destroyed then.
 */
export async function awaitSettings(session: Http2Session, whenClosed: string, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onAbort = () => reject(signal.reason);
  const onClose = () => reject(new HandshakeError('reset', whenClosed));
  session.once('remoteSettings', () => resolve());
  session.once('close', onClose);
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    await promise;
  } catch (error) {
    session.destroy();
    throw error;
  } finally {
    session.off('close', onClose);
    signal.removeEventListener('abort', onAbort);
  }
}
