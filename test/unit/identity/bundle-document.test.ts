import { createPublicKey } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { readBundle } from '../../../src/identity/bundle-document.ts';
import { bundleLimits, parseTrustBundle, TrustBundleError } from '../../../src/identity/trust-bundle.ts';
import type { MadeCertificate } from '../../support/certificates.ts';
import { ed25519Key, makeAuthority, makeCertificate, rsaKey } from '../../support/certificates.ts';

const domain = 'partner.example';
const root = makeAuthority({ subject: 'root a' });
const other = makeAuthority({ subject: 'root b' });

function jwk({ key, der }: MadeCertificate, more: object = {}): object {
  const { kty, crv, x, y, n, e } = createPublicKey(key).export({ format: 'jwk' });
  return { kty, use: 'x509-svid', crv, x, y, n, e, x5c: [der.toString('base64')], ...more };
}
const documentOf = (...keys: readonly unknown[]) =>
  JSON.stringify({ keys, spiffe_sequence: 7, spiffe_refresh_hint: 300, 'x-unknown': {} });

function refusal(text: string): TrustBundleError {
  try {
    const pem = readBundle(domain, text);
    if (pem !== undefined) parseTrustBundle(domain, pem);
  } catch (error) {
    if (error instanceof TrustBundleError) return error;
    throw error;
  }
  throw new Error('The document was accepted');
}

