import type { TLSSocket } from 'node:tls';
import type { HandshakeReason } from '../outcomes.ts';
import type { SpiffeId } from './spiffe-id.ts';
import type { TrustBundles } from './trust-bundle.ts';

declare const verified: unique symbol;

/** Proof that a peer holds an identity; made by `verifyPeer` and nothing else. */
export interface VerifiedPeer {
  readonly [verified]: true;
  readonly spiffeId: SpiffeId;
  readonly serial: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly rootFingerprint: string;
}

export interface PeerExpectation {
  readonly peerRole: 'client' | 'server';
  readonly bundles: TrustBundles;
  readonly expectedId: SpiffeId | undefined;
  readonly nowMs: number;
}

/** Verifies the peer of a finished handshake. Throws `HandshakeError`. */
export function verifyPeer(socket: TLSSocket, expectation: PeerExpectation): VerifiedPeer {
  throw new TypeError(`not built yet: ${socket.authorized} ${expectation.peerRole}`);
}

/** The closed reason of a failure of OpenSSL or of the socket. */
export function refusalOf(failure: unknown): HandshakeReason {
  throw new TypeError(`not built yet: ${failure}`);
}
