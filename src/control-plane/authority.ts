import type { KeyObject, X509Certificate } from 'node:crypto';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { timestamp } from '../clock.ts';
import type { SpiffeId } from '../identity/spiffe-id.ts';
import type { CertificateTemplate, SigningCertificate, SubjectName } from './ca.ts';
import { selfSignCertificate, signCertificate } from './ca.ts';

export interface AuthoritySettings {
  readonly trustDomain: string;
  /** Lifetime of a workload's certificate when it asks for none, and the longest that it can get. */
  readonly lifetimeMs: number;
  /** A shorter request gets this. */
  readonly minimumLifetimeMs: number;
}

/** What a workload or a server gets: its own certificate and the chain that proves it. */
export interface IssuedCertificate {
  readonly certificate: X509Certificate;
  /** PEM, leaf first, without the root. */
  readonly chainPem: string;
  readonly notAfterMs: number;
}

/** Signs for one trust domain. Both methods throw `AuthorityExpiredError` when the root can no longer vouch for anything. */
export interface Authority {
  readonly trustDomain: string;
  readonly root: X509Certificate;
  readonly rootPem: string;
  readonly rootNotAfterMs: number;
  /** `lifetimeMs` is brought within the limits; the certificate never outlives its issuer. */
  issueWorkload(publicKey: KeyObject, spiffeId: SpiffeId, lifetimeMs?: number): IssuedCertificate;
  /** A certificate for servers only: no SPIFFE ID, so it is nobody in the mesh. */
  issueServing(publicKey: KeyObject, names: readonly SubjectName[], lifetimeMs: number): IssuedCertificate;
}

/** The root ends so soon that no certificate of the shortest lifetime fits in front of it. */
export class AuthorityExpiredError extends Error {
  constructor(rootNotAfterMs: number) {
    super(`The root certificate ends at ${timestamp(rootNotAfterMs)} and vouches for nothing new`);
    this.name = 'AuthorityExpiredError';
  }
}

const dayMs = 86_400_000;
const rootLifetimeMs = 3650 * dayMs;
const issuingLifetimeMs = 7 * dayMs;
/** Authorities are valid from an hour ago, so that a node whose clock runs late trusts them at once. */
const authorityBackdateMs = 3_600_000;
const longestBackdateMs = 60_000;

/** Bounds of the lifetime that can be configured: half of an issuing certificate's is the most that always fits. */
export const lifetimeBoundsMs = { shortest: 10_000, longest: dayMs } as const;

/** A new P-256 root for 10 years. Its name is random, so that two authorities share neither subject nor key identifier. */
export function createRoot(trustDomain: string, nowMs: number): SigningCertificate {
  const { publicKey, privateKey: key } = newKeyPair();
  const template = authorityTemplate('root', trustDomain, publicKey, nowMs, nowMs + rootLifetimeMs);
  return { certificate: selfSignCertificate(template, key), key };
}

/**
 * The issuing certificate is made here, lives in memory for a week and is replaced when half of that has passed; the
 * root signs nothing else.
 */
export function createAuthority(root: SigningCertificate, clock: Clock, settings: AuthoritySettings): Authority {
  const { trustDomain, minimumLifetimeMs } = settings;
  const rootNotAfterMs = notAfterOf(root.certificate);
  let issuing: SigningCertificate | undefined;

  const currentIssuer = (nowMs: number): SigningCertificate => {
    if (issuing === undefined || !isFresh(issuing.certificate, nowMs, rootNotAfterMs)) {
      issuing = createIssuing(root, trustDomain, nowMs);
    }
    return issuing;
  };

  const issue = (wantedMs: number, template: Pick<CertificateTemplate, 'usage' | 'names' | 'publicKey'>) => {
    const nowMs = clock.now();
    if (rootNotAfterMs - nowMs < minimumLifetimeMs) throw new AuthorityExpiredError(rootNotAfterMs);
    const issuer = currentIssuer(nowMs);
    const notAfterMs = Math.min(nowMs + wantedMs, notAfterOf(issuer.certificate));
    const notBeforeMs = nowMs - backdateMs(wantedMs);
    const certificate = signCertificate({ ...template, notBeforeMs, notAfterMs }, issuer);
    return {
      certificate,
      chainPem: certificate.toString() + issuer.certificate.toString(),
      notAfterMs: notAfterOf(certificate),
    };
  };

  return {
    trustDomain,
    root: root.certificate,
    rootPem: root.certificate.toString(),
    rootNotAfterMs,
    issueWorkload: (publicKey, { uri }, lifetimeMs = settings.lifetimeMs) =>
      issue(Math.max(minimumLifetimeMs, Math.min(lifetimeMs, settings.lifetimeMs)), {
        usage: 'workload',
        names: [{ kind: 'uri', uri }],
        publicKey,
      }),
    issueServing: (publicKey, names, lifetimeMs) => issue(lifetimeMs, { usage: 'serving', names, publicKey }),
  };
}

