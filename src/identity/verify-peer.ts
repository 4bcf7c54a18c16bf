import type { TLSSocket } from 'node:tls';
import { HandshakeError, messageOf } from '../errors.ts';
import type { HandshakeReason } from '../outcomes.ts';
import type { Certificate } from './certificate.ts';
import { CertificateError, readCertificate } from './certificate.ts';
import type { Decision } from './decide-peer.ts';
import { decidePeer, maxChainLength } from './decide-peer.ts';
import type { PresentedChain } from './presented-chain.ts';
import { presentedChain, presentedLeaf } from './presented-chain.ts';
import { refusalOf } from './refusal.ts';
import type { CertificateName, Revocations } from './revocations.ts';
import { shownCertificate } from './shown-certificate.ts';
import type { SpiffeId } from './spiffe-id.ts';
import type { TrustBundles } from './trust-bundle.ts';
import type { Refusal } from './trust-path.ts';
import { refused } from './trust-path.ts';

export { refusalOf };

declare const verified: unique symbol;

/** Proof that a peer holds an identity; made by `verifyPeer` and nothing else. */
export interface VerifiedPeer {
  readonly [verified]: true;
  readonly spiffeId: SpiffeId;
  /** Serial of the leaf; hexadecimal, upper case. */
  readonly serial: string;
  /** The latest start of validity on the path; milliseconds since the epoch. */
  readonly notBeforeMs: number;
  /** The earliest end of validity on the path, its root included: from then on the proof is worth nothing. */
  readonly notAfterMs: number;
  /** SHA-256 of the root that vouches for the peer, lower-case hexadecimal. */
  readonly rootFingerprint: string;
  /** The path by the names that revocation lists use, leaf first, without the root. */
  readonly certificates: readonly CertificateName[];
  /** The same certificates as DER, to be judged again under other trust bundles. */
  readonly path: readonly Uint8Array[];
}

export interface PeerExpectation {
  readonly peerRole: 'client' | 'server';
  readonly bundles: TrustBundles;
  readonly revocations: Revocations;
  /** Undefined accepts every identity that is proved. */
  readonly expectedId: SpiffeId | undefined;
  /** Wall time, milliseconds since the epoch. */
  readonly nowMs: number;
  /** Accepts leaves without any key usage, against X509-SVID §4.3; false when absent. */
  readonly acceptsAbsentKeyUsage?: boolean;
}

/**
 * Who the peer of a finished handshake is. The socket must have been made with `requestCert: true` and
 * `rejectUnauthorized: false`, and not a byte of it read or written. Throws `HandshakeError`; then close the connection.
 */
export function verifyPeer(socket: TLSSocket, expectation: PeerExpectation): VerifiedPeer {
  const decision = judge(socket, expectation);
  if (decision.kind === 'refused') throw refusalError(socket, expectation, decision.reason, decision.why);
  const peer = peerOf(decision);
  const { revocations } = expectation;
  const revoked = revocations.whyRevoked(peer) ?? revocations.unknown;
  if (revoked !== undefined) throw refusalError(socket, expectation, 'revoked', revoked);
  return peer;
}

/** With what was expected and what the certificate says, which a person compares. */
function refusalError(
  socket: TLSSocket,
  { peerRole, expectedId }: PeerExpectation,
  reason: HandshakeReason,
  why: string,
): HandshakeError {
  const leaf = presentedLeaf(socket);
  return new HandshakeError(reason, `The ${peerRole} was refused: ${why}`, {
    facts: { expectedId: expectedId?.uri, presented: leaf && shownCertificate(leaf) },
  });
}

function peerOf({ id, path }: Extract<Decision, { kind: 'accepted' }>): VerifiedPeer {
  const withoutRoot = path.slice(0, -1);
  const proved: Omit<VerifiedPeer, typeof verified> = {
    spiffeId: id,
    serial: path[0].serial,
    notBeforeMs: Math.max(...path.map((certificate) => certificate.notBeforeMs)),
    notAfterMs: Math.min(...path.map((certificate) => certificate.notAfterMs)),
    rootFingerprint: path.at(-1)?.fingerprint ?? '',
    certificates: withoutRoot.map(({ serial, issuer }) => ({ serial, issuer })),
    path: withoutRoot.map(({ x509 }) => x509.raw),
  };
  return proved as VerifiedPeer;
}

/** What a proof is held against, some time after it was given. */
export interface Circumstances {
  readonly bundles: TrustBundles;
  readonly revocations: Revocations;
  /** Wall time, milliseconds since the epoch. */
  readonly nowMs: number;
}

/** Why what a peer proved no longer holds, as the reason that a new handshake would be refused for, and one sentence. */
export interface Lapse {
  readonly reason: 'revoked' | 'untrusted' | 'expired';
  readonly why: string;
}

