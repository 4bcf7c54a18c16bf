import type { RenewalError } from '../../errors.ts';
import type { Identity } from '../../identity/identity.ts';
import type { RenewalReason } from '../../outcomes.ts';

/** Where the identity of this sidecar comes from. Whoever holds one has a first identity already. */
export interface IdentitySource {
  /** Pulled at each use; never undefined. May have expired: whoever uses it compares `notAfterMs` with the clock. */
  current(): Identity;
  /** Tells of each later generation. Returns the function that ends the subscription. */
  subscribe(listener: (identity: Identity) => void): () => void;
  renewal(): RenewalState;
  close(): Promise<void>;
}

/** What a person wants to know about the renewals; wall times in milliseconds since the epoch. */
export interface RenewalState {
  /** Undefined when something else renews: the files are only read. */
  readonly nextAttemptMs: number | undefined;
  /** Undefined after a success. */
  readonly lastFailure: { readonly reason: RenewalReason; readonly message: string; readonly atMs: number } | undefined;
  /** The clock of the control plane minus ours; undefined when it is not known. */
  readonly clockSkewMs: number | undefined;
}

/** Sees every attempt; for logs and metrics. */
export interface RenewalObserver {
  /** `nextAttemptMs` is how long until then; undefined when something else renews. */
  renewed(identity: Identity, nextAttemptMs: number | undefined): void;
  /** The identity in use, if there is one, is kept. */
  renewalFailed(reason: RenewalReason, error: RenewalError, nextAttemptMs: number): void;
  /** Trust bundles that came cannot be used; those in use are kept. */
  bundlesRefused(error: RenewalError): void;
}