describe('B12: a SPIFFE bundle document', () => {
  it('B12: has the same roots as PEM, of every kind of key', () => {
    const roots = [root, makeAuthority({ key: rsaKey() }), makeAuthority({ key: ed25519Key() })];
    const pem = readBundle(domain, `\n ${documentOf(...roots.map((one) => jwk(one)))}`);
    expect(pem).toBe(roots.map((one) => one.pem).join(''));
    expect(parseTrustBundle(domain, pem!)).toHaveLength(3);
  });

  it('B12: leaves out elements whose kty or use is missing or unknown, whatever else they hold', () => {
    const keys = [
      { kty: 'EC', use: 'jwt-svid', kid: 'x', crv: 'P-256', x: 'AA', y: 'AA' },
      jwk(other, { use: 'jwt-svid' }),
      jwk(other, { use: 'X509-SVID' }),
      jwk(other, { use: undefined }),
      jwk(other, { kty: 'oct' }),
      jwk(other, { kty: 'ec' }),
      jwk(other, { kty: undefined }),
      { kty: 'PQ', use: 'x509-svid', x5c: 7 },
      {},
      jwk(root),
    ];
    expect(readBundle(domain, documentOf(...keys))).toBe(root.pem);
  });

  it('B12: counts the first of two certificates in x5c, and not the second', () => {
    const two = jwk(root, { x5c: [root.der.toString('base64'), other.der.toString('base64')] });
    expect(readBundle(domain, documentOf(two))).toBe(root.pem);
    expect(readBundle(domain, documentOf(jwk(root, { x5c: [root.der.toString('base64'), 7] })))).toBe(root.pem);
  });

  it('B12: without a root says that nobody is trusted, and an empty PEM does not', () => {
    expect(readBundle(domain, '{"keys":[]}')).toBeUndefined();
    expect(readBundle(domain, documentOf(jwk(root, { use: 'jwt-svid' })))).toBeUndefined();
    expect(readBundle(domain, '')).toBe('');
  });

  it('B12: is what its keys are, whatever its sequence number', () => {
    for (const spiffe_sequence of [0, -1, 'x', null])
      expect(readBundle(domain, JSON.stringify({ keys: [jwk(root)], spiffe_sequence }))).toBe(root.pem);
  });

  it.each([
    ['no x5c', undefined],
    ['an empty x5c', []],
    ['an empty text', ['']],
    ['a number', [7]],
  ])('B12: with %s says which root has no certificate', (_, x5c) => {
    expect(refusal(documentOf(jwk(other, { use: 'jwt-svid' }), jwk(root), jwk(other, { x5c }))).message).toBe(
      'The trust bundle of partner.example cannot be read: its root 2 has no certificate in x5c',
    );
  });

  it('B12: is not what only has a brace in it, such as PEM with words before its blocks', () => {
    const text = `The root of {partner}:\n${root.pem}`;
    expect(readBundle(domain, text)).toBe(text);
  });

  it.each([
    ['no JSON', '{"keys":['],
    ['no keys', '{}'],
    ['a map of bundles', JSON.stringify({ trust_domains: { [domain]: { keys: [jwk(root)] } } })],
    ['keys that are no array', '{"keys":{}}'],
    ['a key that is no object', documentOf(jwk(root), null)],
    ['a root without x5c', documentOf(jwk(root), jwk(other, { x5c: undefined }))],
    ['a root with an empty x5c', documentOf(jwk(root, { x5c: [] }))],
    ['an x5c that is no array', documentOf(jwk(root, { x5c: root.der.toString('base64') }))],
    ['base64 of the URL alphabet', documentOf(jwk(root, { x5c: [`${root.der.toString('base64url')}-_`] }))],
    ['base64 with a line feed', documentOf(jwk(root, { x5c: [`${root.der.toString('base64')}\n`] }))],
    ['PEM in x5c', documentOf(jwk(root, { x5c: [root.pem] }))],
    ['keys twice', `{"keys":[],"keys":${JSON.stringify([jwk(root)])}}`],
    ['use twice', documentOf(jwk(root)).replace('"use"', '"use":"jwt-svid","use"')],
  ])('B12: with %s is refused as a whole as bad_pem', (_, text) => {
    expect(refusal(text)).toMatchObject({
      reason: 'bad_pem',
      message: expect.stringMatching(/the trust bundle of partner\.example cannot be read: [^.]+$/i),
    });
  });

  it('B12: is held to the rules for roots', () => {
    const cut = jwk(other, { x5c: [other.der.toString('base64').slice(0, 64)] });
    expect(refusal(documentOf(jwk(root), cut))).toMatchObject({
      reason: 'bad_pem',
      message: expect.stringMatching(/^Certificate 2 in the trust bundle of partner\.example cannot be read: /),
    });
    expect(refusal(documentOf(jwk(root), jwk(makeCertificate({ issuer: root })))).message).toMatch(
      /^Certificate 2 in the trust bundle of partner\.example cannot be a root: /,
    );
  });

  it('B12: beyond the limits is refused as too_large, before it is parsed', () => {
    const whole = documentOf(jwk(root)).padEnd(bundleLimits.characters);
    expect(readBundle(domain, whole)).toBe(root.pem);
    expect(refusal(`${whole} `)).toMatchObject({
      reason: 'too_large',
      message: `The trust bundle of partner.example has ${whole.length + 1} characters, at most ${whole.length} are allowed`,
    });
    expect(refusal(`{${' '.repeat(bundleLimits.characters)}`).reason).toBe('too_large');
    const many = Array.from({ length: bundleLimits.roots + 1 }, () => jwk(root, { n: undefined }));
    expect(refusal(documentOf(...many)).reason).toBe('too_large');
  });

  it('B12: of a million brackets ends nothing', () => {
    expect(readBundle(domain, `{"keys":${'['.repeat(500_000)}${']'.repeat(500_000)}}`)).toBeUndefined();
    expect(readBundle(domain, `{"keys":[],"x":${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}}`)).toBeUndefined();
    expect(refusal(`{"keys":[],"x":${'{"a":'.repeat(100_000)}`).reason).toBe('bad_pem');
  });

  it('B4: with a private key is refused, and no byte of it is repeated', () => {
    const { d } = root.key.export({ format: 'jwk' });
    for (const more of [{ d }, { d, use: 'jwt-svid' }, { d, kty: 'unknown' }]) {
      const error = refusal(documentOf(jwk(root, more)));
      expect(error.message).toBe('The trust bundle of partner.example cannot be read: it holds a private key');
      expect(JSON.stringify([error.message, error.cause])).not.toContain(d);
    }
  });
});
