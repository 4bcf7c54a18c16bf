import type { KeyObject } from 'node:crypto';
import { createHmac, createPublicKey, createSecretKey, generateKeyPairSync } from 'node:crypto';
import { exportJWK, SignJWT } from 'jose';
import { beforeEach, describe, expect, it } from 'vitest';
import { parseTokenKeys, tokenKeyLimits, tokenKeysOf } from '../../../src/control-plane/token-keys.ts';
import type { TokenReviewer } from '../../../src/control-plane/token-review.ts';
import { createTokenReviewer } from '../../../src/control-plane/token-review.ts';
import { ecKey, ed25519Key, rsaKey } from '../../support/certificates.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

/* Tokens as a cluster signs them, and a set of keys as it publishes them; then what somebody else makes of both. */

const startMs = Date.parse('2030-05-01T12:00:00Z');
const issuer = 'https://kubernetes.default.svc.cluster.local';
const rsa = rsaKey();
const keys = { rsa, p256: ecKey('P-256'), p384: ecKey('P-384'), p521: ecKey('P-521') };
const algorithms = { rsa: 'RS256', p256: 'ES256', p384: 'ES384', p521: 'ES512' } as const;
type Name = keyof typeof keys;
const names = Object.keys(keys) as Name[];

/** As the API server prints it. */
const publish = async (name: Name, changes: object = {}) => ({
  use: 'sig',
  ...(await exportJWK(createPublicKey(keys[name]))),
  kid: name,
  alg: algorithms[name],
  ...changes,
});
const setOf = (...all: unknown[]) => JSON.stringify({ keys: all });
const parse = (text: string) => {
  const parsed = parseTokenKeys(text);
  if (parsed.kind === 'problems') throw new Error(parsed.problems.join('\n'));
  return parsed.keys;
};
const problemsOf = (text: string) => {
  const parsed = parseTokenKeys(text);
  return parsed.kind === 'problems' ? parsed.problems : [];
};

/** The claims of a projected token of Kubernetes 1.29 and newer. */
const claims = (changes: Record<string, unknown> = {}) => ({
  aud: ['remora'],
  exp: startMs / 1000 + 3607,
  iat: startMs / 1000,
  iss: issuer,
  jti: 'a5d1b7c2-3e4f-4a5b-8c6d-7e8f90a1b2c3',
  'kubernetes.io': {
    namespace: 'shop',
    node: { name: 'node-1', uid: '6d6e4f2e-5d0f-4a7c-9f7e-2d3a1c0b9e11' },
    pod: { name: 'web-6d4cf56db6-x2x7z', uid: '0b7e1f7c-3c4d-4d5e-9f60-718293a4b5c6' },
    serviceaccount: { name: 'web', uid: 'c3f2b1a0-1d2e-4f3a-8b4c-5d6e7f8091a2' },
    warnafter: startMs / 1000 + 3607,
  },
  nbf: startMs / 1000,
  sub: 'system:serviceaccount:shop:web',
  ...changes,
});
const sign = (alg: string, key: KeyObject, header: object = {}, changes: Record<string, unknown> = {}) =>
  new SignJWT(claims(changes)).setProtectedHeader({ alg, ...header }).sign(key);
const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
const invalid = { kind: 'refused', reason: 'token_invalid' };

let clock: FakeClock;
let reviewer: TokenReviewer;
beforeEach(async () => {
  clock = createFakeClock(startMs);
  const all = parse(setOf(...(await Promise.all(names.map((name) => publish(name))))));
  reviewer = createTokenReviewer({ issuer, audience: 'remora', keys: () => all }, clock);
});
const review = (token: string) => reviewer.reviewToken(`Bearer ${token}`);

