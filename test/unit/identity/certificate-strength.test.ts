import { createPublicKey } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { acceptedSignature, weakKey, weakSignature } from '../../../src/identity/certificate-strength.ts';
import { DerError, readDer, tags as readTags } from '../../../src/identity/der.ts';
import { ecKey, ed25519Key, explicitCurve, rsaKey, rsaPublicKey } from '../../support/certificates.ts';
import { bitString, der, integer, oid, sequence, tags } from '../../support/der-writer.ts';

const algorithm = (type: string) => readDer(sequence(oid(type), der(tags.null)), readTags.sequence);
const judge = (publicKeyInfo: Uint8Array) => weakKey(readDer(publicKeyInfo, readTags.sequence).content);
const infoOf = (key: ReturnType<typeof ecKey>) => createPublicKey(key).export({ type: 'spki', format: 'der' });
/** The RSA key with a modulus of so many bits, behind so many zeros. */
const rsaOf = (bits: number, zeros = 0) => {
  const modulus = Buffer.alloc(Math.ceil(bits / 8), 0xff);
  modulus[0] = 0xff >> ((8 - (bits % 8)) % 8);
  return rsaPublicKey(Buffer.concat([Buffer.alloc(zeros), modulus]));
};

describe('the strength of a signature', () => {
  it.each([
    ['1.2.840.10045.4.3.2', 'ec', 'sha256'],
    ['1.2.840.10045.4.3.3', 'ec', 'sha384'],
    ['1.2.840.10045.4.3.4', 'ec', 'sha512'],
    ['1.2.840.113549.1.1.11', 'rsa', 'sha256'],
    ['1.2.840.113549.1.1.12', 'rsa', 'sha384'],
    ['1.2.840.113549.1.1.13', 'rsa', 'sha512'],
    ['1.3.101.112', 'ed25519', undefined],
  ])('C21: %s is accepted, by a key of type %s with %s', (type, keyType, digest) => {
    expect(acceptedSignature(algorithm(type))).toEqual({ keyType, digest });
    expect(weakSignature(algorithm(type))).toBeUndefined();
  });

  it.each([
    ['MD5 with RSA', '1.2.840.113549.1.1.4'],
    ['SHA-1 with RSA', '1.2.840.113549.1.1.5'],
    ['SHA-224 with RSA', '1.2.840.113549.1.1.14'],
    ['RSA-PSS', '1.2.840.113549.1.1.10'],
    ['SHA-1 with ECDSA', '1.2.840.10045.4.1'],
    ['SHA-224 with ECDSA', '1.2.840.10045.4.3.1'],
    ['SHA-256 with DSA', '2.16.840.1.101.3.4.3.2'],
    ['Ed448', '1.3.101.113'],
    ['nothing anybody knows', '1.2.3'],
  ])('C21: %s is not', (_, type) => {
    expect(acceptedSignature(algorithm(type))).toBeUndefined();
    expect(weakSignature(algorithm(type))).toBe(`it is signed with ${type}, which is not an accepted algorithm`);
  });
});

describe('the strength of a key', () => {
  it('C21: is enough on the three curves, with Ed25519, and with RSA', () => {
    for (const key of [ecKey('P-256'), ecKey('P-384'), ecKey('P-521'), ed25519Key(), rsaKey()])
      expect(judge(infoOf(key))).toBeUndefined();
  });

  it.each([2048, 2049, 3072, 8191, 8192])('C21: is enough with RSA of %i bits', (bits) => {
    expect(judge(rsaOf(bits))).toBeUndefined();
  });

  it.each([
    [2047, 0],
    [1024, 0],
    [1024, 200],
    [1, 300],
    [8193, 0],
    [16384, 0],
  ])('C21: is not with RSA of %i bits, whatever zeros are before them (%i bytes)', (bits, zeros) => {
    expect(judge(rsaOf(bits, zeros))).toBe(`its RSA key has ${bits} bits, expected 2048 to 8192`);
  });

  it('C21: is none with a modulus of zero', () => {
    expect(judge(rsaPublicKey(Buffer.alloc(256)))).toBe('its RSA key has 0 bits, expected 2048 to 8192');
  });

  it.each([
    ['secp256k1', '1.3.132.0.10'],
    ['prime192v1', '1.2.840.10045.3.1.1'],
    ['secp224r1', '1.3.132.0.33'],
    ['brainpoolP256r1', '1.3.36.3.3.2.8.1.1.7'],
  ])('C21: is not enough on %s', (curve, type) => {
    expect(judge(infoOf(ecKey(curve)))).toBe(`its key is on the curve ${type}, expected P-256, P-384 or P-521`);
  });

  it('C21: is not known on a curve that is written out, or not there', () => {
    expect(judge(explicitCurve())).toBe('the curve of its key is not a named one');
    const ofCurve = (...parameters: Uint8Array[]) =>
      sequence(sequence(oid('1.2.840.10045.2.1'), ...parameters), bitString(Buffer.of(4)));
    expect(judge(ofCurve(der(tags.null)))).toBe('the curve of its key is not a named one');
    expect(() => judge(ofCurve())).toThrow(DerError);
  });

  it.each(['1.2.840.10040.4.1', '1.3.101.113', '1.3.101.110', '1.2.840.113549.1.1.10', '1.2.3'])(
    'C21: is not enough with a key of type %s',
    (type) => {
      expect(judge(sequence(sequence(oid(type)), bitString(Buffer.of(4))))).toBe(
        `its key is of type ${type}, which is not an accepted one`,
      );
    },
  );

  it('C23: is not judged for a key that is malformed', () => {
    const rsa = (key: Uint8Array) => sequence(sequence(oid('1.2.840.113549.1.1.1'), der(tags.null)), bitString(key));
    expect(() => judge(rsa(integer(1)))).toThrow(DerError);
    expect(() => judge(rsa(sequence()))).toThrow(DerError);
    expect(() => judge(rsa(sequence(oid('1.2.3'))))).toThrow(DerError);
    expect(() => judge(sequence(sequence(oid('1.3.101.112')), bitString(Buffer.of(4)), integer(1)))).toThrow(DerError);
    expect(() => judge(sequence(sequence(oid('1.3.101.112')), integer(1)))).toThrow(DerError);
  });
});
