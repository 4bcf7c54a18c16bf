import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { RenewalError } from '../../../src/errors.ts';
import type { Identity, IdentityParts } from '../../../src/identity/identity.ts';
import { makeIdentity, remainingMs } from '../../../src/identity/identity.ts';
import { parseTrustBundles } from '../../../src/identity/trust-bundle.ts';
import { makeAuthority, makeCertificate } from '../../support/certificates.ts';
import { bundlesOf, createTestAuthority, createTestIdentity, spiffeId } from '../../support/identities.ts';

const mesh = createTestAuthority('cluster.local', { intermediates: 2 });
const id = spiffeId('spiffe://cluster.local/ns/shop/sa/web');
const bundles = bundlesOf(mesh);

function make(overrides: Partial<IdentityParts> = {}): Identity {
  const { key, chainPem } = mesh.issue({ id: id.uri });
  return makeIdentity({ generation: 7, key, chainPem, bundles, expected: id, nowMs: Date.now(), ...overrides });
}

/** Makes an identity of this certificate, and says why not. */
function refusal(spec: Parameters<typeof mesh.issue>[0], overrides: Partial<IdentityParts> = {}): RenewalError {
  const { key, chainPem } = mesh.issue(spec);
  return refusalOf({ key, chainPem, ...overrides });
}

function refusalOf(overrides: Partial<IdentityParts>): RenewalError {
  try {
    make(overrides);
  } catch (error) {
    if (error instanceof RenewalError) return error;
    throw error;
  }
  throw new Error('The identity was made');
}

