import type { SpiffeId } from './spiffe-id.ts';

/** A certificate by what revocation lists call it: its serial, and the name of its issuer. */
export interface CertificateName {
  /** Hexadecimal, upper case, without leading zeros of the encoding. */
  readonly serial: string;
  /** DER of the issuer's name, lower-case hexadecimal. */
  readonly issuer: string;
}

/** Who a peer is, and the certificates that prove it, leaf first, its root left out. */
export interface RevocablePeer {
  readonly spiffeId: Pick<SpiffeId, 'uri' | 'trustDomain'>;
  readonly certificates: readonly CertificateName[];
}

/** What has been revoked, as one immutable snapshot. */
export interface Revocations {
  /** One sentence why nobody may rely on this peer any more; undefined when nothing is known against it. */
  whyRevoked(peer: RevocablePeer): string | undefined;
  /**
   * One sentence why it cannot be known who is revoked, where the operator chose that nobody new is trusted then; undefined
   * otherwise.
   */
  readonly unknown: string | undefined;
  /** How many are listed. What several sources list counts for each of them. */
  readonly counts: RevocationCounts;
}

export interface RevocationCounts {
  readonly certificates: number;
  readonly identities: number;
}

/** Certificates of one issuer; without an issuer, of whichever issuer has given out these serials. */
export interface RevokedSerials {
  /** Only peers of this trust domain: an authority of another one may have the same name. Without it those of all. */
  readonly trustDomain?: string | undefined;
  readonly issuer?: string | undefined;
  readonly serials: readonly string[];
}

export interface RevocationLists {
  readonly certificates: readonly RevokedSerials[];
  /** SPIFFE IDs; every certificate for them is revoked. */
  readonly identities: readonly string[];
  readonly unknown?: string | undefined;
}

/** Looks up by hash, however long the lists are. */
export function createRevocations({ certificates, identities, unknown }: RevocationLists): Revocations {
  const ids = new Set(identities);
  const names = new Set<string>();
  for (const { trustDomain = '', issuer = '', serials } of certificates)
    for (const serial of serials) names.add(`${trustDomain} ${issuer} ${serial}`);
  const isListed = (trustDomain: string, { issuer, serial }: CertificateName) =>
    ['', trustDomain].some((domain) => names.has(`${domain}  ${serial}`) || names.has(`${domain} ${issuer} ${serial}`));
  return {
    unknown,
    counts: { certificates: names.size, identities: ids.size },
    whyRevoked(peer) {
      if (ids.has(peer.spiffeId.uri)) return `the identity ${peer.spiffeId.uri} has been revoked`;
      // Asked for each connection, and most meshes have revoked nothing.
      if (names.size === 0) return undefined;
      const found = peer.certificates.find((one) => isListed(peer.spiffeId.trustDomain, one));
      return found && `the certificate ${found.serial} has been revoked`;
    },
  };
}

/** Before anything is known, and where nothing is ever revoked. */
export const noRevocations: Revocations = createRevocations({ certificates: [], identities: [] });

/** What any of several sources has revoked; what one of them does not know is not known. */
export function joinRevocations(...sources: readonly Revocations[]): Revocations {
  return {
    whyRevoked: (peer) => firstOf(sources, (source) => source.whyRevoked(peer)),
    get unknown() {
      return firstOf(sources, (source) => source.unknown);
    },
    get counts() {
      const sumOf = (kind: keyof RevocationCounts) => sources.reduce((sum, { counts }) => sum + counts[kind], 0);
      return { certificates: sumOf('certificates'), identities: sumOf('identities') };
    },
  };
}

function firstOf<T>(sources: readonly Revocations[], ask: (source: Revocations) => T | undefined): T | undefined {
  for (const source of sources) {
    const answer = ask(source);
    if (answer !== undefined) return answer;
  }
  return undefined;
}
