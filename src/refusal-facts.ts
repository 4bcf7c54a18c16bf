import type { Address } from './addresses.ts';
import type { ClosedReason, DeniedReason, HandshakeReason, Transport } from './outcomes.ts';

/** What a certificate says of itself, in printable form. Nothing of it need be true: it may have been refused. */
export interface PresentedCertificate {
  /** The URIs that it names, the first two of them. */
  readonly ids: readonly string[];
  /** Hexadecimal, upper case. */
  readonly serial: string;
  readonly issuer: string;
  /** Milliseconds since the epoch; NaN when it cannot be read. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** How the other side's sidecar has it in its log that it did not carry a connection of ours; words of our own lists. */
export type OtherRefusal =
  | { readonly outcome: 'closed'; readonly reason: ClosedReason }
  | { readonly outcome: 'denied'; readonly reason: DeniedReason }
  | { readonly outcome: 'handshake'; readonly reason: HandshakeReason };

/** Both ends of the TCP connection between two sidecars: the same on either side, so that lines of both can be matched. */
export interface TunnelEnds {
  /** The end of whoever dialled, `ip:port`. */
  readonly tunnelFrom: string;
  readonly tunnelTo: string;
}

/** What AuthorizationPolicies say of a connection, by their names. */
export interface PolicyDecision {
  /** The one that decides, `namespace/name`; undefined when none does. */
  readonly policy?: string | undefined;
  /** AUDIT policies that match. */
  readonly audited?: readonly string[] | undefined;
  /** What would be decided if those on trial were in force; undefined when there are none. */
  readonly dryRun?: PolicyTrial | undefined;
}

export type PolicyTrial =
  | { readonly kind: 'allowed'; readonly by: string | undefined }
  | { readonly kind: 'denied'; readonly reason: DeniedReason; readonly by: string | undefined };

/** What is known of a failed connection where it failed, for its log line. */
export interface RefusalFacts extends Partial<TunnelEnds> {
  /** The address that was dialled for it. */
  readonly endpoint?: Address | undefined;
  readonly service?: string | undefined;
  /** How it was dialled; absent where other facts say it. */
  readonly transport?: Transport;
  /** Short name of the tunnel; the same at both ends. */
  readonly tunnel?: string | undefined;
  /** The SPIFFE ID that the peer had to prove. */
  readonly expectedId?: string | undefined;
  /** The SPIFFE ID that the peer has proved. */
  readonly peerId?: string | undefined;
  /** The SPIFFE ID that this side has shown. */
  readonly localId?: string | undefined;
  readonly presented?: PresentedCertificate | undefined;
  readonly other?: OtherRefusal | undefined;
  readonly decision?: PolicyDecision | undefined;
}
