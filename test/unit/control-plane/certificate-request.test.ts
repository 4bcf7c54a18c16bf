import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readCertificateRequest } from '../../../src/control-plane/certificate-request.ts';
import { createCsr, createKey } from '../../../src/identity/csr.ts';
import { context } from '../../support/der-writer.ts';
import type { ForgedCsr } from '../../support/forged-csr.ts';
import { csrPem, forgeCsr } from '../../support/forged-csr.ts';
import { spiffeId } from '../../support/identities.ts';

const key = createKey();
const request = createCsr(key, spiffeId('spiffe://cluster.local/ns/shop/sa/web'));
const der = Buffer.from(request.replaceAll(/-----.*-----/g, ''), 'base64');
const ecKey = (namedCurve: string, paramEncoding: 'named' | 'explicit' = 'named') =>
  generateKeyPairSync('ec', { namedCurve, paramEncoding }).privateKey;
const rsaKey = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
const ed25519Key = generateKeyPairSync('ed25519').privateKey;
const wrongAlgorithm = 'not signed with ecdsa-with-SHA256';
const wrongKey = 'not an uncompressed point on P-256';

describe('readCertificateRequest', () => {
  it('takes the key of a request of ours', () => {
    const result = readCertificateRequest(request);
    expect(result.kind === 'key' && result.publicKey.equals(createPublicKey(key))).toBe(true);
  });

  it('takes a request with an ID of 2048 bytes', () => {
    const long = createCsr(key, spiffeId(`spiffe://cluster.local/${'a'.repeat(2025)}`));
    expect(readCertificateRequest(long)).toMatchObject({ kind: 'key' });
  });

  it('takes the key alone from a request that claims a subject, under both names of the PEM block', () => {
    for (const label of ['CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST']) {
      const result = readCertificateRequest(csrPem(forgeCsr({ key }), label));
      expect(result).toEqual({ kind: 'key', publicKey: expect.anything() });
    }
  });

  it.each<[string, ForgedCsr, string]>([
    ['an RSA key', { key: rsaKey, signature: 'sha256WithRsa' }, wrongAlgorithm],
    ['an RSA key under the name of ECDSA', { key: rsaKey }, wrongKey],
    ['a P-384 key', { key: ecKey('P-384') }, wrongKey],
    ['a secp256k1 key', { key: ecKey('secp256k1') }, wrongKey],
    ['a P-192 key', { key: ecKey('P-192') }, wrongKey],
    ['explicit curve parameters', { key: ecKey('P-256', 'explicit') }, wrongKey],
    ['a SHA-1 signature', { key, signature: 'ecdsaWithSha1', hash: 'sha1' }, wrongAlgorithm],
    ['a SHA-1 signature under the name of SHA-256', { key, hash: 'sha1' }, 'signature does not match'],
    ['an Ed25519 key', { key: ed25519Key, signature: 'ed25519', hash: null }, wrongAlgorithm],
  ])('C21: refuses %s', (_, parts, why) => {
    expect(readCertificateRequest(csrPem(forgeCsr(parts)))).toEqual({
      kind: 'refused',
      why: expect.stringContaining(why),
    });
  });

  it('refuses a request for a key that another key signed', () => {
    expect(readCertificateRequest(csrPem(forgeCsr({ key, signer: createKey() })))).toEqual({
      kind: 'refused',
      why: expect.stringContaining('signature does not match'),
    });
  });

  it.each([
    ['nothing', ''],
    ['text', 'hello'],
    ['two requests', request + request],
    ['a private key beside it', request + key.export({ type: 'pkcs8', format: 'pem' })],
    ['another label', csrPem(der, 'CERTIFICATE')],
    ['text around it', `hello\n${request}`],
    ['an empty block', csrPem(Buffer.alloc(0))],
    ['another version', csrPem(forgeCsr({ key, version: 1 }))],
    ['no attributes', csrPem(forgeCsr({ key, attributes: Buffer.alloc(0) }))],
    [
      'two sets of attributes',
      csrPem(forgeCsr({ key, attributes: Buffer.concat([context(0, true), context(0, true)]) })),
    ],
    ['bytes behind the request', csrPem(Buffer.concat([der, Buffer.of(0x05, 0x00)]))],
    ['an indefinite length', csrPem(Buffer.concat([Buffer.of(0x30, 0x80), der.subarray(3), Buffer.of(0, 0)]))],
    ['a length that is not the shortest', csrPem(Buffer.concat([Buffer.of(0x30, 0x82, 0), der.subarray(2)]))],
    ['a length beyond the end', csrPem(Buffer.from('30820fff', 'hex'))],
    ['more than 8 KiB', csrPem(forgeCsr({ key, attributes: context(0, true, Buffer.alloc(8192)) }))],
    ['deep nesting', csrPem(Buffer.from('3080'.repeat(4000), 'hex'))],
  ])('refuses %s', (_, text) => {
    expect(readCertificateRequest(text)).toMatchObject({ kind: 'refused' });
  });

  it('refuses a key that is not on the curve', () => {
    const bytes = Buffer.from(der);
    const point = createPublicKey(key).export({ type: 'spki', format: 'der' }).subarray(-64);
    bytes.fill(0xee, bytes.indexOf(point), bytes.indexOf(point) + 64);
    expect(readCertificateRequest(csrPem(bytes))).toMatchObject({ why: expect.stringContaining('P-256') });
  });

  it('C23: never accepts a request of which any byte was changed, and never throws', () => {
    const change = fc.integer({ min: 1, max: 255 });
    fc.assert(
      fc.property(fc.nat({ max: der.length - 1 }), change, (index, bits) => {
        const bytes = Buffer.from(der);
        bytes[index] = (bytes[index] ?? 0) ^ bits;
        expect(readCertificateRequest(csrPem(bytes))).toMatchObject({ kind: 'refused' });
      }),
      { numRuns: 1000 },
    );
  });

  it('C23: never throws on garbage, cut or spliced', () => {
    const garbage = fc.oneof(
      fc.uint8Array({ maxLength: 600 }).map((bytes) => csrPem(bytes)),
      fc.nat({ max: der.length - 1 }).map((length) => csrPem(der.subarray(0, length))),
      fc.string({ maxLength: 300, unit: 'binary' }),
      fc
        .string({ minLength: 1, maxLength: 300 })
        .map((text) => request.replace('REQUEST-----\n', `REQUEST-----\n${text}`)),
    );
    fc.assert(
      fc.property(garbage, (text) => {
        const isWhole = text.replaceAll(/\s/g, '') === request.replaceAll(/\s/g, '');
        expect(readCertificateRequest(text).kind).toBe(isWhole ? 'key' : 'refused');
      }),
      { numRuns: 1000 },
    );
  });
});
