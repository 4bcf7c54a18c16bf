import type { Clock } from '../../clock.ts';
import { RenewalError } from '../../errors.ts';
import { readCertificate } from '../../identity/certificate.ts';
import type { Identity } from '../../identity/identity.ts';
import type { Revocations } from '../../identity/revocations.ts';
import { shortestRenewalMs } from '../renewal-timetable.ts';
import type { RenewalObserver, RenewalState } from './source.ts';

/** What is revoked, by whoever says so. */
export interface RevocationSource {
  current(): Revocations;
  /** Tells of each change. */
  subscribe(listener: () => void): () => void;
}

export interface RevocationGuardParts {
  readonly clock: Clock;
  readonly revocations: RevocationSource;
  readonly observer: RenewalObserver;
}

/** Looks after our own certificate: once what is revoked names it, every peer refuses it. */
export interface RevocationGuard {
  /** Throws `RenewalError` for an identity that is revoked already. */
  refuse(identity: Identity): void;
  /** The identity to look after from now on. */
  watch(identity: Identity): void;
  /** As it may be used: over from now on while the watched one is revoked. */
  apply(identity: Identity): Identity;
  /** Why the watched one is over; undefined when it is not. */
  failure(): RenewalState['lastFailure'];
  close(): void;
}

/** `onChange` is called when the watched identity is revoked, or no longer is, and whenever else the revocations change. */
export function guardAgainstRevocation(
  { clock, revocations, observer }: RevocationGuardParts,
  onChange: (change: 'revoked' | 'lifted' | 'none') => void,
): RevocationGuard {
  let watched: Identity | undefined;
  let failure: RenewalState['lastFailure'];
  const heed = () => {
    const error = watched && ownRevocation(watched, revocations.current());
    const was = failure;
    failure = error && { reason: error.reason, message: error.message, atMs: was?.atMs ?? clock.now() };
    if ((was === undefined) === (failure === undefined)) return onChange('none');
    if (error !== undefined) observer.renewalFailed(error.reason, error, shortestRenewalMs);
    onChange(error === undefined ? 'lifted' : 'revoked');
  };
  const unsubscribe = revocations.subscribe(heed);
  return {
    refuse(identity) {
      const error = ownRevocation(identity, revocations.current());
      if (error !== undefined) throw error;
    },
    watch(identity) {
      watched = identity;
      failure = undefined;
    },
    apply: (identity) =>
      failure === undefined
        ? identity
        : { ...identity, notAfterMs: Math.min(identity.notAfterMs, failure.atMs), endedBecause: failure.message },
    failure: () => failure,
    close: unsubscribe,
  };
}

function ownRevocation({ spiffeId, chain }: Identity, { whyRevoked }: Revocations): RenewalError | undefined {
  const why = whyRevoked({ spiffeId, certificates: chain.map(({ raw }) => readCertificate(raw)) });
  return why === undefined ? undefined : new RenewalError('revoked', `No peer accepts the certificate: ${why}`);
}
