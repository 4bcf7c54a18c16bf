import { isTrustDomain } from '../identity/spiffe-id.ts';
import { path, scalar } from './kinds.ts';

/** Where the roots of another trust domain are. */
export interface FederatedBundle {
  readonly trustDomain: string;
  readonly path: string;
}

/** `DOMAIN=FILE`. */
export const federatedBundle = scalar<FederatedBundle>({
  name: 'a trust domain and its bundle',
  expected: 'DOMAIN=FILE such as partner.example=/etc/remora/partner.pem',
  placeholder: 'domain=file',
  parse(text) {
    const [, trustDomain = '', file = ''] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
    return isTrustDomain(trustDomain) && path.parse(file) !== undefined ? { trustDomain, path: file } : undefined;
  },
  show: ({ trustDomain, path: file }) => `${trustDomain}=${file}`,
});

/** One sentence for each bundle that contradicts the others or is for `ownTrustDomain`; `name` is that of the setting. */
export function federationProblems(
  name: string,
  bundles: readonly FederatedBundle[],
  ownTrustDomain: string | undefined,
): string[] {
  const domains = bundles.map(({ trustDomain }) => trustDomain);
  const twice = new Set(domains.filter((domain, index) => domains.indexOf(domain) !== index));
  return [
    ...[...twice].map((domain) => `${name} names ${domain} twice, expected one file for each trust domain`),
    ...domains
      .filter((domain) => domain === ownTrustDomain)
      .map((domain) => `${name} names ${domain}, which is this trust domain itself, expected other ones`),
  ];
}
