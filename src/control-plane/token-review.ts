import type { JWTHeaderParameters, JWTPayload } from 'jose';
import { errors, jwtVerify } from 'jose';
import * as v from 'valibot';
import type { Clock } from '../clock.ts';
import { dateOf } from '../clock.ts';
import { isDnsLabel, isDnsSubdomain } from './names.ts';
import { subjectOf } from './token-issuer.ts';
import type { TokenKeys } from './token-keys.ts';
import { tokenAlgorithms } from './token-keys.ts';

/** A pod that proved who it is. Every name is a DNS name. */
export interface Workload {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly pod: string;
  readonly podUid: string;
  /** The node that it runs on; API servers say it since Kubernetes 1.30. */
  readonly node?: string | undefined;
  /** Of the token. */
  readonly expiresAtMs: number;
}

/** `why` is one sentence; it names claims, never the token. */
export interface TokenRefusal {
  readonly kind: 'refused';
  /** `token_not_bound`: a good token of something else than a pod; another token of the same kind will not help. */
  readonly reason: 'token_missing' | 'token_invalid' | 'token_expired' | 'token_audience' | 'token_not_bound';
  readonly why: string;
}

export type TokenReview = { readonly kind: 'workload'; readonly workload: Workload } | TokenRefusal;

/** What the API needs to know who calls, by our own tokens or a cluster's. Never throws. */
export interface TokenReviewer {
  /** `authorization` is the header as it was sent. */
  reviewToken(authorization: string | undefined): Promise<TokenReview>;
}

export interface TokenReviewSettings {
  readonly issuer: string;
  readonly audience: string;
  /** Those in force now. */
  keys(): TokenKeys;
}

/** How far the clocks of issuer and reviewer may differ; seconds. */
const clockToleranceSeconds = 30;
const maxTokenLength = 8192;
const credentials = /^Bearer +([\w-]+\.[\w-]+\.[\w-]+)$/i;

const name = (isValid: (text: string) => boolean) => v.pipe(v.string(), v.check(isValid));
const boundClaims = v.object({
  sub: v.string(),
  exp: v.number(),
  'kubernetes.io': v.object({
    namespace: name(isDnsLabel),
    serviceaccount: v.object({ name: name(isDnsSubdomain) }),
    pod: v.object({ name: name(isDnsSubdomain), uid: v.pipe(v.string(), v.regex(/^[\w-]{1,64}$/)) }),
    node: v.nullish(v.object({ name: name(isDnsSubdomain) })),
  }),
});

/**
 * Reviews tokens (RFC 7519, RFC 8725): each key verifies its own algorithm alone, issuer and audience are pinned, expiry is
 * required, keys in the token's own header are ignored.
 */
export function createTokenReviewer(settings: TokenReviewSettings, clock: Clock): TokenReviewer {
  const keyOf = (header: JWTHeaderParameters) => {
    const key = settings.keys().find(header);
    if (key === undefined) throw new errors.JWKSNoMatchingKey();
    return key;
  };
  return {
    async reviewToken(authorization) {
      if (authorization === undefined) return refused('token_missing', 'The request carries no bearer token');
      const [, token = ''] = credentials.exec(authorization) ?? [];
      if (token === '' || token.length > maxTokenLength) {
        return refused(
          'token_invalid',
          `The authorization header is not a bearer token of at most ${maxTokenLength} bytes`,
        );
      }
      try {
        const { payload } = await jwtVerify(token, keyOf, {
          algorithms: [...tokenAlgorithms],
          issuer: settings.issuer,
          audience: settings.audience,
          clockTolerance: clockToleranceSeconds,
          requiredClaims: ['sub', 'exp'],
          currentDate: dateOf(clock.now()),
        });
        return workloadOf(payload);
      } catch (error) {
        return refusalOf(error, settings);
      }
    },
  };
}

function workloadOf(payload: JWTPayload): TokenReview {
  const parsed = v.safeParse(boundClaims, payload);
  if (!parsed.success) return refused('token_not_bound', 'The token is not bound to a pod and its service account');
  const { sub, exp, 'kubernetes.io': bound } = parsed.output;
  const names = { namespace: bound.namespace, serviceAccount: bound.serviceaccount.name };
  if (sub !== subjectOf(names))
    return refused('token_not_bound', 'The subject of the token is not its service account');
  return {
    kind: 'workload',
    workload: {
      ...names,
      pod: bound.pod.name,
      podUid: bound.pod.uid,
      node: bound.node?.name,
      expiresAtMs: exp * 1000,
    },
  };
}

function refusalOf(error: unknown, { issuer, audience }: TokenReviewSettings): TokenRefusal {
  if (error instanceof errors.JWTExpired) return refused('token_expired', 'The token has expired');
  const claim = error instanceof errors.JWTClaimValidationFailed ? error.claim : undefined;
  if (claim === 'aud') return refused('token_audience', `The token is not for the audience '${audience}'`);
  if (claim === 'iss') return refused('token_invalid', `The token is not from the issuer '${issuer}'`);
  if (claim === 'nbf') return refused('token_invalid', 'The token is not valid yet');
  if (claim !== undefined) return refused('token_invalid', `The claim ${claim} of the token is missing or malformed`);
  return refused('token_invalid', 'The token is not signed by a key of its issuer');
}

function refused(reason: TokenRefusal['reason'], why: string): TokenRefusal {
  return { kind: 'refused', reason, why };
}
