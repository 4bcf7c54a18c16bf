import type { KeyObject, X509Certificate } from 'node:crypto';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { timestamp } from '../clock.ts';
import type { SpiffeId } from '../identity/spiffe-id.ts';
import { parseTrustBundle, TrustBundleError } from '../identity/trust-bundle.ts';
import type { CertificateTemplate, SigningCertificate, SubjectName } from './ca.ts';
import { crossSignCertificate, selfSignCertificate, signCertificate } from './ca.ts';
import { holdRoots } from './held-roots.ts';
import type { RootSet } from './root-set.ts';
import { fingerprintOf, isSameCertificate, trustedRoots } from './root-set.ts';

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
  /** SHA-256 of the root that it chains to, lower-case hexadecimal. */
  readonly rootFingerprint: string;
  readonly notAfterMs: number;
}

/** Signs for one trust domain. Both methods throw `AuthorityExpiredError` when the root can no longer vouch for anything. */
export interface Authority {
  readonly trustDomain: string;
  /** As they are now: a rotation replaces them while certificates are issued. */
  readonly roots: RootSet;
  /** The root that vouches for what is issued now. */
  readonly root: X509Certificate;
  /** Every root that is to be trusted, PEM. */
  readonly rootPem: string;
  /** Of the root that vouches for what is issued now. */
  readonly rootNotAfterMs: number;
  /** Grows with each change of the roots, and from one run to the next. */
  readonly bundleSequence: number;
  /** What signs now; undefined before it has signed anything. */
  readonly issuing: X509Certificate | undefined;
  /** `lifetimeMs` is brought within the limits; the certificate never outlives its issuer. */
  issueWorkload(publicKey: KeyObject, spiffeId: SpiffeId, lifetimeMs?: number): IssuedCertificate;
  /**
   * A certificate for servers only: no SPIFFE ID, so it is nobody in the mesh. During a rotation its chain leads to either
   * root, because those who dial the control plane trust it by a file that may lag behind.
   */
  issueServing(publicKey: KeyObject, names: readonly SubjectName[], lifetimeMs: number): IssuedCertificate;
  /** From now on these. */
  replaceRoots(roots: RootSet): void;
  /** From now on another certificate signs, under the same root. */
  replaceIssuing(): void;
  /** Calls `listener` after each of these two, until the returned function is called. */
  subscribe(listener: () => void): () => void;
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

/** The issuing root of after a switch in a certificate by the root of before it, for `RootSet.bridge`. */
export function createBridge(root: X509Certificate, previous: SigningCertificate, nowMs: number): X509Certificate {
  const notAfterMs = Math.min(notAfterOf(root), notAfterOf(previous.certificate));
  return crossSignCertificate(root, { notBeforeMs: nowMs - authorityBackdateMs, notAfterMs }, previous);
}

/**
 * The issuing certificate is made here, lives in memory for a week and is replaced when half of that has passed, when the
 * root is another or when somebody asks for it; the root signs nothing else.
 */
export function createAuthority(initial: RootSet, clock: Clock, settings: AuthoritySettings): Authority {
  const { trustDomain, minimumLifetimeMs } = settings;
  const held = holdRoots(initial, clock);
  const rootNow = () => held.current.root.certificate;
  const listeners = new Set<() => void>();
  let issuing: { readonly by: X509Certificate; readonly issuer: SigningCertificate } | undefined;

  const currentIssuer = (nowMs: number): SigningCertificate => {
    const isUsable = isSameCertificate(issuing?.by, rootNow());
    if (!isUsable || !issuing || !isFresh(issuing.issuer.certificate, nowMs, notAfterOf(rootNow())))
      issuing = { by: rootNow(), issuer: createIssuing(held.current.root, trustDomain, nowMs) };
    return issuing.issuer;
  };

  const issue = (
    wantedMs: number,
    template: Pick<CertificateTemplate, 'usage' | 'names' | 'publicKey'>,
    bridge?: X509Certificate,
  ): IssuedCertificate => {
    const nowMs = clock.now();
    const rootNotAfterMs = notAfterOf(rootNow());
    if (rootNotAfterMs - nowMs < minimumLifetimeMs) throw new AuthorityExpiredError(rootNotAfterMs);
    const issuer = currentIssuer(nowMs);
    const notAfterMs = Math.min(nowMs + wantedMs, notAfterOf(issuer.certificate));
    const notBeforeMs = nowMs - backdateMs(wantedMs);
    const certificate = signCertificate({ ...template, notBeforeMs, notAfterMs }, issuer);
    return {
      certificate,
      chainPem: pemOf([certificate, issuer.certificate, ...(bridge === undefined ? [] : [bridge])]),
      rootFingerprint: fingerprintOf(rootNow()),
      notAfterMs: notAfterOf(certificate),
    };
  };

  return {
    trustDomain,
    get roots() {
      return held.current;
    },
    get root() {
      return rootNow();
    },
    get rootPem() {
      return pemOf(trustedRoots(held.current));
    },
    get rootNotAfterMs() {
      return notAfterOf(rootNow());
    },
    get bundleSequence() {
      return held.sequence;
    },
    get issuing() {
      return issuing?.issuer.certificate;
    },
    issueWorkload: (publicKey, { uri }, lifetimeMs = settings.lifetimeMs) =>
      issue(Math.max(minimumLifetimeMs, Math.min(lifetimeMs, settings.lifetimeMs)), {
        usage: 'workload',
        names: [{ kind: 'uri', uri }],
        publicKey,
      }),
    issueServing: (publicKey, names, lifetimeMs) =>
      issue(lifetimeMs, { usage: 'serving', names, publicKey }, held.current.bridge),
    replaceRoots: held.replace,
    replaceIssuing() {
      issuing = undefined;
      for (const listener of [...listeners]) listener();
    },
    subscribe(listener) {
      const stop = held.subscribe(listener);
      listeners.add(listener);
      return () => {
        stop();
        listeners.delete(listener);
      };
    },
  };
}

function pemOf(certificates: readonly X509Certificate[]): string {
  return certificates.map(String).join('');
}

/** A minute, but at most a tenth of the lifetime, so that a short certificate is not past its renewal when it is born. */
export function backdateMs(lifetimeMs: number): number {
  return Math.min(longestBackdateMs, lifetimeMs / 10);
}

/** A P-256 key pair that stays in this process. */
export function newKeyPair(): { readonly publicKey: KeyObject; readonly privateKey: KeyObject } {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}

/**
 * Why `root` cannot be a root of this authority now, each as one sentence; its key is looked at where there is one. `name` is
 * what the operator calls it.
 */
export function rootProblems(
  { certificate, key }: { readonly certificate: X509Certificate; readonly key?: KeyObject | undefined },
  trustDomain: string,
  nowMs: number,
  name: string,
): string[] {
  const names = certificate.subjectAltName ?? '';
  const problems: string[] = [];
  if (key !== undefined && key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
    problems.push(`The key of ${name} is not a P-256 key`);
  } else if (key !== undefined && !certificate.checkPrivateKey(key)) {
    problems.push(`${name} was made for another key than the one beside it`);
  }
  if (!certificate.ca) problems.push(`${name} is not the certificate of an authority, expected CA:TRUE`);
  if (names !== `URI:spiffe://${trustDomain}`) {
    problems.push(`${name} is for '${names}', expected the trust domain 'spiffe://${trustDomain}'`);
  }
  if (notAfterOf(certificate) <= nowMs) problems.push(`${name} expired at ${timestamp(notAfterOf(certificate))}`);
  return problems.length > 0 ? problems : unfitness(certificate, trustDomain, name);
}

/** Why no sidecar would take it into its trust bundle. */
function unfitness(certificate: X509Certificate, trustDomain: string, name: string): string[] {
  try {
    parseTrustBundle(trustDomain, certificate.toString());
    return [];
  } catch (error) {
    if (error instanceof TrustBundleError) return [`${name} cannot be in a trust bundle: ${error.message}`];
    throw error;
  }
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