/** A minute, but at most a tenth of the lifetime, so that a short certificate is not past its renewal when it is born. */
export function backdateMs(lifetimeMs: number): number {
  return Math.min(longestBackdateMs, lifetimeMs / 10);
}

/** A P-256 key pair that stays in this process. */
export function newKeyPair(): { readonly publicKey: KeyObject; readonly privateKey: KeyObject } {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}

/** Why `root` cannot be the root of this authority now, each as one sentence. `name` is what the operator calls it. */
export function rootProblems(root: SigningCertificate, trustDomain: string, nowMs: number, name: string): string[] {
  const { certificate, key } = root;
  const names = certificate.subjectAltName ?? '';
  const problems: string[] = [];
  if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') problems.push(`The key of ${name} is not a P-256 key`);
  else if (!certificate.checkPrivateKey(key)) problems.push(`${name} was made for another key than the one beside it`);
  if (!certificate.ca) problems.push(`${name} is not the certificate of an authority, expected CA:TRUE`);
  if (names !== `URI:spiffe://${trustDomain}`) {
    problems.push(`${name} is for '${names}', expected the trust domain 'spiffe://${trustDomain}'`);
  }
  if (notAfterOf(certificate) <= nowMs) problems.push(`${name} expired at ${timestamp(notAfterOf(certificate))}`);
  return problems;
}

/** The trust domain that a root of ours is for; empty for another certificate. */
export function trustDomainOf(root: X509Certificate): string {
  return /^URI:spiffe:\/\/([^/,]+)$/.exec(root.subjectAltName ?? '')?.[1] ?? '';
}

function createIssuing(root: SigningCertificate, trustDomain: string, nowMs: number): SigningCertificate {
  const { publicKey, privateKey: key } = newKeyPair();
  const notAfterMs = Math.min(nowMs + issuingLifetimeMs, notAfterOf(root.certificate));
  const template = authorityTemplate('issuing', trustDomain, publicKey, nowMs, notAfterMs);
  return { certificate: signCertificate(template, root), key };
}

function authorityTemplate(
  usage: 'root' | 'issuing',
  trustDomain: string,
  publicKey: KeyObject,
  nowMs: number,
  notAfterMs: number,
): CertificateTemplate {
  return {
    usage,
    commonName: `Remora ${usage} ${randomBytes(8).toString('hex')}`,
    // X.509-SVID 4.1: a signing certificate is itself an SVID, of the trust domain alone.
    names: [{ kind: 'uri', uri: `spiffe://${trustDomain}` }],
    publicKey,
    notBeforeMs: nowMs - authorityBackdateMs,
    notAfterMs,
  };
}

/** Also false after the clock went back to before the certificate. */
function isFresh(certificate: X509Certificate, nowMs: number, rootNotAfterMs: number): boolean {
  const notAfterMs = notAfterOf(certificate);
  const isLastOfItsRoot = notAfterMs === rootNotAfterMs;
  return (
    nowMs >= certificate.validFromDate.getTime() && (isLastOfItsRoot || notAfterMs - nowMs > issuingLifetimeMs / 2)
  );
}

function notAfterOf(certificate: X509Certificate): number {
  return certificate.validToDate.getTime();
}
