import { createHmac, createPublicKey } from 'node:crypto';
import { calculateJwkThumbprint, exportJWK, SignJWT, UnsecuredJWT } from 'jose';
import { beforeEach, describe, expect, it } from 'vitest';
import { newKeyPair } from '../../../src/control-plane/authority.ts';
import type { TokenIssuer, TokenRequest } from '../../../src/control-plane/token-issuer.ts';
import { createTokenIssuer } from '../../../src/control-plane/token-issuer.ts';
import type { TokenReviewer } from '../../../src/control-plane/token-review.ts';
import { createTokenReviewer } from '../../../src/control-plane/token-review.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

const startMs = Date.parse('2030-05-01T12:00:00Z');
const issuerName = 'spiffe://cluster.local';
const web: TokenRequest = { namespace: 'shop', serviceAccount: 'web', pod: 'web-0', podUid: 'uid-1' };
const key = newKeyPair().privateKey;

let clock: FakeClock;
let issuer: TokenIssuer;
let reviewer: TokenReviewer;
beforeEach(async () => {
  clock = createFakeClock(startMs);
  issuer = await createTokenIssuer(key, issuerName, clock);
  reviewer = createTokenReviewer({ issuer: issuerName, audience: 'remora', keys: () => issuer.keys }, clock);
});

const review = (token: string) => reviewer.reviewToken(`Bearer ${token}`);
const invalid = { kind: 'refused', reason: 'token_invalid' };

/** What the issuer would sign, with any claim replaced. */
const claimsWith = (changes: Record<string, unknown> = {}) => ({
  iss: issuerName,
  sub: 'system:serviceaccount:shop:web',
  aud: ['remora'],
  exp: startMs / 1000 + 600,
  'kubernetes.io': { namespace: 'shop', serviceaccount: { name: 'web' }, pod: { name: 'web-0', uid: 'uid-1' } },
  ...changes,
});
const sign = (claims: Record<string, unknown>, header = {}, signer = key) =>
  new SignJWT(claims).setProtectedHeader({ alg: 'ES256', ...header }).sign(signer);
const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

describe('a token of the issuer', () => {
  it('names its pod, its service account and its end', async () => {
    expect(await review(await issuer.mint(web))).toEqual({
      kind: 'workload',
      workload: {
        namespace: 'shop',
        serviceAccount: 'web',
        pod: 'web-0',
        podUid: 'uid-1',
        expiresAtMs: startMs + 3_600_000,
      },
    });
  });

  it('names its node where the API server says it', async () => {
    const pod = { name: 'web-0', uid: 'uid-1' };
    const bound = (node: unknown) => ({ namespace: 'shop', serviceaccount: { name: 'web' }, pod, node });
    const nodeOf = async (node: unknown) => {
      const reviewed = await review(await sign(claimsWith({ 'kubernetes.io': bound(node) })));
      return reviewed.kind === 'workload' ? reviewed.workload.node : reviewed.reason;
    };
    expect(await nodeOf({ name: 'node-1.example', uid: 'n' })).toBe('node-1.example');
    expect(await nodeOf(undefined)).toBeUndefined();
    expect(await nodeOf(null)).toBeUndefined();
    expect(await nodeOf({ name: '../node' })).toBe('token_not_bound');
  });

  it("has the claims of Kubernetes' projected tokens", async () => {
    const [, payload = ''] = (await issuer.mint({ ...web, podUid: undefined })).split('.');
    const uid = expect.stringMatching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    expect(JSON.parse(Buffer.from(payload, 'base64url').toString())).toEqual({
      iss: issuerName,
      sub: 'system:serviceaccount:shop:web',
      aud: ['remora'],
      iat: startMs / 1000,
      nbf: startMs / 1000,
      exp: startMs / 1000 + 3600,
      jti: expect.any(String),
      'kubernetes.io': { namespace: 'shop', serviceaccount: { name: 'web', uid }, pod: { name: 'web-0', uid } },
    });
  });

  it('is published with its public key only', () => {
    expect(issuer.keys.jwks.keys).toEqual([
      {
        kty: 'EC',
        crv: 'P-256',
        x: expect.any(String),
        y: expect.any(String),
        kid: expect.any(String),
        alg: 'ES256',
        use: 'sig',
      },
    ]);
  });

  it('is refused from 30 s after its end on', async () => {
    const token = await issuer.mint({ ...web, lifetimeMs: 60_000 });
    clock.stepWall(89_000);
    expect(await review(token)).toMatchObject({ kind: 'workload' });
    clock.stepWall(1_000);
    expect(await review(token)).toMatchObject({ kind: 'refused', reason: 'token_expired' });
  });

  it('is refused more than 30 s before it begins', async () => {
    const token = await issuer.mint(web);
    clock.stepWall(-30_000);
    expect(await review(token)).toMatchObject({ kind: 'workload' });
    clock.stepWall(-1_000);
    expect(await review(token)).toMatchObject({ ...invalid, why: 'The token is not valid yet' });
  });

  it.each([
    { ...web, namespace: 'a/b' },
    { ...web, namespace: 'Shop' },
    { ...web, serviceAccount: '../admin' },
    { ...web, serviceAccount: '' },
    { ...web, pod: 'a b' },
  ])('is not made for %j', (request) => {
    expect(() => issuer.mint(request)).toThrow(TypeError);
  });
});

