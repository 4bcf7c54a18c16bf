import type { Socket } from 'node:net';
import { HandshakeError } from '../../errors.ts';
import { withDeadline } from '../deadline.ts';
import { currentIdentity } from '../parts.ts';
import type { MutualTls, TlsUse } from '../transport/tls.ts';
import { acceptMutualTls } from '../transport/tls.ts';
import type { Handshakes } from './handshakes.ts';
import type { InboundParts, InboundSettings } from './tunnel.ts';

/** What a handshake is for, and the time that has passed of its deadline; milliseconds. */
export interface HandshakeStart {
  readonly use: TlsUse;
  readonly spentMs: number;
}

/**
 * One deadline for everything until the peer is known, and speaks HTTP/2 in a tunnel. A turn is for our work with the peer's hello: it
 * is taken once the peer has spoken, and given back when the event loop comes round. A peer that lets us wait holds none,
 * or a few strangers would keep everybody out. Resolves with what `serve` makes of the peer; throws `HandshakeError`.
 */
export async function handshake<T>(
  raw: Socket,
  inFlight: Handshakes,
  parts: Pick<InboundParts, 'clock' | 'handshakes' | 'identity' | 'observer' | 'revocations'>,
  settings: Pick<InboundSettings, 'handshakeTimeoutMs'>,
  serve: (mutualTls: MutualTls, signal: AbortSignal) => Promise<T>,
  { use, spentMs }: HandshakeStart = { use: 'tunnel', spentMs: 0 },
): Promise<T> {
  const { clock, handshakes, observer } = parts;
  const late = () =>
    new HandshakeError('timeout', `The handshake did not finish within ${settings.handshakeTimeoutMs} ms`);
  const current = inFlight.begin();
  const leftMs = Math.max(0, settings.handshakeTimeoutMs - spentMs);
  return withDeadline(clock, leftMs, late, current.signal, async (signal) => {
    await firstBytes(raw, signal);
    current.waitFor('us');
    setImmediate(await handshakes.take(signal));
    current.waitFor('peer');
    const startedMs = clock.monotonic();
    const judging = { nowMs: clock.now, revocations: parts.revocations.current };
    const mutualTls = await acceptMutualTls(raw, currentIdentity(parts), judging, use, signal);
    observer.handshakeSucceeded('inbound', clock.monotonic() - startedMs, mutualTls.negotiated);
    return serve(mutualTls, signal);
  }).finally(current.end);
}

function firstBytes(raw: Socket, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onAbort = () => reject(signal.reason);
  const onEnd = () => reject(new HandshakeError('reset', 'The peer closed the connection before it said anything'));
  signal.addEventListener('abort', onAbort, { once: true });
  raw.once('readable', resolve);
  raw.once('close', onEnd);
  return promise.finally(() => {
    signal.removeEventListener('abort', onAbort);
    raw.off('readable', resolve);
    raw.off('close', onEnd);
  });
}
