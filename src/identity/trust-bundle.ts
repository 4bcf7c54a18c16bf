import type { X509Certificate } from 'node:crypto';
import type { Certificate } from './certificate.ts';
import { CertificateError, readCertificate } from './certificate.ts';
import { PemError, readPemCertificates, writePemCertificate } from './pem.ts';
import { isTrustDomain } from './spiffe-id.ts';
import { isNamedKey } from './trust-path.ts';

/** A root that peers of one trust domain may chain to. */
export interface TrustAnchor {
  readonly certificate: X509Certificate;
  readonly pem: string;
  /** SHA-256 of the DER, lower-case hexadecimal. */
  readonly fingerprint: string;
  /** What our rules read in it. */
  readonly facts: Certificate;
}

/** The roots of every trust domain that this sidecar trusts, never merged: each domain is vouched for by its own roots only. */
export interface TrustBundles {
  readonly domains: ReadonlyMap<string, readonly TrustAnchor[]>;
}

/** A set of trust bundles that cannot be used; the message is one sentence. */
export class TrustBundleError extends Error {
  readonly reason: 'bundle_empty' | 'bad_pem' | 'chain_invalid' | 'too_large';

  constructor(reason: TrustBundleError['reason'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'TrustBundleError';
    this.reason = reason;
  }
}

/** Of all trust domains together. */
export interface BundleLimits {
  readonly characters: number;
  readonly roots: number;
}

/** No mesh comes near them, and reading so much takes less than a tenth of a second. */
export const bundleLimits: BundleLimits = { characters: 1024 * 1024, roots: 500 };
/** A server names every root in each handshake (RFC 8446 §4.2.4); beyond 64 KiB there would be no handshake any more. */
export const maxRootNameBytes = 48 * 1024;
/** Of one name: its length on the wire, and the DER around it. */
const nameOverheadBytes = 6;

/**
 * Parses PEM roots by trust domain: the whole set or nothing, since a set that is trusted in part surprises in both
 * directions. Every certificate must be a self-signed authority with a strong key; one that has expired is kept, because
 * each handshake compares the dates. Throws `TrustBundleError`.
 */
export function parseTrustBundles(pemByDomain: Readonly<Record<string, string>>): TrustBundles {
  const entries = Object.entries(pemByDomain);
  if (entries.length === 0)
    throw new TrustBundleError('bundle_empty', 'There is no trust bundle, expected at least one trust domain');
  const characters = entries.reduce((sum, [, pem]) => sum + pem.length, 0);
  if (characters > bundleLimits.characters) throw tooLarge(`${characters} characters`, `${bundleLimits.characters}`);
  const domains = new Map<string, readonly TrustAnchor[]>();
  let room = bundleLimits.roots;
  for (const [domain, pem] of entries) {
    const anchors = parseTrustBundle(domain, pem, room);
    room -= anchors.length;
    domains.set(domain, anchors);
  }
  return joinTrustBundles(domains);
}

/** The bundles of these trust domains as one set. Throws `TrustBundleError` when they cannot be trusted side by side. */
export function joinTrustBundles(
  domains: ReadonlyMap<string, readonly TrustAnchor[]>,
  limits: BundleLimits = bundleLimits,
): TrustBundles {
  const anchors = [...domains.values()].flat();
  const characters = anchors.reduce((sum, { pem }) => sum + pem.length, 0);
  if (anchors.length > limits.roots) throw tooLarge(`${anchors.length} roots`, `${limits.roots}`);
  if (characters > limits.characters) throw tooLarge(`${characters} characters`, `${limits.characters}`);
  const nameBytes = anchors.reduce((sum, { facts }) => sum + facts.subject.length / 2 + nameOverheadBytes, 0);
  if (nameBytes > maxRootNameBytes) throw tooLarge(`${nameBytes} bytes of names`, `${maxRootNameBytes}`);
  refuseShared(domains);
  return { domains };
}

function tooLarge(actual: string, most: string): TrustBundleError {
  return new TrustBundleError('too_large', `The trust bundles hold ${actual}, at most ${most} are allowed`);
}

/** The roots of one domain, at most `room`, each once, in the order of the text. Throws `TrustBundleError`. */
export function parseTrustBundle(domain: string, pem: string, room: number = bundleLimits.roots): TrustAnchor[] {
  if (!isTrustDomain(domain)) {
    throw new TrustBundleError(
      'chain_invalid',
      `A trust bundle is for ${JSON.stringify(domain.slice(0, 300))}, expected a trust domain`,
    );
  }
  if (pem.length > bundleLimits.characters) throw tooLarge(`${pem.length} characters`, `${bundleLimits.characters}`);
  const blocks = readBlocks(domain, pem);
  if (blocks.length === 0)
    throw new TrustBundleError('bundle_empty', `The trust bundle of ${domain} holds no certificate`);
  if (blocks.length > room) throw tooLarge(`${blocks.length} roots for ${domain}`, `${bundleLimits.roots} in all`);
  const anchors = new Map<string, TrustAnchor>();
  for (const [index, der] of blocks.entries()) {
    const facts = readRoot(domain, index, der);
    const { fingerprint, x509: certificate } = facts;
    anchors.set(fingerprint, { certificate, pem: writePemCertificate(der), fingerprint, facts });
  }
  return [...anchors.values()];
}

function readBlocks(domain: string, pem: string): Buffer[] {
  try {
    return readPemCertificates(pem);
  } catch (error) {
    if (!(error instanceof PemError)) throw error;
    throw new TrustBundleError('bad_pem', `The trust bundle of ${domain} cannot be read: ${error.message}`, {
      cause: error,
    });
  }
}

function readRoot(domain: string, index: number, der: Uint8Array): Certificate {
  const name = `Certificate ${index + 1} in the trust bundle of ${domain}`;
  let root: Certificate;
  try {
    root = readCertificate(der);
  } catch (error) {
    if (!(error instanceof CertificateError)) throw error;
    throw new TrustBundleError('bad_pem', `${name} cannot be read: ${error.message}`, { cause: error });
  }
  const problem = problemOf(root, domain);
  if (problem !== undefined) throw new TrustBundleError('chain_invalid', `${name} cannot be a root: ${problem}`);
  return root;
}

/** Why a certificate cannot be a root of its domain. Older roots have no key usage at all; that is accepted. */
function problemOf(root: Certificate, domain: string): string | undefined {
  if (root.subject === '') return 'it has no name';
  if (!root.isAuthority) return 'it is not a certificate authority (CA:TRUE)';
  if (root.keyUsage !== undefined && !root.keyUsage.keyCertSign) return 'its key usage lacks keyCertSign';
  if (root.unknownCritical !== undefined) return `its critical extension ${root.unknownCritical} is not understood`;
  if (root.weakKey !== undefined) return root.weakKey;
  if (root.subject !== root.issuer || !root.isSignedBy(root)) return 'it is not self-signed, so it is an intermediate';
  if (!isNamedKey(root, root)) return 'the identifier of its own key is not that of the key which signed it';
  const foreign = root.uris.find((uri) => /^spiffe:/i.test(uri) && uri !== `spiffe://${domain}`);
  return foreign === undefined
    ? undefined
    : `its own ID is ${JSON.stringify(foreign.slice(0, 300))}, expected spiffe://${domain}`;
}

/**
 * OpenSSL sees the roots of all domains at once and finds them by name and key identifier. Two domains that share one could
 * be taken for each other, so they are refused together.
 */
function refuseShared(domains: ReadonlyMap<string, readonly TrustAnchor[]>): void {
  const owners = new Map<string, string>();
  for (const [domain, anchors] of domains) {
    for (const { facts } of anchors) {
      for (const [what, value] of marksOf(facts)) {
        const owner = owners.get(`${what} ${value}`) ?? domain;
        if (owner !== domain) {
          throw new TrustBundleError(
            'chain_invalid',
            `The trust domains ${owner} and ${domain} have roots with the same ${what}, expected different ones`,
          );
        }
        owners.set(`${what} ${value}`, domain);
      }
    }
  }
}

function marksOf({ subject, subjectKeyId, publicKey }: Certificate): [string, string][] {
  const marks: [string, string][] = [
    ['subject', subject],
    ['key', publicKey],
  ];
  if (subjectKeyId !== undefined) marks.push(['subject key identifier', subjectKeyId]);
  return marks;
}