/** Whether what a peer proved in a handshake still holds; undefined when it does. */
export function lapseOf(peer: VerifiedPeer, circumstances: Circumstances): Lapse | undefined {
  const { bundles, revocations, nowMs } = circumstances;
  const why = revocations.whyRevoked(peer);
  if (why !== undefined) return { reason: 'revoked', why };
  if (!isRootTrusted(peer, bundles) && !isVouchedForAnew(peer, circumstances))
    return { reason: 'untrusted', why: `no root of ${peer.spiffeId.trustDomain} vouches for it any more` };
  if (peer.notAfterMs <= nowMs)
    return { reason: 'expired', why: `its certificate ended ${nowMs - peer.notAfterMs} ms ago` };
  return undefined;
}

function isRootTrusted({ spiffeId, rootFingerprint }: VerifiedPeer, { domains }: TrustBundles): boolean {
  return domains.get(spiffeId.trustDomain)?.some(({ fingerprint }) => fingerprint === rootFingerprint) ?? false;
}

/** What each of these bundles says of the path of a peer whose root is not in them: signatures are dear, and each tunnel is judged every second. */
const vouching = new WeakMap<TrustBundles, WeakMap<VerifiedPeer, boolean>>();

/** Another root may vouch for the same path: one that was issued anew for the same key. Dates are not the question here. */
function isVouchedForAnew(peer: VerifiedPeer, circumstances: Circumstances): boolean {
  const { bundles } = circumstances;
  const known = vouching.get(bundles) ?? new WeakMap<VerifiedPeer, boolean>();
  vouching.set(bundles, known);
  const verdict = known.get(peer) ?? hasPathAnew(peer, circumstances);
  known.set(peer, verdict);
  return verdict;
}

function hasPathAnew(
  { spiffeId, path, notBeforeMs, notAfterMs }: VerifiedPeer,
  { bundles, nowMs }: Circumstances,
): boolean {
  const [leaf, ...intermediates] = path.map(readCertificate);
  if (leaf === undefined) return false;
  const decision = decidePeer(leaf, intermediates, {
    anchorsOf: (trustDomain) => bundles.domains.get(trustDomain)?.map(({ facts }) => facts),
    expectedId: spiffeId,
    nowMs: Math.min(Math.max(nowMs, notBeforeMs), notAfterMs - 1),
    acceptsAbsentKeyUsage: true,
  });
  return decision.kind === 'accepted';
}

function judge(socket: TLSSocket, expectation: PeerExpectation): Decision {
  if (socket.authorized !== true) return whyUnauthorized(socket, expectation);
  // A resumed session proves nothing anew: not the dates, not the bundle, not even that there was a certificate.
  if (socket.isSessionReused()) return refused('resumed', 'it resumed an earlier TLS session');
  return judgeChain(presentedChain(socket), expectation);
}

function judgeChain(
  presented: PresentedChain,
  { bundles, expectedId, nowMs, acceptsAbsentKeyUsage }: PeerExpectation,
): Decision {
  switch (presented.kind) {
    case 'none':
      return refused('no_client_cert', 'it presented no certificate');
    case 'too_long':
      return refused('chain_too_long', `its chain has more than ${maxChainLength} certificates`);
    case 'chain':
      break;
    default:
      return presented satisfies never;
  }
  const anchorsOf = (trustDomain: string) => bundles.domains.get(trustDomain)?.map((anchor) => anchor.facts);
  try {
    const leaf = readCertificate(presented.leaf);
    const rules = { anchorsOf, expectedId, nowMs, acceptsAbsentKeyUsage: acceptsAbsentKeyUsage === true };
    return decidePeer(leaf, readIntermediates(presented.intermediates), rules);
  } catch (error) {
    if (error instanceof CertificateError) return refused('untrusted', messageOf(error));
    throw error;
  }
}

/** An intermediate that cannot be read vouches for nobody, and does no other harm. */
function readIntermediates(intermediates: readonly Uint8Array[]): Certificate[] {
  return intermediates.flatMap((der) => {
    try {
      return [readCertificate(der)];
    } catch {
      return [];
    }
  });
}

/**
 * OpenSSL refused already; this only finds the words. Our own rules have more of them than OpenSSL's codes, of which the
 * rarer ones all arrive as UNSPECIFIED. Where they see nothing wrong, as with another clock, its code has to do.
 */
function whyUnauthorized(socket: TLSSocket, expectation: PeerExpectation): Refusal {
  if (socket.isSessionReused()) return refused('resumed', 'it resumed an earlier TLS session');
  const presented = presentedChain(socket);
  if (presented.kind === 'none' && socket.destroyed) return refused('reset', 'it closed the connection');
  const opinion = judgeChain(presented, expectation);
  if (opinion.kind === 'refused') return opinion;
  const code = String(socket.authorizationError);
  return refused(refusalOf(code), `OpenSSL does not accept its certificate (${code})`);
}
