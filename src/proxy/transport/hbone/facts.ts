import type { Established } from '../../account.ts';
import type { MutualTls } from '../tls.ts';

/** What a tunnel says of each connection in it. */
export type TunnelFacts = Pick<
  Established,
  'transport' | 'security' | 'peerId' | 'localId' | 'tls' | 'tunnel' | 'tunnelFrom' | 'tunnelTo'
>;

export function tunnelFacts({ peer, local, negotiated, name, ends }: MutualTls): TunnelFacts {
  return {
    transport: 'hbone',
    security: 'mutual_tls',
    peerId: peer.spiffeId.uri,
    localId: local.spiffeId.uri,
    tls: negotiated,
    tunnel: name,
    ...ends,
  };
}