describe('makeIdentity', () => {
  it('makes one snapshot of all that a handshake needs', () => {
    const identity = make();
    expect(identity).toMatchObject({ generation: 7, spiffeId: id, bundles });
    expect(identity.chain).toHaveLength(3);
    expect(identity.leaf).toBe(identity.chain[0]);
    expect(identity.leaf.checkPrivateKey(identity.key)).toBe(true);
    expect(identity.chainPem.match(/BEGIN CERTIFICATE/g)).toHaveLength(3);
  });

  it('names the root that its chain ends in, of several', () => {
    const other = createTestAuthority('cluster.local');
    const both = parseTrustBundles({ 'cluster.local': other.bundlePem + mesh.bundlePem });
    const [, ownRoot] = both.domains.get('cluster.local') ?? [];
    expect(make({ bundles: both }).rootFingerprint).toBe(ownRoot?.fingerprint);
  });

  it('lasts as long as the certificate of its path that ends first, its root included', () => {
    const leafEnd = Math.floor(Date.now() / 1000) * 1000 + 3_600_000;
    const { key, chainPem } = mesh.issue({ id: id.uri, notAfterMs: leafEnd });
    expect(make({ key, chainPem }).notAfterMs).toBe(leafEnd);
    const rootEnd = leafEnd - 60_000;
    const brief = createTestAuthority('cluster.local', { root: { notAfterMs: rootEnd, notBeforeMs: rootEnd - 1e9 } });
    const issued = brief.issue({ id: id.uri, notAfterMs: leafEnd, notBeforeMs: leafEnd - 1e7 });
    const identity = make({ key: issued.key, chainPem: issued.chainPem, bundles: bundlesOf(brief) });
    expect(identity.notAfterMs).toBe(rootEnd);
    expect(identity.notBeforeMs).toBe(leafEnd - 1e7);
  });

  it('leaves the root out of the chain when it came along', () => {
    const { key, chainPem } = mesh.issue({ id: id.uri });
    const identity = make({ key, chainPem: chainPem + mesh.root.pem });
    expect(identity.chainPem).toBe(chainPem);
    const both = bundlesOf(mesh, createTestAuthority('partner.example'));
    expect(make({ key, chainPem: chainPem + mesh.root.pem, bundles: both }).chainPem).toBe(chainPem);
  });

  it('accepts whatever identity a file proves when none is expected', () => {
    const { key, chainPem } = mesh.issue({ id: 'spiffe://cluster.local/any/shape' });
    expect(make({ key, chainPem, expected: undefined }).spiffeId.path).toBe('/any/shape');
  });

  it('P5: refuses a certificate for another identity as wrong_identity', () => {
    expect(refusal({ id: 'ns/shop/sa/admin' })).toMatchObject({
      reason: 'wrong_identity',
      message:
        'The certificate is for spiffe://cluster.local/ns/shop/sa/admin, expected spiffe://cluster.local/ns/shop/sa/web',
    });
    expect(refusal({ id: 'spiffe://other.example/ns/shop/sa/web' }).reason).toBe('wrong_identity');
  });

  it('refuses a certificate for another key as key_mismatch', () => {
    const { privateKey: key } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    expect(refusalOf({ key }).reason).toBe('key_mismatch');
    expect(refusalOf({ key: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey }).reason).toBe(
      'key_mismatch',
    );
  });

  it.each([
    ['nothing', ''],
    ['garbage', 'garbage'],
    ['half a block', mesh.root.pem.slice(0, 200)],
    ['a private key', mesh.root.key.export({ type: 'pkcs8', format: 'pem' }).toString()],
  ])('R21: refuses %s instead of a chain as bad_pem', (_, chainPem) => {
    expect(refusalOf({ chainPem }).reason).toBe('bad_pem');
  });

  it('R21: says what is wrong with a text that is no chain, and keeps the cause', () => {
    expect(refusalOf({ chainPem: '' }).message).toBe('The certificate chain holds no certificate');
    const error = refusalOf({ chainPem: mesh.root.pem.slice(0, 200) });
    expect(error.message).toBe('The certificate chain cannot be read: The last block has no end');
    expect(error.cause).toBeInstanceOf(Error);
  });

  it('P7: refuses two leaves, a reversed chain, an unordered one and one that ends in an unknown root as chain_invalid', () => {
    const { key, certPem, chainPem } = mesh.issue({ id: id.uri });
    const intermediates = chainPem.slice(certPem.length).split(/(?<=-----END CERTIFICATE-----\n)/);
    const second = mesh.issue({ id: id.uri }).certPem;
    expect(refusalOf({ key, chainPem: certPem + second + intermediates.join('') }).reason).toBe('chain_invalid');
    expect(refusalOf({ key, chainPem: [...intermediates].reverse().join('') + certPem }).reason).toBe('chain_invalid');
    expect(refusalOf({ key, chainPem: certPem + [...intermediates].reverse().join('') }).reason).toBe('chain_invalid');
    expect(refusalOf({ key, chainPem: certPem }).reason).toBe('chain_invalid');
    expect(refusalOf({ key, chainPem: chainPem + makeAuthority().pem }).reason).toBe('chain_invalid');
    const stranger = createTestAuthority('cluster.local').issue({ id: id.uri });
    expect(refusalOf({ key: stranger.key, chainPem: stranger.chainPem }).reason).toBe('chain_invalid');
  });

  it('P7: refuses a chain of more than eight certificates', () => {
    const long = createTestAuthority('cluster.local', { intermediates: 8 });
    const { key, chainPem } = long.issue({ id: id.uri });
    expect(refusalOf({ key, chainPem, bundles: bundlesOf(long) })).toMatchObject({
      reason: 'chain_invalid',
      message: 'The chain has 9 certificates, at most 8 are allowed',
    });
    const fits = createTestAuthority('cluster.local', { intermediates: 7 });
    const issued = fits.issue({ id: id.uri });
    expect(make({ key: issued.key, chainPem: issued.chainPem, bundles: bundlesOf(fits) }).chain).toHaveLength(8);
  });

  it('P9: refuses a leaf that has expired as already_expired and one from the future as not_yet_valid', () => {
    const now = Date.now();
    expect(refusal({ id: id.uri, notAfterMs: now - 1000 }).reason).toBe('already_expired');
    expect(refusal({ id: id.uri, notBeforeMs: now + 60_000 }).reason).toBe('not_yet_valid');
    expect(refusalOf({ nowMs: now + 1e12 }).reason).toBe('already_expired');
  });

  it.each([
    ['is an authority', { basicConstraints: { ca: true } }],
    ['has two URIs', { sans: [{ uri: id.uri }, { uri: id.uri }] }],
    ['has no URI', { sans: [] }],
    ['has no key usage', { keyUsage: 'absent' as const }],
    ['is for servers alone', { extendedKeyUsage: ['serverAuth'] }],
  ])('P10: holds our own certificate to our own rules: one that %s is chain_invalid', (_, spec) => {
    expect(refusal({ id: id.uri, ...spec }).reason).toBe('chain_invalid');
  });

  it('B1: refuses a bundle without any trust domain as bundle_empty', () => {
    expect(refusalOf({ bundles: { domains: new Map() } }).reason).toBe('bundle_empty');
  });

  it('B9: refuses a leaf that arrives before the bundle that verifies it', () => {
    const next = createTestAuthority('cluster.local');
    const { key, chainPem } = next.issue({ id: id.uri });
    expect(refusalOf({ key, chainPem }).reason).toBe('chain_invalid');
    expect(make({ key, chainPem, bundles: bundlesOf(next) }).spiffeId).toEqual(id);
  });

  it('refuses a certificate of a trust domain without a bundle', () => {
    const other = createTestAuthority('other.example');
    const { key, chainPem } = other.issue({ id: 'ns/a/sa/b' });
    expect(refusalOf({ key, chainPem, expected: undefined }).reason).toBe('chain_invalid');
  });

  it('says in one sentence what is wrong', () => {
    const { message } = refusal({ id: id.uri, keyUsage: 'absent' });
    expect(message).toBe('No peer would accept the certificate: the certificate has no key usage');
  });

  it('refuses bytes behind a certificate', () => {
    const { der: bytes, key } = makeCertificate({ issuer: mesh.issuer, sans: [{ uri: id.uri }] });
    const text = Buffer.concat([bytes, Buffer.of(0)]).toString('base64');
    expect(
      refusalOf({ key, chainPem: `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n` }).reason,
    ).toBe('bad_pem');
  });
});

describe('createTestIdentity', () => {
  it('makes an identity with its own generation and bundles', () => {
    const identity = createTestIdentity(mesh, { namespace: 'shop', serviceAccount: 'web', generation: 3 });
    expect(identity).toMatchObject({ generation: 3, spiffeId: id });
  });
});

describe('how long an identity lasts', () => {
  const identity = { notAfterMs: 10_000 } as Identity;

  it('is until the end of its path, and nothing once that has come', () => {
    expect([0, 9_999, 10_000, 10_001].map((nowMs) => remainingMs(identity, nowMs))).toEqual([10_000, 1, 0, -1]);
  });

  it('is nothing once it was ended early, also when the clock is set back', () => {
    const ended = { ...identity, endedBecause: 'it was revoked' };
    expect([0, 9_999, 10_000, 10_001].map((nowMs) => remainingMs(ended, nowMs))).toEqual([0, 0, 0, -1]);
  });
});
