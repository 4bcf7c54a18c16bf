import type { KeyObject } from 'node:crypto';
import type { Identity } from '../../src/identity/identity.ts';
import { makeIdentity } from '../../src/identity/identity.ts';
import { parseSpiffeId, workloadSpiffeId } from '../../src/identity/spiffe-id.ts';
import type { TrustBundles } from '../../src/identity/trust-bundle.ts';
import { parseTrustBundles } from '../../src/identity/trust-bundle.ts';
import type { CertificateSpec, MadeCertificate } from './certificates.ts';
import { makeAuthority, makeCertificate } from './certificates.ts';

export interface IssuedCertificate {
  readonly key: KeyObject;
  readonly certPem: string;
  /** Leaf and intermediates, without the root. */
  readonly chainPem: string;
  readonly certificate: MadeCertificate;
}

export interface TestAuthority {
  readonly trustDomain: string;
  readonly root: MadeCertificate;
  /** What signs leaves: the root, or the last of the intermediates. */
  readonly issuer: MadeCertificate;
  /** The root. */
  readonly bundlePem: string;
  /** `id` is the one URI of the certificate, or a name in the trust domain such as `ns/shop/sa/web`. */
  issue(spec: { readonly id: string } & CertificateSpec): IssuedCertificate;
}

/**
 * A root, with as many intermediates below it as asked for, that issues leaves for its trust domain. `chain` is these,
 * made already: what signs leaves first, the root last.
 */
export function createTestAuthority(
  trustDomain: string,
  options: {
    readonly intermediates?: number;
    readonly root?: CertificateSpec;
    readonly chain?: readonly MadeCertificate[];
  } = {},
): TestAuthority {
  const root = options.chain?.at(-1) ?? makeAuthority({ subject: `root of ${trustDomain}`, ...options.root });
  const intermediates: MadeCertificate[] = options.chain?.slice(0, -1) ?? [];
  for (let depth = 0; depth < (options.intermediates ?? 0); depth++) {
    const issuer = intermediates[0] ?? root;
    intermediates.unshift(makeAuthority({ subject: `intermediate ${depth} of ${trustDomain}`, issuer }));
  }
  const issuer = intermediates[0] ?? root;
  return {
    trustDomain,
    root,
    issuer,
    bundlePem: root.pem,
    issue({ id, ...spec }) {
      const uri = id.includes(':') ? id : `spiffe://${trustDomain}/${id}`;
      const certificate = makeCertificate({ issuer, sans: [{ uri }], ...spec });
      const chainPem = [certificate, ...intermediates].map((one) => one.pem).join('');
      return { key: certificate.key, certPem: certificate.pem, chainPem, certificate };
    },
  };
}

/** The bundles of these authorities, each for its own trust domain. */
export function bundlesOf(...authorities: readonly TestAuthority[]): TrustBundles {
  return parseTrustBundles(
    Object.fromEntries(authorities.map(({ trustDomain, bundlePem }) => [trustDomain, bundlePem])),
  );
}

export interface TestIdentityOptions {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly generation?: number;
  /** By default the authority's own bundle alone. */
  readonly bundles?: TrustBundles;
  /** What differs in the leaf. */
  readonly certificate?: CertificateSpec;
  readonly nowMs?: number;
}

/** A complete identity of a workload. */
export function createTestIdentity(authority: TestAuthority, options: TestIdentityOptions): Identity {
  const { namespace, serviceAccount, generation = 1, bundles = bundlesOf(authority), nowMs = Date.now() } = options;
  const expected = workloadSpiffeId(authority.trustDomain, namespace, serviceAccount);
  const { key, chainPem } = authority.issue({ id: expected.uri, ...options.certificate });
  return makeIdentity({ generation, key, chainPem, bundles, expected, nowMs });
}

/** The ID that a text is, for expectations in tests. */
export function spiffeId(text: string) {
  const parsed = parseSpiffeId(text);
  if (parsed.kind === 'invalid') throw new TypeError(`${text}: ${parsed.why}`);
  return parsed.id;
}
