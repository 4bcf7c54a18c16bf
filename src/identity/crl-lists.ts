import { timestamp } from '../clock.ts';
import type { Certificate } from './certificate.ts';
import type { Crl, CrlFile } from './crl.ts';
import type { CertificateName, RevocablePeer } from './revocations.ts';
import type { TrustBundles } from './trust-bundle.ts';
import { findTrustPath } from './trust-path.ts';

/**
 * A list and the trust domain whose authority signed it: it says nothing about certificates of another one, whatever name
 * their issuers have.
 */
export interface CrlInForce {
  readonly trustDomain: string;
  readonly crl: Crl;
}

/** One for each trust domain, issuer and distribution point. */
export type CrlsInForce = ReadonlyMap<string, CrlInForce>;

/** By whom lists may be signed, at this moment. */
export interface CrlTrust {
  readonly bundles: TrustBundles;
  /** Our own chain: the intermediates of a mesh are mostly those of its lists, too. */
  readonly ownChain: readonly Certificate[];
  /** Wall time, milliseconds since the epoch. */
  readonly nowMs: number;
}

export interface CrlsTaken {
  readonly inForce: CrlsInForce;
  /** The keys of the file's lists, also where a newer one is in force; undefined unless all of them are signed well. */
  readonly keys: readonly string[] | undefined;
  /** One sentence for each list that was not taken. */
  readonly problems: readonly string[];
}

/**
 * Puts the lists of a file into force: those that an authority of a trust domain signed, each in the place of an older one.
 * A list that is gone from its file stays in force, so that nobody is let in again by leaving something out.
 */
export function takeCrls(before: CrlsInForce, { crls, certificates }: CrlFile, trust: CrlTrust): CrlsTaken {
  const inForce = new Map(before);
  const keys: string[] = [];
  let isSignedWell = true;
  const problems: string[] = [];
  const candidates = [...trust.ownChain, ...certificates].filter(mayIssue);
  for (const [index, crl] of crls.entries()) {
    const name = `CRL ${index + 1}, of ${timestamp(crl.thisUpdateMs)},`;
    const trustDomains = domainsOf(crl, candidates, trust);
    isSignedWell &&= trustDomains.length > 0;
    if (trustDomains.length === 0) problems.push(`${name} is not signed by an authority that a root vouches for`);
    for (const trustDomain of trustDomains) {
      const key = `${trustDomain} ${crl.issuer} ${crl.distributionPoint}`;
      keys.push(key);
      const known = inForce.get(key)?.crl;
      if (known === undefined || !isOlder(crl, known)) inForce.set(key, { trustDomain, crl });
      else problems.push(`${name} is older than the one in force, of ${timestamp(known.thisUpdateMs)}`);
    }
  }
  return { inForce, keys: isSignedWell ? keys : undefined, problems };
}

/** What an intermediate must be, as in a path. */
function mayIssue({ isAuthority, keyUsage, weakSignature, unknownCritical }: Certificate): boolean {
  return isAuthority && keyUsage?.keyCertSign === true && weakSignature === undefined && unknownCritical === undefined;
}

/** Authorities of one name that are asked for one list: in a rotation there are two. Without it a file could ask each of 100 for 100 lists. */
const maxNamesakes = 8;

/** The trust domains whose roots, or an intermediate below them, signed a list. Whether these are still valid is no question: lists only ever revoke. */
function domainsOf(crl: Crl, candidates: readonly Certificate[], { bundles, nowMs }: CrlTrust): string[] {
  const isNamesake = ({ subject }: Certificate) => subject === crl.issuer;
  const signers = candidates.filter(isNamesake).slice(0, maxNamesakes).filter(crl.isSignedBy);
  return [...bundles.domains].flatMap(([trustDomain, roots]) => {
    const anchors = roots.map(({ facts }) => facts);
    const namesakes = anchors.filter(isNamesake).slice(-maxNamesakes);
    const isVouchedFor = (leaf: Certificate) =>
      findTrustPath({ leaf, id: { trustDomain }, intermediates: candidates, anchors, nowMs }).kind === 'path';
    return namesakes.some(crl.isSignedBy) || signers.some(isVouchedFor) ? [trustDomain] : [];
  });
}

/** The number decides, which only grows; where one has none, the date (RFC 5280 §5.2.3). */
function isOlder(crl: Crl, known: Crl): boolean {
  if (crl.number !== undefined && known.number !== undefined && crl.number !== known.number)
    return crl.number < known.number;
  return crl.thisUpdateMs < known.thisUpdateMs;
}

/** One sentence why nobody may rely on a peer any more, by the lists in force; undefined when none of them names it. */
export function whyListed(inForce: CrlsInForce): (peer: RevocablePeer) => string | undefined {
  const byIssuer = Map.groupBy(inForce.values(), ({ trustDomain, crl }) => `${trustDomain} ${crl.issuer}`);
  return ({ spiffeId: { trustDomain }, certificates }) => {
    const isListed = ({ issuer, serial }: CertificateName) =>
      byIssuer.get(`${trustDomain} ${issuer}`)?.some(({ crl }) => crl.serials.has(serial)) ?? false;
    const found = certificates.find(isListed);
    return found && `the certificate ${found.serial} is on the revocation list of its issuer`;
  };
}
