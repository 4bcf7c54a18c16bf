import { HandshakeError } from '../../errors.ts';
import type { Identity } from '../../identity/identity.ts';
import type { Revocations } from '../../identity/revocations.ts';
import type { SpiffeId } from '../../identity/spiffe-id.ts';

/** What the sidecar knows of whom it trusts. */
export interface Trust {
  readonly bundles: Identity['bundles'];
  readonly revocations: Revocations;
}

/**
 * Why a handshake with whoever proves this identity would fail, whatever certificate he has for it: as `verifyPeer` refuses
 * him. Undefined when nothing is known against it.
 */
export function knownAgainst(id: SpiffeId, { bundles, revocations }: Trust): HandshakeError | undefined {
  if (!bundles.domains.has(id.trustDomain))
    return new HandshakeError('trust_domain', `There is no trust bundle for ${id.trustDomain}`);
  const revoked = whyRevoked(id, revocations);
  return revoked === undefined ? undefined : new HandshakeError('revoked', revoked);
}

/** Of the identity alone: single certificates of it may be revoked besides. */
export function whyRevoked(id: SpiffeId, revocations: Revocations): string | undefined {
  return revocations.whyRevoked({ spiffeId: id, certificates: [] }) ?? revocations.unknown;
}