describe('A token of a cluster', () => {
  it.each(names)('is accepted when its key %s signed it with the algorithm of that key', async (name) => {
    expect(await review(await sign(algorithms[name], keys[name], { kid: name }))).toEqual({
      kind: 'workload',
      workload: {
        namespace: 'shop',
        serviceAccount: 'web',
        pod: 'web-6d4cf56db6-x2x7z',
        podUid: '0b7e1f7c-3c4d-4d5e-9f60-718293a4b5c6',
        node: 'node-1',
        expiresAtMs: startMs + 3_607_000,
      },
    });
  });

  it('is accepted with one audience as a text, and without the name of its node', async () => {
    const { node: _, warnafter: __, ...older } = claims()['kubernetes.io'];
    const token = await sign('RS256', rsa, { kid: 'rsa' }, { aud: 'remora', 'kubernetes.io': older });
    expect(await review(token)).toMatchObject({ kind: 'workload' });
  });

  it.each<[string, Record<string, unknown>, string]>([
    ['for the API server', { aud: [issuer] }, 'token_audience'],
    ['of another cluster', { iss: 'https://oidc.other.example' }, 'token_invalid'],
    ['that has ended', { exp: startMs / 1000 - 31 }, 'token_expired'],
    ['that never ends', { exp: undefined }, 'token_invalid'],
    [
      'that is bound to a Secret and not to a pod',
      {
        'kubernetes.io': {
          namespace: 'shop',
          secret: { name: 'web-token', uid: 'u' },
          serviceaccount: { name: 'web', uid: 'u' },
        },
      },
      'token_not_bound',
    ],
    [
      'that is bound to nothing',
      { 'kubernetes.io': { namespace: 'shop', serviceaccount: { name: 'web', uid: 'u' } } },
      'token_not_bound',
    ],
    ['whose subject is somebody else', { sub: 'system:serviceaccount:shop:admin' }, 'token_not_bound'],
  ])('%s is refused', async (_, changes, reason) => {
    expect(await review(await sign('RS256', rsa, { kid: 'rsa' }, changes))).toMatchObject({ kind: 'refused', reason });
  });
});

describe('A forged token', () => {
  it('is refused when another algorithm of the same key signed it', async () => {
    for (const alg of ['RS384', 'RS512', 'PS256', 'PS384', 'PS512'])
      expect(await review(await sign(alg, rsa, { kid: 'rsa' }))).toMatchObject(invalid);
  });

  it('is refused when it names the key of another algorithm', async () => {
    for (const kid of names.filter((name) => name !== 'p256'))
      expect(await review(await sign('ES256', keys.p256, { kid }))).toMatchObject(invalid);
    expect(await review(await sign('RS256', rsa, { kid: 'p256' }))).toMatchObject(invalid);
  });

  it.each(['HS256', 'HS384', 'HS512'])('is refused when %s was keyed with a public key', async (alg) => {
    for (const name of names) {
      const publicKey = createPublicKey(keys[name]);
      const secrets = [
        publicKey.export({ type: 'spki', format: 'pem' }),
        publicKey.export({ type: 'spki', format: 'der' }),
        JSON.stringify(await publish(name)),
      ];
      for (const secret of secrets) {
        const body = `${encode({ alg, kid: name })}.${encode(claims())}`;
        const mac = createHmac(`sha${alg.slice(2)}`, secret)
          .update(body)
          .digest('base64url');
        expect(await review(`${body}.${mac}`)).toMatchObject(invalid);
      }
    }
  });

  it.each(['none', 'None', 'NONE', '', 'rs256', undefined, null, 7, ['RS256']])(
    'is refused with the algorithm %j',
    async (alg) => {
      const [, , signature] = (await sign('RS256', rsa, { kid: 'rsa' })).split('.');
      for (const end of ['AAAA', signature])
        expect(await review(`${encode({ alg, kid: 'rsa' })}.${encode(claims())}.${end}`)).toMatchObject(invalid);
    },
  );

  it.each([
    'unknown',
    '',
    'RSA',
    'rsa ',
    '../../dev/null',
    "rsa' or '1'='1",
    '__proto__',
    'constructor',
    null,
    7,
    ['rsa'],
    {},
  ])('is refused with the key id %j', async (kid) => {
    const head = encode({ alg: 'RS256', kid });
    const [, body, signature] = (await sign('RS256', rsa, { kid: 'rsa' })).split('.');
    expect(await review(`${head}.${body}.${signature}`)).toMatchObject(invalid);
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    if (typeof kid === 'string') expect(await review(await sign('RS256', privateKey, { kid }))).toMatchObject(invalid);
  });

  it('is refused when it brings its own key', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const jwk = await exportJWK(publicKey);
    const headers = [
      { jwk },
      { jwk, kid: 'rsa' },
      { jku: 'https://attacker.example/jwks', kid: 'rsa' },
      { x5u: 'https://attacker.example/cert', kid: 'rsa' },
      { x5c: [publicKey.export({ type: 'spki', format: 'der' }).toString('base64')], kid: 'rsa' },
    ];
    for (const header of headers) expect(await review(await sign('RS256', privateKey, header))).toMatchObject(invalid);
  });

  it('is refused without a key id when more than one key could have signed it', async () => {
    const [one, other] = [await publish('rsa'), { ...(await exportJWK(createPublicKey(rsaKey(2048)))), kid: 'other' }];
    const both = parse(setOf(one, other));
    reviewer = createTokenReviewer({ issuer, audience: 'remora', keys: () => both }, clock);
    expect(await review(await sign('RS256', rsa))).toMatchObject(invalid);
    expect(await review(await sign('RS256', rsa, { kid: 'rsa' }))).toMatchObject({ kind: 'workload' });
  });

  it('is refused when its claims were changed', async () => {
    const [header, , signature] = (await sign('RS256', rsa, { kid: 'rsa' })).split('.');
    const other = encode(claims({ sub: 'system:serviceaccount:kube-system:admin' }));
    expect(await review(`${header}.${other}.${signature}`)).toMatchObject(invalid);
  });
});

