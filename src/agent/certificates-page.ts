import type { X509Certificate } from 'node:crypto';
import type { CertificatesPage, ShownCertificate, ShownPeers } from '../admin-api.ts';
import { timestamp } from '../clock.ts';
import type { Identity } from '../identity/identity.ts';
import { remainingMs } from '../identity/identity.ts';
import type { Revocations } from '../identity/revocations.ts';
import type { TrustAnchor } from '../identity/trust-bundle.ts';
import { renewalReasons } from '../outcomes.ts';
import type { RenewalState } from './identity-sources/source.ts';
import type { PeerCounts, RootUse } from './root-use.ts';
import { removalOf } from './root-use.ts';

/** The identity in use, and what becomes of it. */
export interface HeldIdentity {
  readonly current: Identity;
  readonly renewal: RenewalState;
}

export interface CertificatesShown extends HeldIdentity {
  readonly peers: PeerCounts;
  readonly revocations: Pick<Revocations, 'counts' | 'unknown' | 'whyRevoked'>;
  /** Wall time, milliseconds since the epoch. */
  readonly nowMs: number;
}

/** Everything about the identity in use and the roots that it trusts; never a key. */
export function certificatesPageOf({
  current,
  renewal,
  peers,
  revocations,
  nowMs,
}: CertificatesShown): CertificatesPage {
  const { nextAttemptMs, lastFailure, clockSkewMs } = renewal;
  const { sinceMs } = peers;
  const uses = peers.byRoot();
  const rootOf = ({ certificate, fingerprint }: TrustAnchor) => {
    const use = uses.get(fingerprint);
    const isOurs = fingerprint === current.rootFingerprint;
    return { ...shown(certificate), peers: shownPeers(use, nowMs), ...removalOf({ isOurs, use, sinceMs, nowMs }) };
  };
  const domains = [...current.bundles.domains];
  const trusted = new Set(domains.flatMap(([, anchors]) => anchors.map(({ fingerprint }) => fingerprint)));
  return {
    now: timestamp(nowMs),
    spiffeId: current.spiffeId.uri,
    generation: current.generation,
    isExpired: remainingMs(current, nowMs) <= 0,
    endedBecause: current.endedBecause ?? null,
    isRevoked: isIdentityRevoked(current, revocations),
    notBefore: timestamp(current.notBeforeMs),
    notAfter: timestamp(current.notAfterMs),
    chain: current.chain.map(shown),
    issuedBy: current.rootFingerprint,
    nextRenewal: nextAttemptMs === undefined ? null : timestamp(nextAttemptMs),
    lastFailure: lastFailure === undefined ? null : shownRenewalFailure(lastFailure),
    clockSkewSeconds: clockSkewMs === undefined ? null : clockSkewMs / 1000,
    revocations: { ...revocations.counts, unknown: revocations.unknown ?? null },
    peersSince: timestamp(sinceMs),
    trustBundles: Object.fromEntries(domains.map(([domain, anchors]) => [domain, anchors.map(rootOf)])),
    removedRoots: [...uses]
      .filter(([root, { recent, unnamed }]) => !trusted.has(root) && recent.size + unnamed > 0)
      .map(([fingerprint, use]) => ({ fingerprint, peers: shownPeers(use, nowMs) })),
  };
}

/** Whatever its certificate: the next one for it is refused as well. */
export function isIdentityRevoked({ spiffeId }: Identity, { whyRevoked }: Pick<Revocations, 'whyRevoked'>): boolean {
  return whyRevoked({ spiffeId, certificates: [] }) !== undefined;
}

/** In words. */
export function shownRenewalFailure({
  reason,
  message,
  atMs,
}: NonNullable<RenewalState['lastFailure']>): NonNullable<CertificatesPage['lastFailure']> {
  return { reason, ...renewalReasons[reason], message, at: timestamp(atMs) };
}

/** The book was asked after `nowMs`: whoever is connected was last seen now. */
function shownPeers(use: RootUse | undefined, nowMs: number): ShownPeers {
  const seen = (atMs: number) => timestamp(Math.min(atMs, nowMs));
  if (use === undefined) return { open: 0, recent: [], unnamed: 0, lastSeen: null };
  const recent = [...use.recent].sort(([, a], [, b]) => b - a);
  return {
    open: use.open,
    recent: recent.map(([spiffeId, atMs]) => ({ spiffeId, lastSeen: seen(atMs) })),
    unnamed: use.unnamed,
    lastSeen: seen(use.lastSeenMs),
  };
}

function shown(certificate: X509Certificate): ShownCertificate {
  return {
    subject: certificate.subject ?? '',
    issuer: certificate.issuer ?? '',
    serial: certificate.serialNumber,
    notBefore: certificate.validFromDate.toISOString(),
    notAfter: certificate.validToDate.toISOString(),
    fingerprint: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
    pem: certificate.toString(),
  };
}
