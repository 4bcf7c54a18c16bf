import type { Established } from '../account.ts';
import type { MutualTls } from './tls.ts';

/** What is known of a connection that is mutual TLS by itself, without a tunnel around it. */
export type DirectFacts = Pick<Established, 'transport' | 'security' | 'peerId' | 'localId' | 'tls'>;

export function directFacts({ peer, local, negotiated }: MutualTls): DirectFacts {
  return {
    transport: 'direct',
    security: 'mutual_tls',
    peerId: peer.spiffeId.uri,
    localId: local.spiffeId.uri,
    tls: negotiated,
  };
}