describe('A set of keys', () => {
  it('is published without anything that is not for verifying', async () => {
    const { jwks } = parse(setOf({ ...(await publish('rsa')), x5c: ['AAAA'], extra: 1 }, await publish('p384')));
    expect(jwks.keys).toEqual([await publish('rsa'), await publish('p384')]);
  });

  it('may leave out use and alg: the key itself says what it is for', async () => {
    const { kty, n, e, kid } = await publish('rsa');
    expect(parse(setOf({ kty, n, e, kid })).find({ alg: 'RS256', kid: 'rsa' })).toBeDefined();
  });

  it('finds a key for its own algorithm alone', async () => {
    const all = parse(setOf(...(await Promise.all(names.map((name) => publish(name))))));
    for (const kid of names) {
      const found = ['RS256', 'ES256', 'ES384', 'ES512', 'RS384', 'PS256', 'HS256', 'none'].filter(
        (alg) => all.find({ alg, kid }) !== undefined,
      );
      expect(found).toEqual([algorithms[kid]]);
    }
  });

  it.each(['', 'null', '[]', '{}', '{"keys":{}}', '{"keys":[]}', '<html>', `{"keys":[${'7,'.repeat(32)}7]}`])(
    'is none: %.20j',
    (text) => {
      expect(problemsOf(text)).toEqual([expect.stringMatching(/^It is not a JWK set, expected JSON such as/)]);
    },
  );

  it.each<[string, object, string]>([
    ['a symmetric key', { kty: 'oct', k: 'AAAA' }, 'kty is not RSA or EC'],
    ['an Ed25519 key', { kty: 'OKP', crv: 'Ed25519', x: 'AAAA' }, 'kty is not RSA or EC'],
    ['a key of no kind', { kty: undefined }, 'it is not a JWK with kty and kid'],
    ['a key without an id', { kid: undefined }, 'it is not a JWK with kty and kid'],
    ['an empty id', { kid: '' }, 'kid is empty'],
    ['an id without end', { kid: 'k'.repeat(257) }, 'kid is too long'],
    ['a key for encrypting', { use: 'enc' }, 'use is not sig'],
    ['a key that only signs', { key_ops: ['sign'] }, 'key_ops is without verify'],
    ['a key for HMAC', { alg: 'HS256' }, 'alg is not RS256'],
    ['a key for none', { alg: 'none' }, 'alg is not RS256'],
    ['an RSA key for ES256', { alg: 'ES256' }, 'alg is not RS256'],
    ['an RSA key for PS256', { alg: 'PS256' }, 'alg is not RS256'],
    ['a private key', { d: 'AAAA' }, 'it is a private key'],
    ['an RSA key without a modulus', { n: undefined }, 'it is not an RSA key'],
    ['an RSA key with the exponent 1', { e: 'AQ' }, 'its exponent is unusual, expected 65537'],
    ['an RSA key with the exponent 3', { e: 'Aw' }, 'its exponent is unusual, expected 65537'],
    ['an RSA key with an even exponent', { e: 'AQAC' }, 'its exponent is unusual, expected 65537'],
    ['an RSA key with an endless exponent', { e: 'AQAAAAAAAAAB' }, 'its exponent is unusual, expected 65537'],
    ['a modulus without end', { n: 'A'.repeat(5000) }, 'a part of it is too long'],
  ])('is refused as a whole for %s', async (_, changes, why) => {
    const problems = problemsOf(setOf(await publish('p256'), await publish('rsa', changes)));
    expect(problems).toEqual([expect.stringContaining(`Key 2 cannot be used: ${why}`)]);
  });

  it.each([
    [1024, 'it has 1024 bits, expected 2048 to 8192'],
    [2047, 'it has 2047 bits, expected 2048 to 8192'],
  ])('is refused for an RSA key of %d bits', async (bits, why) => {
    const { publicKey } = generateKeyPairSync('rsa', { modulusLength: bits });
    const problems = problemsOf(setOf({ ...(await exportJWK(publicKey)), kid: 'small' }));
    expect(problems).toEqual([`Key 1 cannot be used: ${why}`]);
  });

  it('is refused for a point beside its curve, another curve, and a curve for another algorithm', async () => {
    const { y } = await publish('p256');
    const p256k1 = generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey;
    const text = setOf(
      await publish('p256', { x: y }),
      { ...p256k1.export({ format: 'jwk' }), kid: 'k1' },
      await publish('p384', { alg: 'ES256' }),
    );
    expect(problemsOf(text)).toEqual([
      'Key 1 cannot be used: it is not an EC key',
      'Key 2 cannot be used: its curve is not P-256, P-384 or P-521',
      'Key 3 cannot be used: alg is not ES384, which such a key signs with',
    ]);
  });

  it('is refused when two keys have one id', async () => {
    const text = setOf(await publish('rsa'), await publish('p256', { kid: 'rsa' }));
    expect(problemsOf(text)).toEqual(['Two keys have the id rsa, expected one']);
  });

  it('is refused without quoting a key', async () => {
    const secret = createSecretKey(Buffer.from('a secret of somebody')).export({ format: 'jwk' });
    expect(problemsOf(setOf({ ...secret, kid: 'x' })).join()).not.toContain(secret.k);
  });

  it('is never made of private keys, which it would publish', () => {
    for (const key of Object.values(keys)) expect(() => tokenKeysOf({ key })).toThrow(TypeError);
    expect(() => tokenKeysOf({ key: createPublicKey(ed25519Key()) })).toThrow(TypeError);
  });

  it('has at most so many keys', async () => {
    const many = await Promise.all(
      Array.from({ length: tokenKeyLimits.keys }, (_, index) => publish('rsa', { kid: `key-${index}` })),
    );
    expect(parse(setOf(...many)).jwks.keys).toHaveLength(tokenKeyLimits.keys);
  });
});
