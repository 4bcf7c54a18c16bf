import type { HandshakeReason } from '../outcomes.ts';
import type { Certificate } from './certificate.ts';
import type { NameConstraints } from './certificate-extensions.ts';
import type { SpiffeId } from './spiffe-id.ts';

const serverAuth = '1.3.6.1.5.5.7.3.1';
const clientAuth = '1.3.6.1.5.5.7.3.2';

/** Why there is no trust: the closed reason, and one sentence with the detail. */
export interface Refusal {
  readonly kind: 'refused';
  readonly reason: HandshakeReason;
  readonly why: string;
}

export type PathResult =
  | { readonly kind: 'path'; readonly path: readonly [leaf: Certificate, ...issuers: Certificate[]] }
  | Refusal;

export interface PathQuestion {
  readonly leaf: Certificate;
  /** Whose certificate the leaf is: name constraints on the way are about it. */
  readonly id: Pick<SpiffeId, 'trustDomain'>;
  /** What came with the leaf, in any order; nothing in it is trusted. */
  readonly intermediates: readonly Certificate[];
  /** The roots of the leaf's own trust domain. */
  readonly anchors: readonly Certificate[];
  readonly nowMs: number;
}

interface Step {
  readonly path: readonly [leaf: Certificate, ...issuers: Certificate[]];
  /** Intermediates that count against a path length: those that are not self-issued (RFC 5280 §4.2.1.9). */
  readonly counted: number;
}

/**
 * Far more than an honest chain needs, where each certificate has one or two namesakes of its issuer at most; without it,
 * certificates that all have the same name would cost the square of their number.
 */
const maxSignatureChecks = 32;

/**
 * The path by which a leaf is vouched for: every step proved by signature, every issuer an authority that may sign, valid
 * now, within its path length and its name constraints (RFC 5280 §6). Paths are tried from the one with the fewest
 * intermediates, and each certificate once, so that none is missed and the cost is bounded.
 */
export function findTrustPath(question: PathQuestion): PathResult {
  const steps: Step[] = [{ path: [question.leaf], counted: 0 }];
  const visited = new Set<Certificate>();
  let checks = 0;
  let obstacle: Refusal | undefined;
  for (let step = steps.shift(); step !== undefined; step = steps.shift()) {
    const child = step.path.at(-1) ?? question.leaf;
    if (visited.has(child)) continue;
    visited.add(child);
    for (const issuer of namesakesOfIssuer(child, question)) {
      if (visited.has(issuer)) continue;
      checks += 1;
      if (checks > maxSignatureChecks)
        return refused('chain_too_long', 'too many certificates of its chain have the same name');
      const vouching = vouch(child, issuer, step.counted, question);
      if (vouching === 'none') continue;
      const path: Step['path'] = [...step.path, issuer];
      if (vouching !== 'vouches') obstacle ??= vouching;
      else if (question.anchors.includes(issuer)) return { kind: 'path', path };
      else if (isSelfIssued(issuer)) steps.unshift({ path, counted: step.counted });
      else steps.push({ path, counted: step.counted + 1 });
    }
  }
  return obstacle ?? refused('untrusted', `no root of ${question.id.trustDomain} vouches for the certificate`);
}

/** The anchors first, the one that lasts longest before the others, then what the peer sent. Names prove nothing; they only spare the signatures of strangers. */
function namesakesOfIssuer(child: Certificate, { anchors, intermediates }: PathQuestion): Certificate[] {
  const candidates = [...anchors.toSorted((a, b) => b.notAfterMs - a.notAfterMs), ...intermediates];
  return candidates.filter((candidate) => candidate.subject === child.issuer && isNamedKey(candidate, child));
}

/** A certificate that names the key of its issuer is held to it, as OpenSSL does; where either says nothing, any key will do. */
export function isNamedKey({ subjectKeyId }: Certificate, { authorityKeyId }: Certificate): boolean {
  return subjectKeyId === undefined || authorityKeyId === undefined || subjectKeyId === authorityKeyId;
}

