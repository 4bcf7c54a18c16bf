import { readCertificate } from '../identity/certificate.ts';
import { createRevocations } from '../identity/revocations.ts';
import type { Log } from '../log.ts';
import type { Authority } from './authority.ts';
import type { RevocationBook } from './revocation/revocations.ts';

/**
 * Has the authority sign with another certificate as soon as the one that it signs with is revoked, because nobody trusts
 * what is below that. Ends when the returned function is called.
 */
export function replaceRevokedIssuer({
  authority,
  revocations,
  log,
}: {
  readonly authority: Pick<Authority, 'trustDomain' | 'issuing' | 'replaceIssuing'>;
  readonly revocations: Pick<RevocationBook, 'current' | 'subscribe'>;
  readonly log: Log;
}): () => void {
  const { trustDomain } = authority;
  const spiffeId = { uri: `spiffe://${trustDomain}`, trustDomain };
  return revocations.subscribe(() => {
    const { issuing } = authority;
    if (issuing === undefined) return;
    const certificate = readCertificate(issuing.raw);
    if (createRevocations(revocations.current()).whyRevoked({ spiffeId, certificates: [certificate] }) === undefined)
      return;
    authority.replaceIssuing();
    const { serial } = certificate;
    log.warn({ serial, successor: authority.issuing?.serialNumber }, 'The issuing certificate is revoked and replaced');
  });
}
