import type { Socket } from 'node:net';
import type { Address } from '../addresses.ts';
import { canonicalIp, formatAddress } from '../addresses.ts';
import type { TunnelEnds } from '../refusal-facts.ts';

/** Who dialled a socket that was accepted; undefined when it is gone already. */
export function peerAddressOf({ remoteAddress, remotePort }: Socket): Address | undefined {
  return addressOf(remoteAddress, remotePort);
}

/** The two ends of a connection that this side dialled or accepted; empty when it is gone already. */
export function tunnelEndsOf(socket: Socket, isDialled: boolean): TunnelEnds | Record<string, never> {
  const near = addressOf(socket.localAddress, socket.localPort);
  const far = peerAddressOf(socket);
  if (near === undefined || far === undefined) return {};
  const [local, remote] = [formatAddress(near), formatAddress(far)];
  return isDialled ? { tunnelFrom: local, tunnelTo: remote } : { tunnelFrom: remote, tunnelTo: local };
}

function addressOf(text: string | undefined, port: number | undefined): Address | undefined {
  // A zone belongs to this host alone.
  const ip = text === undefined ? undefined : canonicalIp(text.replace(/%.*$/, ''));
  return ip === undefined || port === undefined ? undefined : { ip, port };
}