/** A weak key is not even asked, since asking a huge one costs a hundred times what a strong one does. */
function vouch(
  child: Certificate,
  issuer: Certificate,
  counted: number,
  question: PathQuestion,
): 'vouches' | 'none' | Refusal {
  if (issuer.weakKey !== undefined) return refused('untrusted', `an issuer is too weak: ${issuer.weakKey}`);
  return child.isSignedBy(issuer) ? (obstacleOf(issuer, counted, question) ?? 'vouches') : 'none';
}

/** Why a certificate that did sign the one below must not have. */
function obstacleOf(issuer: Certificate, counted: number, { anchors, id, nowMs }: PathQuestion): Refusal | undefined {
  const isAnchor = anchors.includes(issuer);
  if (issuer.subject === '') return refused('untrusted', 'an issuer has no name');
  if (!issuer.isAuthority) return refused('untrusted', 'an issuer is not a certificate authority (CA:TRUE)');
  if (!(issuer.keyUsage?.keyCertSign ?? isAnchor))
    return refused('untrusted', 'the key usage of an issuer lacks keyCertSign');
  if (!isForMutualTls(issuer))
    return refused('bad_purpose', 'the extended key usage of an issuer lacks serverAuth or clientAuth');
  if (!isAnchor && issuer.weakSignature !== undefined)
    return refused('untrusted', `an issuer is too weak: ${issuer.weakSignature}`);
  if (issuer.unknownCritical !== undefined) return criticalExtension(issuer.unknownCritical);
  if (counted > (issuer.pathLength ?? counted)) {
    return refused('path_length', `an issuer allows ${issuer.pathLength} intermediates below it, there are ${counted}`);
  }
  if (issuer.nameConstraints !== undefined && !permits(issuer.nameConstraints, id.trustDomain)) {
    return refused('name_constraint', `an issuer may not name ${id.trustDomain}`);
  }
  return outOfDate(issuer, nowMs);
}

/** Whether the purposes of a certificate, when it has any, include both roles: every workload is a client and a server. */
export function isForMutualTls({ purposes }: Certificate): boolean {
  return purposes === undefined || (purposes.includes(serverAuth) && purposes.includes(clientAuth));
}

/** A certificate is valid from its first instant to the one before its last, as OpenSSL has it. */
export function outOfDate(certificate: Certificate, nowMs: number): Refusal | undefined {
  if (nowMs < certificate.notBeforeMs)
    return refused('not_yet_valid', `a certificate in the chain begins in ${certificate.notBeforeMs - nowMs} ms`);
  if (nowMs >= certificate.notAfterMs)
    return refused('expired', `a certificate in the chain ended ${nowMs - certificate.notAfterMs} ms ago`);
  return undefined;
}

export function criticalExtension(oid: string): Refusal {
  return refused('critical_extension', `the critical extension ${oid} is not understood`);
}

export function refused(reason: HandshakeReason, why: string): Refusal {
  return { kind: 'refused', reason, why };
}

function isSelfIssued({ issuer, subject }: Certificate): boolean {
  return issuer === subject;
}

function permits({ permittedHosts, excludedHosts }: NameConstraints, host: string): boolean {
  const isPermitted = permittedHosts?.some((base) => matchesHost(base, host)) ?? true;
  return isPermitted && !excludedHosts.some((base) => !isHost(base) || matchesHost(base, host));
}

/** What is not a host could have been meant for anything, so as an exclusion it excludes everything, and permits nothing. */
function isHost(base: string): boolean {
  return /^[A-Za-z0-9._-]+$/.test(base);
}

/** RFC 5280 §4.2.1.10: a host is itself; one with a leading dot stands for everything below it, and not for itself. */
function matchesHost(base: string, host: string): boolean {
  const lower = base.toLowerCase();
  return lower.startsWith('.') ? host.length > lower.length && host.endsWith(lower) : host === lower;
}
