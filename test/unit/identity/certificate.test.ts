import { X509Certificate } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Certificate } from '../../../src/identity/certificate.ts';
import { CertificateError, readCertificate, readSerial } from '../../../src/identity/certificate.ts';
import type { CertificateSpec } from '../../support/certificates.ts';
import {
  ecKey,
  ed25519Key,
  explicitCurve,
  makeAuthority,
  makeCertificate,
  nameConstraints,
  otherName,
  rsaKey,
  rsaPublicKey,
} from '../../support/certificates.ts';
import {
  bitString,
  boolean,
  context,
  der,
  integer,
  octetString,
  oid,
  sequence,
  tags,
} from '../../support/der-writer.ts';

const id = 'spiffe://cluster.local/ns/shop/sa/web';
const authority = makeAuthority({ subject: 'root' });

function read(spec: CertificateSpec = {}): Certificate {
  return readCertificate(makeCertificate({ issuer: authority, sans: [{ uri: id }], ...spec }).der);
}

describe('readCertificate', () => {
  it('reads what Node.js reads, where both look at the same', () => {
    const { der: bytes } = makeCertificate({ issuer: authority, sans: [{ uri: id }] });
    const ours = readCertificate(bytes);
    const theirs = new X509Certificate(bytes);
    expect(ours.serial).toBe(theirs.serialNumber);
    expect(ours.fingerprint).toBe(theirs.fingerprint256.replaceAll(':', '').toLowerCase());
    expect(ours.notBeforeMs).toBe(theirs.validFromDate.getTime());
    expect(ours.notAfterMs).toBe(theirs.validToDate.getTime());
    expect(ours.uris).toEqual([id]);
  });

  it('finds the signer by its key', () => {
    const root = readCertificate(authority.der);
    // The same name and key identifier: what OpenSSL's check of an issuer is content with.
    const namesake = readCertificate(makeAuthority({ subject: 'root', subjectKeyId: authority.subjectKeyId }).der);
    expect(read().x509.checkIssued(namesake.x509)).toBe(true);
    expect(read().isSignedBy(root)).toBe(true);
    expect(read().isSignedBy(namesake)).toBe(false);
    expect(root.isSignedBy(root)).toBe(true);
    expect(namesake.subject).toBe(root.subject);
    expect(namesake.publicKey).not.toBe(root.publicKey);
  });

  it('says no, and does not throw, when the key of a signer is of another kind or of no use', () => {
    const other = readCertificate(makeAuthority({ subject: 'root', key: rsaKey() }).der);
    const broken = readCertificate(makeAuthority({ subject: 'root', publicKey: rsaPublicKey(Buffer.of(0)) }).der);
    expect(read().isSignedBy(other)).toBe(false);
    expect(read().isSignedBy(broken)).toBe(false);
  });

  it('says no when a signer’s key is of a kind that nobody knows', () => {
    const publicKey = sequence(sequence(oid('1.2.3')), bitString(Buffer.of(4)));
    const unknown = readCertificate(makeAuthority({ subject: 'root', publicKey }).der);
    expect(() => unknown.x509.publicKey).toThrow();
    expect(read().isSignedBy(unknown)).toBe(false);
  });

  it.each([
    ['no certificate', Buffer.from('garbage'), 'A certificate is not X.509'],
    [
      'two of them',
      Buffer.concat([authority.der, authority.der]),
      'A certificate is not strict DER: it holds another certificate, or bytes follow it',
    ],
    [
      'one that BER allows',
      makeCertificate({
        basicConstraints: 'absent',
        extensions: [{ oid: '2.5.29.19', critical: true, value: sequence(der(1, Buffer.of(1))) }],
      }).der,
      'A certificate is not strict DER: A BOOLEAN is neither 00 nor FF',
    ],
    [
      'a serial of 21 bytes',
      makeCertificate({ serial: Buffer.alloc(21, 1) }).der,
      'A certificate is not strict DER: A serial is empty or longer than 20 bytes',
    ],
    [
      'extensions in version 2',
      makeCertificate({ fields: ([, ...rest]) => [context(0, true, integer(1)), ...rest] }).der,
      'A certificate is not strict DER: Extensions belong to version 3',
    ],
  ])('says in words why %s cannot be read, and keeps the cause', (_, bytes, message) => {
    try {
      readCertificate(bytes);
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ name: 'CertificateError', message, cause: expect.any(Error) });
    }
  });

  it('refuses a certificate that carries another one as PEM in one of its names', () => {
    const victim = makeCertificate({ issuer: authority, sans: [{ uri: id }] });
    const { der: bytes } = makeCertificate({
      sans: [otherName('1.2.3', `\n${victim.pem}`), { uri: 'spiffe://cluster.local/ns/shop/sa/admin' }],
    });
    // The trap itself: given this DER, Node.js returns the certificate of somebody else.
    expect(new X509Certificate(bytes).subjectAltName).toContain(id);
    expect(() => readCertificate(bytes)).toThrow(CertificateError);
  });

  it('reads basic constraints', () => {
    expect(read({ basicConstraints: 'absent' })).toMatchObject({ isAuthority: false, pathLength: undefined });
    expect(read({ basicConstraints: { ca: false } })).toMatchObject({ isAuthority: false });
    expect(read({ basicConstraints: { ca: true } })).toMatchObject({ isAuthority: true, pathLength: undefined });
    expect(read({ basicConstraints: { ca: true, pathLength: 3 } })).toMatchObject({ isAuthority: true, pathLength: 3 });
  });

  it('reads an explicit CA:FALSE, which is common although DER leaves it out', () => {
    const basicConstraints = { oid: '2.5.29.19', critical: true, value: sequence(boolean(false)) };
    expect(read({ basicConstraints: 'absent', extensions: [basicConstraints] }).isAuthority).toBe(false);
  });

  it('reads key usage', () => {
    expect(read({ keyUsage: 'absent' }).keyUsage).toBeUndefined();
    expect(read({ keyUsage: [] }).keyUsage).toEqual({ digitalSignature: false, keyCertSign: false, crlSign: false });
    expect(read({ keyUsage: ['digitalSignature'] }).keyUsage).toEqual({
      digitalSignature: true,
      keyCertSign: false,
      crlSign: false,
    });
    expect(read({ keyUsage: ['keyCertSign'] }).keyUsage).toEqual({
      digitalSignature: false,
      keyCertSign: true,
      crlSign: false,
    });
    expect(read({ keyUsage: ['cRLSign'] }).keyUsage).toEqual({
      digitalSignature: false,
      keyCertSign: false,
      crlSign: true,
    });
    expect(
      read({ keyUsage: ['nonRepudiation', 'keyEncipherment', 'dataEncipherment', 'keyAgreement'] }).keyUsage,
    ).toEqual({
      digitalSignature: false,
      keyCertSign: false,
      crlSign: false,
    });
  });

  it('reads extended key usage', () => {
    expect(read({ extendedKeyUsage: 'absent' }).purposes).toBeUndefined();
    expect(read({ extendedKeyUsage: ['serverAuth', 'clientAuth'] }).purposes).toEqual([
      '1.3.6.1.5.5.7.3.1',
      '1.3.6.1.5.5.7.3.2',
    ]);
  });

  it('S15: sees only the URI among all the kinds of names', () => {
    const sans = [
      otherName('1.3.6.1.4.1.311.20.2.3', 'URI:spiffe://cluster.local/ns/shop/sa/admin'),
      { raw: context(1, false, Buffer.from('web@shop.example')) },
      { dns: 'URI:spiffe://cluster.local/ns/shop/sa/admin' },
      { raw: context(3, true, sequence(sequence(oid('1.2.3'), octetString()))) },
      { raw: context(4, true, sequence()) },
      { raw: context(5, true, context(1, true, Buffer.concat([der(tags.utf8String, Buffer.from('party'))]))) },
      { uri: id },
      { ip: [10, 0, 0, 1] },
      { raw: context(8, false, Buffer.of(0x2a, 3)) },
    ];
    expect(read({ sans }).uris).toEqual([id]);
  });

  it('C25: keeps no more than two of two thousand URIs', () => {
    const sans = Array.from({ length: 2000 }, (_, index) => ({ uri: `${id}${index}` }));
    expect(read({ sans }).uris).toEqual([`${id}0`, `${id}1`]);
  });

  it('S13: keeps the bytes of a URI apart, whatever they would mean in UTF-8', () => {
    expect(read({ sans: [{ uri: Buffer.of(0x61, 0xc3, 0xa9, 0x00, 0xff) }] }).uris).toEqual(['a\xc3\xa9\0\xff']);
  });

  it('reads name constraints over URIs and leaves those over other names alone', () => {
    const root = read({ extensions: [nameConstraints({ permitted: ['a', '.b'], excluded: ['c'] })] });
    expect(root.nameConstraints).toEqual({ permittedHosts: ['a', '.b'], excludedHosts: ['c'] });
    const other = read({ extensions: [nameConstraints({ permitted: ['a'], nameTag: 2 })] });
    expect(other.nameConstraints).toEqual({ permittedHosts: undefined, excludedHosts: [] });
  });

  it('names a critical extension that nobody here understands', () => {
    const unknown = { oid: '1.3.6.1.4.1.99999.1', critical: true, value: octetString() };
    expect(read({ extensions: [unknown] }).unknownCritical).toBe('1.3.6.1.4.1.99999.1');
    expect(read({ extensions: [{ ...unknown, critical: false }] }).unknownCritical).toBeUndefined();
    expect(read({ extensions: [nameConstraints({ permitted: ['a'] })] }).unknownCritical).toBeUndefined();
  });

  it('judges keys', () => {
    for (const key of [ecKey('P-256'), ecKey('P-384'), ecKey('P-521'), rsaKey(2048), ed25519Key()]) {
      expect(read({ key }).weakKey).toBeUndefined();
    }
    expect(read({ key: rsaKey(1024) }).weakKey).toContain('1024 bits');
    expect(read({ publicKey: rsaPublicKey(Buffer.alloc(2048, 0xff)) }).weakKey).toContain('16384 bits');
    expect(read({ key: ecKey('secp256k1') }).weakKey).toContain('1.3.132.0.10');
    expect(read({ publicKey: explicitCurve() }).weakKey).toContain('not a named one');
  });

  it('judges signatures by the algorithm of the signer', () => {
    const rsa = makeAuthority({ key: rsaKey() });
    expect(read({ issuer: rsa }).weakSignature).toBeUndefined();
    expect(read({ issuer: rsa, digest: 'sha384' }).weakSignature).toBeUndefined();
    expect(read({ issuer: makeAuthority({ key: ed25519Key() }) }).weakSignature).toBeUndefined();
    expect(read({ issuer: rsa, digest: 'sha1' }).weakSignature).toContain('1.2.840.113549.1.1.5');
    expect(read({ issuer: rsa, digest: 'md5' }).weakSignature).toContain('1.2.840.113549.1.1.4');
    expect(read({ digest: 'sha1' }).weakSignature).toContain('1.2.840.10045.4.1');
  });

  it.each([
    ['a serial of zero', Buffer.of(0), '00'],
    ['a negative serial', Buffer.of(0xff), 'FF'],
    ['a serial of 20 bytes behind a sign', Buffer.of(0, ...new Array<number>(20).fill(0xab)), 'AB'.repeat(20)],
  ])('C23: reads %s', (_, serial, text) => {
    expect(read({ serial }).serial).toBe(text);
  });

  it('C23: refuses a serial of no bytes, which OpenSSL would not let this far', () => {
    expect(() => readSerial({ tag: tags.integer, content: Buffer.alloc(0) })).toThrow('A serial is empty');
    expect(readSerial({ tag: tags.integer, content: Buffer.of(0, 0x8a) })).toBe('8A');
  });

  it('C23: reads a certificate of version 1, which has no extensions', () => {
    expect(read({ version: 1 })).toMatchObject({ uris: [], isAuthority: false, keyUsage: undefined });
  });

  const twice = { oid: '2.5.29.15', critical: true, value: bitString(Buffer.of(0x80), 7) };
  const malformed: readonly [string, CertificateSpec][] = [
    ['bytes behind the certificate', { mangle: (bytes) => Buffer.concat([bytes, Buffer.of(0)]) }],
    ['an indefinite length', { mangle: indefinite }],
    ['a serial of 100 bytes', { serial: Buffer.alloc(100, 1) }],
    ['an extension that is there twice', { extensions: [twice] }],
    [
      'a BOOLEAN of 01',
      {
        basicConstraints: 'absent',
        extensions: [{ oid: '2.5.29.19', critical: true, value: sequence(der(1, Buffer.of(1))) }],
      },
    ],
    [
      'a negative path length',
      {
        basicConstraints: 'absent',
        extensions: [{ oid: '2.5.29.19', critical: true, value: sequence(boolean(true), der(2, Buffer.of(0xff))) }],
      },
    ],
    [
      'bytes behind its names',
      {
        extensions: [{ oid: '2.5.29.17', critical: false, value: Buffer.concat([sequence(), Buffer.of(5, 0)]) }],
        sans: undefined as never,
      },
    ],
    [
      'names of a wrong length',
      {
        extensions: [{ oid: '2.5.29.17', critical: false, value: Buffer.of(0x30, 2, 0x86, 9) }],
        sans: undefined as never,
      },
    ],
    [
      'a name constraint with a minimum',
      {
        extensions: [
          {
            oid: '2.5.29.30',
            critical: true,
            value: sequence(
              context(0, true, sequence(context(6, false, Buffer.from('a')), context(0, false, Buffer.of(1)))),
            ),
          },
        ],
      },
    ],
    [
      'a purpose that is not an OBJECT IDENTIFIER',
      { extendedKeyUsage: 'absent', extensions: [{ oid: '2.5.29.37', critical: false, value: sequence(integer(1)) }] },
    ],
  ];
  it.each(malformed)('C23: refuses %s with a CertificateError', (_, spec) => {
    expect(() => read(spec)).toThrow(CertificateError);
  });

  it('C23: throws nothing but CertificateError for a certificate with some of its bytes changed', () => {
    const { der: good } = makeCertificate({ issuer: authority, sans: [{ uri: id }] });
    const change = fc.record({ at: fc.nat(good.length - 1), to: fc.nat(255) });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
        const bytes = Buffer.from(good);
        for (const { at, to } of changes) bytes[at] = to;
        try {
          readCertificate(bytes);
        } catch (error) {
          return error instanceof CertificateError;
        }
        return true;
      }),
      { numRuns: 1000 },
    );
  });
});

/** The same certificate with its outer SEQUENCE in BER's indefinite form, which OpenSSL reads. */
function indefinite(bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.of(0x30, 0x80), bytes.subarray(4), Buffer.of(0, 0)]);
}
