import { formatAddress } from '../../../addresses.ts';
import { ConnectionError, HandshakeError, withFacts } from '../../../errors.ts';
import { withDeadline } from '../../deadline.ts';
import type { ProxyParts } from '../../parts.ts';
import type { Proofs } from '../../proofs.ts';
import { tunnelEndsOf } from '../../socket-ends.ts';
import type { SocketOptions } from '../connect.ts';
import { openSocket } from '../connect.ts';
import { originateMutualTls } from '../tls.ts';
import { tellGivenUp } from './given-up.ts';
import type { TunnelKey } from './pool.ts';
import type { Tunnel, TunnelLimits } from './tunnel.ts';
import { startTunnel } from './tunnel.ts';

export interface DialParts extends Pick<ProxyParts, 'clock' | 'log' | 'observer' | 'refusals' | 'revocations'> {
  readonly proofs: Proofs;
}

export interface DialSettings extends TunnelLimits, SocketOptions {
  readonly connectTimeoutMs: number;
  /** For TLS and the peer's SETTINGS together. */
  readonly handshakeTimeoutMs: number;
}

/** Makes tunnels: TCP, then mutual TLS with exactly the expected peer, then HTTP/2. Throws `ConnectionError` or `HandshakeError`. */
export function createDialer(
  parts: DialParts,
  settings: DialSettings,
): (key: TunnelKey, onClose: (tunnel: Tunnel) => void) => Promise<Tunnel> {
  const { clock, observer, revocations, proofs } = parts;
  const judging = { nowMs: clock.now, revocations: revocations.current };
  const connectTo = ({ address }: TunnelKey) => {
    const late = () =>
      new ConnectionError('upstream_timeout', `${formatAddress(address)} did not accept a connection in time`);
    return withDeadline(clock, settings.connectTimeoutMs, late, undefined, (signal) =>
      openSocket(address, { ...settings, allowHalfOpen: false }, signal),
    );
  };

  return async (key, onClose) => {
    const raw = await connectTo(key).catch((error: unknown) => {
      throw withFacts(error, { tunnelTo: formatAddress(key.address) });
    });
    const ends = tunnelEndsOf(raw, true);
    const startedMs = clock.monotonic();
    const late = () =>
      new HandshakeError('timeout', `The handshake with ${formatAddress(key.address)} did not finish in time`);
    try {
      return await withDeadline(clock, settings.handshakeTimeoutMs, late, undefined, async (signal) => {
        const mutualTls = await originateMutualTls(raw, key.local, key.expectedId, judging, 'tunnel', signal);
        const closed = () => {
          observer.tunnelClosed('outbound');
          onClose(tunnel);
        };
        const onGivenUp = tellGivenUp(parts, 'outbound', mutualTls);
        const ofTunnel = { clock, proofs, onClose: closed, onGivenUp };
        const tunnel = await startTunnel(key, mutualTls, ofTunnel, settings, signal);
        observer.handshakeSucceeded('outbound', clock.monotonic() - startedMs, mutualTls.negotiated);
        observer.tunnelOpened('outbound');
        return tunnel;
      });
    } catch (error) {
      if (error instanceof HandshakeError) observer.handshakeFailed('outbound', error.reason);
      throw withFacts(error, { ...ends, localId: key.local.spiffeId.uri });
    }
  };
}
