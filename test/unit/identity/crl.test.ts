import { execFileSync } from 'node:child_process';
import { createPublicKey } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CertificateError, readCertificate } from '../../../src/identity/certificate.ts';
import { CrlError, crlLimits, parseCrls, readCrlFile } from '../../../src/identity/crl.ts';
import { readCrlFields } from '../../../src/identity/crl-fields.ts';
import { DerError, elements, readDer, tags } from '../../../src/identity/der.ts';
import { PemError } from '../../../src/identity/pem.ts';
import type { MadeCertificate } from '../../support/certificates.ts';
import { ecKey, ed25519Key, makeAuthority, makeCertificate, rsaKey } from '../../support/certificates.ts';
import type { CrlSpec } from '../../support/crls.ts';
import { issuingDistributionPoint, makeCrl } from '../../support/crls.ts';
import { context, der, integer, oid, sequence, time } from '../../support/der-writer.ts';

const authority = makeAuthority({ subject: 'authority' });
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex').toUpperCase();
const serialOf = (certificate: MadeCertificate) => readCertificate(certificate.der).serial;
const read = (spec: Partial<CrlSpec> = {}) => parseCrls(makeCrl({ issuer: authority, ...spec }).der)[0];
/** Why a file is refused; throws when it is not, or for anything but what it should. */
function refusalOf(text: string): CrlError {
  try {
    parseCrls(Buffer.from(text));
  } catch (error) {
    if (error instanceof CrlError) return error;
    throw error;
  }
  throw new Error('The lists were accepted');
}
const enumerated = (value: number) => der(0x0a, Buffer.of(value));

/** Takes a finished list apart, changes the fields of its body, and puts it together again. */
const withBody =
  (change: (fields: readonly Buffer[]) => readonly Buffer[]) =>
  (crl: Buffer): Buffer => {
    const [body, ...rest] = partsOf(crl);
    return sequence(sequence(...change(partsOf(body!))), ...rest);
  };
const partsOf = (bytes: Uint8Array) =>
  [...elements(readDer(bytes, tags.sequence).content)].map(({ tag, content }) => der(tag, content));
/** Puts the entries behind the date of the next update. */
const withEntries = (...entries: Buffer[]) =>
  withBody((fields) => [...fields.slice(0, 5), sequence(...entries), ...fields.slice(5)]);

