import type { KeyObject } from 'node:crypto';
import { createHash, createPublicKey, randomUUID } from 'node:crypto';
import { calculateJwkThumbprint, SignJWT } from 'jose';
import type { Clock } from '../clock.ts';
import { tokenAudience } from '../control-api.ts';
import { isDnsLabel, isDnsSubdomain } from './names.ts';
import type { TokenKeys } from './token-keys.ts';
import { tokenKeysOf } from './token-keys.ts';

/** Who a token is for. */
export interface TokenRequest {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly pod: string;
  /** Made from namespace and name when absent, so that it stays the same. */
  readonly podUid?: string | undefined;
  /** By default the audience that the control plane asks for. */
  readonly audience?: string | undefined;
  /** One hour by default. */
  readonly lifetimeMs?: number | undefined;
}

/** Signs workload tokens as the API server of a cluster does for projected volumes: ES256, bound to a pod. */
export interface TokenIssuer {
  /** The `iss` claim. */
  readonly issuer: string;
  /** What verifies its tokens. */
  readonly keys: TokenKeys;
  /** Throws `TypeError` for a name that Kubernetes would not take; see `tokenRequestProblems`. */
  mint(request: TokenRequest): Promise<string>;
}

export const defaultTokenLifetimeMs = 3_600_000;

/** The issuer of a trust domain's own tokens unless another is set. */
export function defaultTokenIssuer(trustDomain: string): string {
  return `spiffe://${trustDomain}`;
}

/** `key` is a P-256 private key. */
export async function createTokenIssuer(key: KeyObject, issuer: string, clock: Clock): Promise<TokenIssuer> {
  const publicKey = createPublicKey(key);
  const kid = await calculateJwkThumbprint(publicKey);
  return {
    issuer,
    keys: tokenKeysOf({ [kid]: publicKey }),
    mint(request) {
      const problems = tokenRequestProblems(request);
      if (problems.length > 0) throw new TypeError(problems.join('; '));
      const nowSeconds = Math.floor(clock.now() / 1000);
      const { audience = tokenAudience, lifetimeMs = defaultTokenLifetimeMs } = request;
      return new SignJWT({ 'kubernetes.io': boundTo(request) })
        .setProtectedHeader({ alg: 'ES256', kid })
        .setIssuer(issuer)
        .setSubject(subjectOf(request))
        .setAudience([audience])
        .setIssuedAt(nowSeconds)
        .setNotBefore(nowSeconds)
        .setExpirationTime(nowSeconds + Math.floor(lifetimeMs / 1000))
        .setJti(randomUUID())
        .sign(key);
    },
  };
}

/** The `sub` claim of a service account's token. */
export function subjectOf({ namespace, serviceAccount }: Pick<TokenRequest, 'namespace' | 'serviceAccount'>): string {
  return `system:serviceaccount:${namespace}:${serviceAccount}`;
}

/** What is wrong with the names of a request, one sentence each. */
export function tokenRequestProblems({ namespace, serviceAccount, pod }: TokenRequest): string[] {
  const problems: string[] = [];
  if (!isDnsLabel(namespace)) problems.push(`namespace '${namespace}' is not a DNS label`);
  if (!isDnsSubdomain(serviceAccount)) problems.push(`service account '${serviceAccount}' is not a DNS name`);
  if (!isDnsSubdomain(pod)) problems.push(`pod '${pod}' is not a DNS name`);
  return problems;
}

/** The private claim of Kubernetes' bound tokens. */
function boundTo({ namespace, serviceAccount, pod, podUid }: TokenRequest) {
  return {
    namespace,
    serviceaccount: { name: serviceAccount, uid: stableUid('serviceaccount', namespace, serviceAccount) },
    pod: { name: pod, uid: podUid ?? stableUid('pod', namespace, pod) },
  };
}

/** The same names give the same UID, as the API server would keep it. */
function stableUid(...names: readonly string[]): string {
  const hex = createHash('sha256').update(names.join('/')).digest('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20, 32)].join(
    '-',
  );
}