describe('a forged token', () => {
  it('is refused without a signature', async () => {
    const unsecured = new UnsecuredJWT(claimsWith()).encode();
    expect(await review(unsecured)).toMatchObject(invalid);
    expect(await review(`${encode({ alg: 'none' })}.${encode(claimsWith())}.AAAA`)).toMatchObject(invalid);
  });

  it('is refused when HS256 was keyed with the public key, in each of its forms', async () => {
    const publicKey = createPublicKey(key);
    const secrets = [
      publicKey.export({ type: 'spki', format: 'pem' }),
      publicKey.export({ type: 'spki', format: 'der' }),
      JSON.stringify(issuer.keys.jwks.keys[0]),
    ];
    for (const secret of secrets) {
      const body = `${encode({ alg: 'HS256', kid: issuer.keys.jwks.keys[0]?.kid })}.${encode(claimsWith())}`;
      const mac = createHmac('sha256', secret).update(body).digest('base64url');
      expect(await review(`${body}.${mac}`)).toMatchObject(invalid);
    }
  });

  it('is refused when another key signed it, also under the right key id', async () => {
    const other = newKeyPair().privateKey;
    expect(await review(await sign(claimsWith(), {}, other))).toMatchObject(invalid);
    expect(await review(await sign(claimsWith(), { kid: issuer.keys.jwks.keys[0]?.kid }, other))).toMatchObject(
      invalid,
    );
  });

  it('is refused when it brings its own key in its header', async () => {
    const { privateKey, publicKey } = newKeyPair();
    const jwk = await exportJWK(publicKey);
    const kid = await calculateJwkThumbprint(jwk);
    for (const header of [{ jwk }, { jwk, kid }, { jku: 'https://attacker.example/jwks', kid }]) {
      expect(await review(await sign(claimsWith(), header, privateKey))).toMatchObject(invalid);
    }
  });

  it('is refused when its claims were changed', async () => {
    const [header, , signature] = (await issuer.mint(web)).split('.');
    expect(await review(`${header}.${encode(claimsWith())}.${signature}`)).toMatchObject(invalid);
  });

  it('is refused with an unknown critical header', async () => {
    const body = `${encode({ alg: 'ES256', crit: ['exotic'], exotic: true })}.${encode(claimsWith())}`;
    expect(await review(`${body}.AAAA`)).toMatchObject(invalid);
  });
});

describe('a signed token', () => {
  it.each([
    ['for another audience', { aud: ['kubernetes'] }, 'token_audience'],
    ['for no audience', { aud: undefined }, 'token_audience'],
    ['of another issuer', { iss: 'spiffe://other' }, 'token_invalid'],
    ['of no issuer', { iss: undefined }, 'token_invalid'],
    ['that never ends', { exp: undefined }, 'token_invalid'],
    ['that ends at a text', { exp: '2030-01-01' }, 'token_invalid'],
    ['that has ended', { exp: startMs / 1000 - 31 }, 'token_expired'],
    ['from the future', { nbf: startMs / 1000 + 31 }, 'token_invalid'],
    ['without a subject', { sub: undefined }, 'token_invalid'],
    [
      'that is not bound to a pod',
      { 'kubernetes.io': { namespace: 'shop', serviceaccount: { name: 'web' } } },
      'token_not_bound',
    ],
    ['whose subject is another service account', { sub: 'system:serviceaccount:shop:admin' }, 'token_not_bound'],
    ['of a person', { sub: 'alice', 'kubernetes.io': undefined }, 'token_not_bound'],
    [
      'with a namespace that is not a DNS label',
      {
        sub: 'system:serviceaccount:a/sa/b:web',
        'kubernetes.io': { namespace: 'a/sa/b', serviceaccount: { name: 'web' }, pod: { name: 'p', uid: 'u' } },
      },
      'token_not_bound',
    ],
    [
      'with a service account of dots',
      {
        sub: 'system:serviceaccount:shop:..',
        'kubernetes.io': { namespace: 'shop', serviceaccount: { name: '..' }, pod: { name: 'p', uid: 'u' } },
      },
      'token_not_bound',
    ],
  ])('%s is refused', async (_, changes, reason) => {
    expect(await review(await sign(claimsWith(changes)))).toMatchObject({ kind: 'refused', reason });
  });

  it('may be for our audience among others', async () => {
    expect(await review(await sign(claimsWith({ aud: ['kubernetes', 'remora'] })))).toMatchObject({ kind: 'workload' });
  });
});

describe('an authorization header', () => {
  it('that is absent is named as missing', async () => {
    expect(await reviewer.reviewToken(undefined)).toMatchObject({ kind: 'refused', reason: 'token_missing' });
  });

  it.each([
    '',
    'Bearer',
    'Bearer ',
    'Bearer a.b',
    'Bearer a.b.c.d',
    'Basic YTpi',
    'Bearer a.b.c d',
    `Bearer a.${'b'.repeat(9000)}.c`,
  ])('of another form is refused: %.20j', async (header) => {
    expect(await reviewer.reviewToken(header)).toMatchObject(invalid);
  });

  it('A13: is never part of a refusal', async () => {
    const token = await sign(claimsWith({ iss: 'x' }));
    expect(JSON.stringify(await review(token))).not.toContain(token.split('.')[2]);
  });
});