describe('parseCrls', () => {
  it('reads who is revoked, by the names and serials that certificates have', () => {
    const revoked = [makeCertificate({ issuer: authority }), makeCertificate({ issuer: authority })];
    const crl = read({ revoked, number: 7, thisUpdateMs: 1_000, nextUpdateMs: 2_600_000_000_000 });
    expect(crl).toMatchObject({
      issuer: readCertificate(authority.der).subject,
      thisUpdateMs: 1_000,
      nextUpdateMs: 2_600_000_000_000,
      number: 7n,
      distributionPoint: '',
      serials: new Set(revoked.map(serialOf)),
    });
  });

  it.each([
    ['zero', Buffer.of(0), '00'],
    ['with its sign written', Buffer.of(0, 0xca), 'CA'],
    ['negative', Buffer.of(0xca), 'CA'],
    ['of 20 bytes', Buffer.alloc(20, 0x11), '11'.repeat(20)],
  ])('reads a serial that is %s as a certificate has it', (_, serial, expected) => {
    expect([...(read({ revoked: [serial] })?.serials ?? [])]).toEqual([expected]);
    expect(serialOf(makeCertificate({ issuer: authority, serial }))).toBe(expected);
  });

  it('reads a list of version 1, without a number and without a next update', () => {
    const crl = read({ version: 1, revoked: [Buffer.of(5)], nextUpdateMs: 'absent' });
    expect(crl).toMatchObject({ nextUpdateMs: undefined, number: undefined, serials: new Set(['05']) });
  });

  it('reads lists in PEM, one behind the other, with certificates of authorities beside them', () => {
    const [one, two] = [makeCrl({ issuer: authority }), makeCrl({ issuer: authority, number: 2 })];
    const file = readCrlFile(Buffer.from(`# of the mesh\n${one.pem}${authority.pem}${two.pem}`));
    expect(file.crls.map(({ number }) => number)).toEqual([1n, 2n]);
    expect(file.certificates.map(({ fingerprint }) => fingerprint)).toEqual([
      readCertificate(authority.der).fingerprint,
    ]);
    expect(parseCrls(Buffer.from(`${one.pem}${two.pem}`))).toHaveLength(2);
  });

  it('keeps the lists of several distribution points apart', () => {
    const point = (name: string) =>
      issuingDistributionPoint(context(0, true, context(0, true, context(6, false, Buffer.from(name)))));
    const [a, b] = ['http://a/', 'http://b/'].map((name) => read({ extensions: [point(name)] })?.distributionPoint);
    expect(a).not.toBe('');
    expect(a).not.toBe(b);
  });

  it('reads reasons, invalidity dates and extensions that are not critical', () => {
    const entryExtensions = [
      { oid: '2.5.29.21', critical: true, value: enumerated(1) },
      { oid: '2.5.29.24', critical: true, value: der(0x18, Buffer.from('20200101000000Z')) },
      { oid: '1.2.3', critical: false, value: sequence() },
    ];
    expect(read({ revoked: [Buffer.of(5)], entryExtensions })?.serials).toEqual(new Set(['05']));
  });

  it('reads an entry that gives no reason', () => {
    const invalidity = { oid: '2.5.29.24', critical: true, value: der(0x18, Buffer.from('20200101000000Z')) };
    expect(read({ revoked: [Buffer.of(5)], entryExtensions: [invalidity] })?.serials).toEqual(new Set(['05']));
  });

  it('takes a list for one of all certificates when its distribution point has no place, or limits nothing', () => {
    for (const fields of [
      [],
      [context(1, false, Buffer.of(0))],
      [4, 5].map((tag) => context(tag, false, Buffer.of(0))),
    ])
      expect(read({ extensions: [issuingDistributionPoint(...fields)] })?.distributionPoint).toBe('');
  });

  it('reads a number of 20 bytes', () => {
    const extensions = [{ oid: '2.5.29.20', critical: false, value: der(0x02, Buffer.alloc(20, 0x11)) }];
    expect(read({ number: 'absent', extensions })?.number).toBe(BigInt(`0x${'11'.repeat(20)}`));
  });

  it('reads as many entries as there is room for', () => {
    const { der: list } = makeCrl({ issuer: authority, revoked: [Buffer.of(5), Buffer.of(6)] });
    expect(readCrlFields(list, 2).fields.serials.size).toBe(2);
    expect(() => readCrlFields(list, 1)).toThrow('there are more entries than the 1 that are allowed');
  });

  const trueInDer = (number: number) => context(number, false, Buffer.of(0xff));
  it.each<[string, Partial<CrlSpec>, RegExp]>([
    ['a delta CRL', { extensions: [{ oid: '2.5.29.27', critical: true, value: integer(1) }] }, /a delta CRL/],
    [
      'a delta CRL that does not say that it matters',
      { extensions: [{ oid: '2.5.29.27', critical: false, value: integer(1) }] },
      /a delta CRL/,
    ],
    ['an indirect CRL', { extensions: [issuingDistributionPoint(trueInDer(4))] }, /an indirect CRL/],
    [
      'an entry of another issuer',
      { revoked: [Buffer.of(5)], entryExtensions: [{ oid: '2.5.29.29', critical: true, value: sequence() }] },
      /an indirect CRL/,
    ],
    ['a list of workloads only', { extensions: [issuingDistributionPoint(trueInDer(1))] }, /workloads only/],
    ['a list of authorities only', { extensions: [issuingDistributionPoint(trueInDer(2))] }, /authorities only/],
    [
      'a list of some reasons',
      { extensions: [issuingDistributionPoint(context(3, false, Buffer.of(5, 0x40)))] },
      /some reasons/,
    ],
    [
      'a list of attribute certificates',
      { extensions: [issuingDistributionPoint(trueInDer(5))] },
      /attribute certificates/,
    ],
    [
      'a distribution point with an unknown field',
      { extensions: [issuingDistributionPoint(trueInDer(6))] },
      /not understood/,
    ],
    [
      'an entry that removes',
      { revoked: [Buffer.of(5)], entryExtensions: [{ oid: '2.5.29.21', critical: false, value: enumerated(8) }] },
      /removes a certificate/,
    ],
    [
      'an unknown critical extension',
      { extensions: [{ oid: '1.2.3', critical: true, value: sequence() }] },
      /critical extension 1\.2\.3/,
    ],
    [
      'an entry with an unknown critical extension',
      { revoked: [Buffer.of(5)], entryExtensions: [{ oid: '1.2.3', critical: true, value: sequence() }] },
      /critical extension 1\.2\.3/,
    ],
    [
      'an extension that is there twice',
      { extensions: [{ oid: '2.5.29.20', critical: false, value: integer(2) }] },
      /twice/,
    ],
    [
      'a negative number',
      { number: 'absent', extensions: [{ oid: '2.5.29.20', critical: false, value: der(0x02, Buffer.of(0x80)) }] },
      /number/,
    ],
    [
      'an entry extension in version 1',
      { version: 1, revoked: [Buffer.of(5)], entryExtensions: [{ oid: '1.2.3', critical: false, value: sequence() }] },
      /version 2/,
    ],
    ['a version that there is not', { version: 3 }, /version is not 2/],
    ['extensions in version 1', { isVersionAbsent: true }, /extensions belong to version 2/],
    [
      'a number of 21 bytes',
      {
        number: 'absent',
        extensions: [{ oid: '2.5.29.20', critical: false, value: der(0x02, Buffer.alloc(21, 1)) }],
      },
      /longer than 20 bytes/,
    ],
    [
      'an empty number',
      { number: 'absent', extensions: [{ oid: '2.5.29.20', critical: false, value: der(0x02) }] },
      /empty or longer than 20 bytes/,
    ],
    [
      'an entry that is no SEQUENCE',
      { mangle: withEntries(der(0x31, integer(5), time(0))) },
      /an entry is not a SEQUENCE/,
    ],
    [
      'an entry with a field too many',
      { mangle: withEntries(sequence(integer(5), time(0), integer(0))) },
      /more elements than expected/,
    ],
    [
      'a field behind the extensions',
      { mangle: withBody((fields) => [...fields, integer(0)]) },
      /more elements than expected/,
    ],
    [
      'a fourth part',
      { mangle: (crl) => sequence(readDer(crl, tags.sequence).content, integer(0)) },
      /more elements than expected/,
    ],
    ['a weak signature', { digest: 'sha1' }, /1\.2\.840\.10045\.4\.1/],
    [
      'another algorithm inside',
      { innerAlgorithm: sequence(der(0x06, Buffer.of(0x2b, 0x65, 0x70))) },
      /another algorithm/,
    ],
    ['no issuer', { issuerName: sequence() }, /no issuer/],
    ['bytes behind it', { mangle: (crl) => Buffer.concat([crl, integer(0)]) }, /Bytes follow/],
    ['a serial of more than 20 bytes', { revoked: [Buffer.alloc(22, 1)] }, /serial/],
    [
      'an indefinite length',
      { mangle: (crl) => Buffer.concat([Buffer.of(0x30, 0x80), readDer(crl, tags.sequence).content, Buffer.of(0, 0)]) },
      /indefinite/,
    ],
  ])('refuses %s', (_, spec, words) => {
    expect(() => read(spec)).toThrow(CrlError);
    expect(() => read(spec)).toThrow(words);
  });

  it.each([
    ['nothing', ''],
    ['a certificate alone', authority.pem],
    ['a list that is cut', makeCrl({ issuer: authority }).pem.slice(0, -30)],
    [
      'one good list and half of another',
      `${makeCrl({ issuer: authority }).pem}${makeCrl({ issuer: authority }).pem.slice(0, 90)}`,
    ],
    [
      'a list that begins as one thing and ends as another',
      makeCrl({ issuer: authority }).pem.replace('END X509 CRL', 'END CERTIFICATE'),
    ],
    ['a key', authority.key.export({ type: 'pkcs8', format: 'pem' }).toString()],
    ['a certificate in the place of a list', authority.pem.replaceAll('CERTIFICATE', 'X509 CRL')],
  ])('refuses a file with %s', (_, text) => {
    expect(() => parseCrls(Buffer.from(text))).toThrow(CrlError);
  });

  it('refuses more entries, lists and bytes than a file may have', () => {
    const entries = Array.from({ length: crlLimits.entries / 2 + 1 }, (__, index) => integer(index + 1).subarray(2));
    const half = makeCrl({ issuer: authority, revoked: entries }).pem;
    expect(parseCrls(Buffer.from(half))).toHaveLength(1);
    expect(refusalOf(half + half).message).toMatch(/more entries than the 24999 that are allowed/);
    const one = makeCrl({ issuer: authority }).pem;
    expect(parseCrls(Buffer.from(one.repeat(crlLimits.lists)))).toHaveLength(100);
    expect(refusalOf(one.repeat(101)).message).toBe('The CRLs have 101 lists, at most 100 are allowed');
    const crowd = one + authority.pem.repeat(crlLimits.certificates);
    expect(readCrlFile(Buffer.from(crowd)).certificates).toHaveLength(100);
    expect(refusalOf(crowd + authority.pem).message).toBe('The CRLs have 101 certificates, at most 100 are allowed');
    const large = one.padEnd(crlLimits.bytes);
    expect(parseCrls(Buffer.from(large))).toHaveLength(1);
    expect(refusalOf(`${large} `).message).toBe('The CRLs have 4194305 bytes, at most 4194304 are allowed');
  });

  it.each([
    ['a digit', '0 lists are old\n'],
    ['a letter that is not ASCII', 'état\n'],
    ['an ASCII letter and one that is not', 'Für heute\n'],
  ])('takes a text for PEM that begins with %s', (_, words) => {
    expect(parseCrls(Buffer.from(`${words}${makeCrl({ issuer: authority }).pem}`))).toHaveLength(1);
  });

  it.each<[string, string, RegExp, new (...args: never[]) => Error]>([
    ['PEM', '-----BEGIN X509 CRL-----\n', /^The CRLs cannot be read: The last block has no end$/, PemError],
    [
      'DER in a block',
      '-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n',
      /^A CRL cannot be used: An element has tag none, expected 48$/,
      DerError,
    ],
    [
      'certificate beside a list',
      `${makeCrl({ issuer: authority }).pem}-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n`,
      /^A certificate beside the CRLs cannot be read: A certificate is not X\.509$/,
      CertificateError,
    ],
  ])('says what is wrong with the %s', (_, text, words, cause) => {
    const error = refusalOf(text);
    expect(error).toMatchObject({ name: 'CrlError', message: expect.stringMatching(words) });
    expect(error.cause).toBeInstanceOf(cause);
  });

  it('never throws anything but CrlError, whatever byte is changed', () => {
    const { der: good } = makeCrl({ issuer: authority, revoked: [Buffer.of(5)] });
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), fc.nat(good.length), (at, value, length) => {
        const bytes = Buffer.from(good.subarray(0, Math.max(at + 1, length)));
        bytes[at] = value;
        try {
          const [crl] = parseCrls(bytes);
          return crl?.isSignedBy(readCertificate(authority.der)) !== true || bytes.equals(good);
        } catch (error) {
          return error instanceof CrlError;
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe('isSignedBy', () => {
  it.each([
    ['P-256', () => ecKey(), 'sha256'],
    ['P-384', () => ecKey('P-384'), 'sha384'],
    ['RSA', () => rsaKey(), 'sha256'],
    ['Ed25519', () => ed25519Key(), 'sha256'],
  ] as const)('knows the signature of a key of type %s', (_, makeKey, digest) => {
    const issuer = makeAuthority({ key: makeKey() });
    const [crl] = parseCrls(makeCrl({ issuer, digest }).der);
    expect(crl?.isSignedBy(readCertificate(issuer.der))).toBe(true);
    const namesake = makeAuthority({ key: makeKey() });
    expect(crl?.isSignedBy(readCertificate(namesake.der))).toBe(false);
  });

  it('refuses a namesake with another key, of the same type or another', () => {
    for (const key of [ecKey(), rsaKey(), ed25519Key()]) {
      const namesake = readCertificate(makeAuthority({ subject: 'authority', key }).der);
      expect(read()?.isSignedBy(namesake)).toBe(false);
    }
  });

  it('refuses the right key under another name', () => {
    const renamed = readCertificate(makeAuthority({ subject: 'renamed', key: authority.key }).der);
    expect(read()?.isSignedBy(renamed)).toBe(false);
  });

  it('refuses an authority whose key usage lacks cRLSign, and accepts one without key usage', () => {
    const of = (keyUsage: 'absent' | readonly ['keyCertSign']) =>
      readCertificate(makeAuthority({ subject: 'authority', key: authority.key, keyUsage }).der);
    expect(read()?.isSignedBy(of(['keyCertSign']))).toBe(false);
    expect(read()?.isSignedBy(of('absent'))).toBe(true);
  });

  it('refuses a weak key', () => {
    const issuer = makeAuthority({ key: rsaKey(1024) });
    expect(parseCrls(makeCrl({ issuer }).der)[0]?.isSignedBy(readCertificate(issuer.der))).toBe(false);
  });

  it('refuses an authority whose key is a point that is not on its curve', () => {
    const key = createPublicKey(authority.key).export({ type: 'spki', format: 'der' });
    const publicKey = key.fill(0xff, key.length - 32);
    const issuer = readCertificate(makeAuthority({ subject: 'authority', publicKey }).der);
    expect(() => issuer.x509.publicKey).toThrow();
    expect(issuer.weakKey).toBeUndefined();
    expect(read()?.isSignedBy(issuer)).toBe(false);
  });

  it('refuses a signature of another kind than the list says', () => {
    const issuer = makeAuthority({ key: rsaKey() });
    const ecdsa = sequence(oid('1.2.840.10045.4.3.2'));
    const mangle = (crl: Buffer) => sequence(partsOf(crl)[0]!, ecdsa, partsOf(crl)[2]!);
    const [crl] = parseCrls(makeCrl({ issuer, innerAlgorithm: ecdsa, mangle }).der);
    expect(crl?.isSignedBy(readCertificate(issuer.der))).toBe(false);
  });

  it('refuses what was changed after it was signed', () => {
    const { der: good } = makeCrl({ issuer: authority, revoked: [Buffer.from('4a5b6c7d', 'hex')] });
    const forged = Buffer.from(good.toString('hex').replace('4a5b6c7d', '4a5b6c7e'), 'hex');
    const [crl] = parseCrls(forged);
    expect(crl?.serials).toEqual(new Set(['4A5B6C7E']));
    expect(crl?.isSignedBy(readCertificate(authority.der))).toBe(false);
  });
});

describe('lists that OpenSSL makes', () => {
  const folder = () => {
    const path = mkdtempSync(join(tmpdir(), 'remora-crl-'));
    return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
  };

  it.each([
    ['of version 2 in PEM', 'crl_extensions = crl_ext\ncrlnumber = crlnumber', 'PEM'],
    ['of version 2 in DER', 'crl_extensions = crl_ext\ncrlnumber = crlnumber', 'DER'],
    ['of version 1', '', 'PEM'],
  ])('are read when they are %s', (_, line, form) => {
    using at = folder();
    const file = (name: string) => join(at.path, name);
    const leaf = makeCertificate({ issuer: authority });
    writeFileSync(file('ca.pem'), authority.pem);
    writeFileSync(file('ca.key'), authority.key.export({ type: 'pkcs8', format: 'pem' }));
    writeFileSync(file('leaf.pem'), leaf.pem);
    writeFileSync(file('index.txt'), '');
    writeFileSync(file('crlnumber'), '0A\n');
    const settings = ['database = index.txt', 'default_md = sha256', line];
    writeFileSync(
      file('ca.cnf'),
      `[ca]\ndefault_ca = d\n[d]\n${settings.join('\n')}\n[crl_ext]\nauthorityKeyIdentifier = keyid\n`,
    );
    const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: at.path, stdio: 'pipe' });
    const signer = ['-config', 'ca.cnf', '-cert', 'ca.pem', '-keyfile', 'ca.key'];
    openssl('ca', ...signer, '-revoke', 'leaf.pem', '-crl_reason', line === '' ? 'unspecified' : 'keyCompromise');
    openssl('ca', ...signer, '-gencrl', '-crldays', '7', '-out', 'crl.pem');
    openssl('crl', '-in', 'crl.pem', '-outform', form, '-out', 'crl');
    const [crl] = parseCrls(readFileSync(file('crl')));
    expect([...(crl?.serials ?? [])]).toEqual([hex(leaf.serial)]);
    expect(crl?.isSignedBy(readCertificate(authority.der))).toBe(true);
    expect((crl?.nextUpdateMs ?? 0) - (crl?.thisUpdateMs ?? 0)).toBe(7 * 24 * 3_600_000);
    expect(crl?.number).toBe(line === '' ? undefined : 10n);
  });
});
