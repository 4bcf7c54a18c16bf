import type { KeyObject, X509Certificate } from 'node:crypto';
import type { SigningCertificate } from './ca.ts';

/** The roots of a trust domain at one moment: one vouches for what is issued, all are trusted. At most two, so a rotation ends before the next. */
export interface RootSet {
  /** Vouches for what is issued now. */
  readonly root: SigningCertificate;
  /** Trusted already; vouches for nothing before the switch. Its key may be kept elsewhere until then. */
  readonly next?: { readonly certificate: X509Certificate; readonly key?: KeyObject | undefined } | undefined;
  /** May have vouched for certificates that are in use; its key is gone. */
  readonly previous?: X509Certificate | undefined;
  /**
   * Name and key of the issuing root in a certificate that the previous root signed (RFC 4210 §4.4, "new with old"). Shown
   * by servers: who trusts only the previous root, because a copy of it lags behind, believes them still.
   */
  readonly bridge?: X509Certificate | undefined;
}

/** How far a rotation has come. */
export type RotationPhase = 'steady' | 'added' | 'switched';

export function phaseOf({ next, previous }: RootSet): RotationPhase {
  if (previous !== undefined) return 'switched';
  return next === undefined ? 'steady' : 'added';
}

/** Every root that is trusted, the oldest of the rotation first, so that a switch changes nothing in it. */
export function trustedRoots({ root, next, previous }: RootSet): readonly X509Certificate[] {
  return [previous, root.certificate, next?.certificate].filter((one) => one !== undefined);
}

/** SHA-256 of the DER, lower-case hexadecimal, as sidecars report it. */
export function fingerprintOf({ fingerprint256 }: X509Certificate): string {
  return fingerprint256.replaceAll(':', '').toLowerCase();
}

/** Whether both are there and the same certificate. */
export function isSameCertificate(one: X509Certificate | undefined, other: X509Certificate | undefined): boolean {
  return one !== undefined && other !== undefined && one.raw.equals(other.raw);
}

/** Whether two sets hold the same certificates in the same places. */
export function isSameRootSet(one: RootSet, other: RootSet): boolean {
  const placesOf = ({ root, next, previous, bridge }: RootSet) =>
    [root.certificate, next?.certificate, previous, bridge].map((certificate) => certificate?.fingerprint256).join();
  return placesOf(one) === placesOf(other) && (one.next?.key === undefined) === (other.next?.key === undefined);
}
