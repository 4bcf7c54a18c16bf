import type { JsonWebKey, KeyObject } from 'node:crypto';
import { createPublicKey } from 'node:crypto';
import type { JSONWebKeySet, JWSHeaderParameters } from 'jose';
import * as v from 'valibot';
import { shown } from '../config/given.ts';

/** What Kubernetes signs service-account tokens with; each key has exactly one of them. */
export const tokenAlgorithms = ['RS256', 'ES256', 'ES384', 'ES512'] as const;
type TokenAlgorithm = (typeof tokenAlgorithms)[number];

interface TokenKey {
  readonly kid: string;
  readonly algorithm: TokenAlgorithm;
  readonly key: KeyObject;
}

/** Public keys that tokens are verified with. */
export interface TokenKeys {
  /** Without anything that is not about verifying (RFC 7517). */
  readonly jwks: JSONWebKeySet;
  /**
   * The one key that a token with this header may be signed by; undefined when there is none, or more than one. What the
   * header itself brings as a key is never looked at.
   */
  find(header: Pick<JWSHeaderParameters, 'alg' | 'kid'>): KeyObject | undefined;
}

export type ParsedTokenKeys =
  | { readonly kind: 'keys'; readonly keys: TokenKeys }
  /** One sentence each, without the name of the file and without any of its content but key ids. */
  | { readonly kind: 'problems'; readonly problems: readonly string[] };

/** Bounds of a set; a cluster publishes one key, and a second one while it changes them. */
export const tokenKeyLimits = { keys: 32, bytes: 128 * 1024, leastRsaBits: 2048, mostRsaBits: 8192 } as const;

/** Of Go and OpenSSL both the only one in use; with a small one a signature is easy to forge or slow to check. */
const rsaExponents = { least: 65_537n, most: 2n ** 32n };

const algorithmOfCurve: ReadonlyMap<unknown, TokenAlgorithm> = new Map([
  ['prime256v1', 'ES256'],
  ['secp384r1', 'ES384'],
  ['secp521r1', 'ES512'],
]);

const text = v.pipe(v.string('a part of it is not a text'), v.maxLength(4096, 'a part of it is too long'));
const jwk = v.object(
  {
    kty: v.picklist(['RSA', 'EC'], 'kty is not RSA or EC'),
    kid: v.pipe(v.string('kid is not a text'), v.minLength(1, 'kid is empty'), v.maxLength(256, 'kid is too long')),
    use: v.optional(v.literal('sig', 'use is not sig')),
    alg: v.optional(text),
    key_ops: v.optional(
      v.pipe(
        v.array(v.string('key_ops is not a list of texts'), 'key_ops is not a list of texts'),
        v.includes('verify', 'key_ops is without verify'),
      ),
    ),
    n: v.optional(text),
    e: v.optional(text),
    crv: v.optional(text),
    x: v.optional(text),
    y: v.optional(text),
    // RFC 7518 6.2.2 and 6.3.2.
    d: v.optional(v.never('it is a private key')),
  },
  'it is not a JWK with kty and kid',
);
const jwks = v.object({ keys: v.pipe(v.array(v.unknown()), v.minLength(1), v.maxLength(tokenKeyLimits.keys)) });

/**
 * Reads a JWK set (RFC 7517) as `kubectl get --raw /openid/v1/jwks` prints it. All of it or nothing: a key that cannot be
 * used is named, and not left out in silence.
 */
export function parseTokenKeys(source: string): ParsedTokenKeys {
  const set = v.safeParse(jwks, parseJson(source));
  if (!set.success) {
    return {
      kind: 'problems',
      problems: [`It is not a JWK set, expected JSON such as {"keys":[…]} with 1 to ${tokenKeyLimits.keys} keys`],
    };
  }
  const results = set.output.keys.map((key, index) => readKey(key, index));
  const keys = results.filter((result) => typeof result !== 'string');
  const problems = results.filter((result) => typeof result === 'string');
  const kids = keys.map(({ kid }) => kid);
  for (const kid of new Set(kids.filter((one, index) => kids.indexOf(one) !== index)))
    problems.push(`Two keys have the id ${shown(kid)}, expected one`);
  return problems.length > 0 ? { kind: 'problems', problems } : { kind: 'keys', keys: tokenKeys(keys) };
}

/** Public keys of a kind that tokens are signed with, by their ids. Throws `TypeError` for others: they are published. */
export function tokenKeysOf(named: Readonly<Record<string, KeyObject>>): TokenKeys {
  const keys = Object.entries(named).map(([kid, key]): TokenKey => {
    const algorithm = algorithmOf(key);
    if (algorithm === undefined || key.type !== 'public') throw new TypeError('expected a public RSA or EC key');
    return { kid, key, algorithm };
  });
  return tokenKeys(keys);
}

function tokenKeys(keys: readonly TokenKey[]): TokenKeys {
  return {
    jwks: {
      keys: keys.map(({ kid, algorithm, key }) => {
        const { kty = '', ...parts } = key.export({ format: 'jwk' });
        return { kty, ...parts, kid, alg: algorithm, use: 'sig' };
      }),
    },
    find({ alg, kid }) {
      const [found, ...others] = keys.filter((one) => one.algorithm === alg && (kid === undefined || one.kid === kid));
      return others.length === 0 ? found?.key : undefined;
    },
  };
}

/** The key, or what is wrong with it. */
function readKey(value: unknown, index: number): TokenKey | string {
  const parsed = v.safeParse(jwk, value, { abortEarly: true });
  const problem = (why: string) => `Key ${index + 1} cannot be used: ${why}`;
  if (!parsed.success) return problem(parsed.issues[0].message);
  const { kid, alg, kty, n, e, crv, x, y } = parsed.output;
  const key = publicKeyOf({ kty, ...(kty === 'RSA' ? { n, e } : { crv, x, y }) } as JsonWebKey);
  if (key === undefined) return problem(`it is not ${kty === 'RSA' ? 'an RSA' : 'an EC'} key`);
  const weakness = kty === 'RSA' ? rsaWeakness(key) : undefined;
  if (weakness !== undefined) return problem(weakness);
  const algorithm = algorithmOf(key);
  if (algorithm === undefined) return problem('its curve is not P-256, P-384 or P-521');
  if (alg !== undefined && alg !== algorithm) return problem(`alg is not ${algorithm}, which such a key signs with`);
  return { kid, algorithm, key };
}

/** OpenSSL refuses a point that is not on its curve. */
function publicKeyOf(key: JsonWebKey): KeyObject | undefined {
  try {
    return createPublicKey({ key, format: 'jwk' });
  } catch {
    return undefined;
  }
}

function algorithmOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): TokenAlgorithm | undefined {
  if (asymmetricKeyType === 'rsa') return 'RS256';
  return algorithmOfCurve.get(asymmetricKeyDetails?.namedCurve);
}

function rsaWeakness({ asymmetricKeyDetails }: KeyObject): string | undefined {
  const { modulusLength: bits = 0, publicExponent: exponent = 0n } = asymmetricKeyDetails ?? {};
  const { leastRsaBits, mostRsaBits } = tokenKeyLimits;
  if (bits < leastRsaBits || bits > mostRsaBits)
    return `it has ${bits} bits, expected ${leastRsaBits} to ${mostRsaBits}`;
  const isUsual = exponent >= rsaExponents.least && exponent <= rsaExponents.most && exponent % 2n === 1n;
  return isUsual ? undefined : 'its exponent is unusual, expected 65537';
}

function parseJson(source: string): unknown {
  try {
    return JSON.parse(source);
  } catch {
    return undefined;
  }
}
