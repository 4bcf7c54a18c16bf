import { describe, expect, it } from 'vitest';
import type { TrustAnchor } from '../../../src/identity/trust-bundle.ts';
import {
  bundleLimits,
  joinTrustBundles,
  maxRootNameBytes,
  parseTrustBundle,
  parseTrustBundles,
  TrustBundleError,
} from '../../../src/identity/trust-bundle.ts';
import { ecKey, makeAuthority, makeCertificate, rsaKey } from '../../support/certificates.ts';
import { commonName, octetString, pem } from '../../support/der-writer.ts';

const root = makeAuthority({ subject: 'root a' });
const other = makeAuthority({ subject: 'root b' });
const domain = 'cluster.local';

function refusal(bundles: Readonly<Record<string, string>>): TrustBundleError {
  try {
    parseTrustBundles(bundles);
  } catch (error) {
    if (error instanceof TrustBundleError) return error;
    throw error;
  }
  throw new Error('The bundles were accepted');
}

function fingerprints(text: string): string[] {
  return parseTrustBundles({ [domain]: text })
    .domains.get(domain)!
    .map((anchor) => anchor.fingerprint);
}

describe('parseTrustBundles', () => {
  it('keeps the roots of each trust domain apart', () => {
    const { domains } = parseTrustBundles({ 'a.example': root.pem, 'b.example': other.pem });
    expect([...domains.keys()]).toEqual(['a.example', 'b.example']);
    expect(domains.get('a.example')).toHaveLength(1);
    expect(domains.get('a.example')?.[0]).toMatchObject({ pem: root.pem });
    expect(domains.get('a.example')?.[0]?.certificate.raw).toEqual(root.der);
    expect(domains.get('b.example')?.[0]?.fingerprint).toMatch(/^[0-9a-f]{64}$/);
  });

  it('B6: takes the old and the new root of a rotation side by side, also with the same name and key', () => {
    const renewed = makeAuthority({ subject: 'root a', key: root.key });
    expect(fingerprints(root.pem + other.pem + renewed.pem)).toHaveLength(3);
  });

  it.each([
    ['no trust domain at all', {}],
    ['an empty text', { [domain]: '' }],
    ['white space', { [domain]: ' \n\t\r\n ' }],
    ['words without a block', { [domain]: 'no roots today\n' }],
  ])('B1: refuses %s as bundle_empty and never falls back to the public roots', (_, bundles) => {
    expect(refusal(bundles).reason).toBe('bundle_empty');
  });

  it('B1: refuses the whole set when one of its domains is empty', () => {
    expect(refusal({ 'a.example': root.pem, 'b.example': '' })).toMatchObject({
      reason: 'bundle_empty',
      message: 'The trust bundle of b.example holds no certificate',
    });
  });

  const lines = root.pem.trim().split('\n');
  it.each([
    ['a block of garbage', pem('CERTIFICATE', Buffer.from('garbage'))],
    ['a block that is not base64', root.pem.replace(lines[2]!, '!!!!')],
    ['a block without its end', lines.slice(0, -1).join('\n')],
    ['a block without its beginning', lines.slice(1).join('\n')],
    ['a block that lost both', lines.slice(1, -1).join('\n')],
    ['a beginning with four dashes', root.pem.replace('-----BEGIN', '----BEGIN')],
    ['a block inside of a block', `-----BEGIN CERTIFICATE-----\n${root.pem}`],
    ['an empty block', '-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n'],
    ['a cut block', root.pem.replace(lines[2]!, '')],
    ['bytes behind a certificate', pem('CERTIFICATE', Buffer.concat([root.der, Buffer.of(0)]))],
    ['a trusted certificate of OpenSSL', root.pem.replaceAll('CERTIFICATE', 'TRUSTED CERTIFICATE')],
    ['a certificate request', root.pem.replaceAll('CERTIFICATE', 'CERTIFICATE REQUEST')],
  ])('B2: refuses %s between good certificates, and with it the whole set', (_, broken) => {
    expect(refusal({ [domain]: `${other.pem}${broken}\n${other.pem}` }).reason).toBe('bad_pem');
  });

  it('B2: reads a text with words between its blocks, and with the line ends of Windows', () => {
    const text = `# Roots of the mesh\r\n\r\nsubject=CN = root a\n${root.pem.replaceAll('\n', '\r\n')}\n  \nissuer=CN = root b\n${other.pem}`;
    expect(fingerprints(text)).toHaveLength(2);
  });

  it.each([
    ['a leaf', makeCertificate({ issuer: root, sans: [{ uri: `spiffe://${domain}/ns/a/sa/b` }] }), 'CA:TRUE'],
    ['a self-signed leaf', makeCertificate(), 'CA:TRUE'],
    ['an authority of version 1', makeAuthority({ version: 1 }), 'CA:TRUE'],
    ['an authority that may not sign', makeAuthority({ keyUsage: ['digitalSignature'] }), 'keyCertSign'],
    ['an authority with a key of 1024 bits', makeAuthority({ key: rsaKey(1024) }), '1024 bits'],
    ['an authority on another curve', makeAuthority({ key: ecKey('secp256k1') }), 'curve'],
    [
      'an authority with an unknown critical extension',
      makeAuthority({ extensions: [{ oid: '1.2.3.4', critical: true, value: octetString() }] }),
      '1.2.3.4',
    ],
  ])('B3: refuses %s among the roots', (_, certificate, what) => {
    const error = refusal({ [domain]: root.pem + certificate.pem });
    expect(error.reason).toBe('chain_invalid');
    expect(error.message).toMatch(/^Certificate 2 in the trust bundle of cluster\.local cannot be a root: [^.]+/);
    expect(error.message).toContain(what);
  });

  it('B3: keeps a certificate that is there twice once', () => {
    expect(fingerprints(root.pem + other.pem + root.pem)).toHaveLength(2);
  });

  it('B3: keeps a root that has expired, since every handshake compares the dates', () => {
    const expired = makeAuthority({ notAfterMs: Date.now() - 1000 });
    expect(fingerprints(root.pem + expired.pem)).toHaveLength(2);
  });

  it('B3: accepts a root without key usage, as older tools make them', () => {
    expect(fingerprints(makeAuthority({ keyUsage: 'absent' }).pem)).toHaveLength(1);
  });

  it('B4: refuses a private key pasted into a bundle, and repeats no byte of it', () => {
    const key = root.key.export({ type: 'pkcs8', format: 'pem' }).toString();
    for (const text of [key, key.replaceAll('PRIVATE', 'EC PRIVATE'), key.replaceAll('PRIVATE', 'ENCRYPTED PRIVATE')]) {
      const error = refusal({ [domain]: root.pem + text });
      expect(error.reason).toBe('bad_pem');
      expect(error.message).toContain('a private key');
      for (const line of key.split('\n').filter((part) => !part.startsWith('-----') && part !== '')) {
        expect(`${error.message}${String(error.cause)}`).not.toContain(line);
      }
    }
  });

  it('B5: refuses ten megabytes of text and more roots than the limit as too_large', () => {
    expect(refusal({ [domain]: 'x'.repeat(10 * 1024 * 1024) }).reason).toBe('too_large');
    const many = root.pem.repeat(bundleLimits.roots + 1);
    expect(refusal({ [domain]: many }).reason).toBe('too_large');
    expect(
      refusal({ 'a.example': root.pem.repeat(300), 'b.example': other.pem.repeat(bundleLimits.roots) }).reason,
    ).toBe('too_large');
  });

  it('B5: counts the characters and the roots of all trust domains, and takes as many as are allowed', () => {
    const { characters, roots } = bundleLimits;
    const textOf = (pem: string, length: number) => pem.padEnd(length, '\n');
    const half = characters / 2;
    const both = (length: number) => ({ 'a.example': textOf(root.pem, half), 'b.example': textOf(other.pem, length) });
    expect(fingerprints(textOf(root.pem, characters))).toHaveLength(1);
    expect(parseTrustBundles(both(half)).domains.size).toBe(2);
    expect(refusal(both(half + 1)).message).toBe(
      `The trust bundles hold ${characters + 1} characters, at most ${characters} are allowed`,
    );
    expect(() => parseTrustBundle(domain, textOf(root.pem, characters + 1))).toThrow(
      `The trust bundles hold ${characters + 1} characters, at most ${characters} are allowed`,
    );
    expect(() => parseTrustBundle(domain, root.pem.repeat(3), 2)).toThrow(
      `The trust bundles hold 3 roots for ${domain}, at most ${roots} in all are allowed`,
    );
    expect(parseTrustBundle(domain, root.pem.repeat(2), 2)).toHaveLength(1);
  });

  it('B5: counts once more what is put together', () => {
    const anchors = new Map([
      ['a.example', parseTrustBundle('a.example', root.pem)],
      ['b.example', parseTrustBundle('b.example', other.pem)],
    ]);
    const characters = root.pem.length + other.pem.length;
    expect(joinTrustBundles(anchors).domains).toBe(anchors);
    expect(joinTrustBundles(anchors, { characters, roots: 2 }).domains).toBe(anchors);
    expect(() => joinTrustBundles(anchors, { characters, roots: 1 })).toThrow(
      'The trust bundles hold 2 roots, at most 1 are allowed',
    );
    expect(() => joinTrustBundles(anchors, { characters: characters - 1, roots: 2 })).toThrow(
      `The trust bundles hold ${characters} characters, at most ${characters - 1} are allowed`,
    );
  });

  it('B5: counts the names of all roots as they go over the wire, each with six bytes around it', () => {
    const anchor = (mark: string, bytes: number) =>
      ({ pem: '', facts: { subject: mark.repeat(bytes * 2), publicKey: mark } }) as unknown as TrustAnchor;
    const join = (...sizes: number[]) =>
      joinTrustBundles(new Map([[domain, sizes.map((bytes, index) => anchor(`${index}`, bytes))]]));
    const most = maxRootNameBytes;
    expect(join(most - 6).domains.size).toBe(1);
    expect(join(most / 2 - 6, most / 2 - 6).domains.size).toBe(1);
    for (const sizes of [[most - 5], [most / 2 - 6, most / 2 - 5]])
      expect(() => join(...sizes)).toThrow(
        `The trust bundles hold ${most + 1} bytes of names, at most ${most} are allowed`,
      );
  });

  it('takes roots without a key identifier for different trust domains', () => {
    const nameless = (subject: string) =>
      makeAuthority({ subject, subjectKeyId: 'absent', authorityKeyId: 'absent' }).pem;
    expect(parseTrustBundles({ 'a.example': nameless('a'), 'b.example': nameless('b') }).domains.size).toBe(2);
  });

  it('says what it could not read, and keeps the cause', () => {
    const cut = refusal({ [domain]: `${root.pem}-----BEGIN CERTIFICATE-----` });
    expect(cut).toMatchObject({
      name: 'TrustBundleError',
      message: `The trust bundle of ${domain} cannot be read: The last block has no end`,
      cause: expect.any(Error),
    });
    const garbage = refusal({ [domain]: root.pem + pem('CERTIFICATE', Buffer.from('garbage')) });
    expect(garbage).toMatchObject({
      message: `Certificate 2 in the trust bundle of ${domain} cannot be read: A certificate is not X.509`,
      cause: expect.any(Error),
    });
    expect(refusal({ ['x'.repeat(301).concat('/')]: root.pem }).message).toBe(
      `A trust bundle is for "${'x'.repeat(300)}", expected a trust domain`,
    );
    const long = makeAuthority({ sans: [{ uri: `spiffe://${domain}/${'x'.repeat(400)}` }] });
    expect(refusal({ [domain]: long.pem }).message).toMatch(/: its own ID is "spiffe:\/\/.{291}", expected/);
  });

  it('lets the mistakes of a programmer through', () => {
    expect(() => parseTrustBundle(domain, 7 as never)).toThrow(TypeError);
  });

  it('B3: refuses a root without a name, and one that calls the key which signed it by another name than its own', () => {
    expect(refusal({ [domain]: makeAuthority({ subject: '' }).pem }).message).toContain('it has no name');
    expect(refusal({ [domain]: makeAuthority({ authorityKeyId: Buffer.alloc(20, 7) }).pem }).message).toContain(
      'the identifier of its own key is not that of the key which signed it',
    );
    const nameless = makeAuthority({ authorityKeyId: Buffer.alloc(20, 7), subjectKeyId: 'absent' });
    expect(fingerprints(nameless.pem)).toHaveLength(1);
  });

  it('B11: refuses an intermediate as a root and says what it is', () => {
    const intermediate = makeAuthority({ subject: 'intermediate', issuer: root });
    expect(refusal({ [domain]: intermediate.pem }).message).toContain(
      'it is not self-signed, so it is an intermediate',
    );
    const pretender = makeAuthority({ subject: 'root a', issuer: root });
    expect(refusal({ [domain]: pretender.pem }).message).toContain('it is not self-signed');
    const renamed = makeAuthority({ subject: 'root a', issuerName: commonName('root b') });
    expect(refusal({ [domain]: renamed.pem }).message).toContain('it is not self-signed');
  });

  it('S25: refuses a root whose own ID has a path, is of another trust domain or is misspelt', () => {
    const withId = (uri: string) => makeAuthority({ sans: [{ uri }] }).pem;
    expect(fingerprints(withId(`spiffe://${domain}`))).toHaveLength(1);
    expect(fingerprints(withId('https://ca.example/'))).toHaveLength(1);
    expect(fingerprints(withId('https://ca.example/spiffe:'))).toHaveLength(1);
    for (const uri of [
      `spiffe://${domain}/ca`,
      `spiffe://${domain}/`,
      'spiffe://other.example',
      `SPIFFE://${domain}`,
    ]) {
      expect(refusal({ [domain]: withId(uri) }).message).toContain(
        `its own ID is "${uri}", expected spiffe://${domain}`,
      );
    }
  });

  it.each(['Cluster.local', '', 'spiffe://cluster.local', 'a/b', 'a'.repeat(256), 'münchen'])(
    'refuses the trust domain %j',
    (name) => {
      expect(refusal({ [name]: root.pem }).reason).toBe('chain_invalid');
    },
  );

  it('takes no key of the map for more than text', () => {
    expect(() => parseTrustBundles(JSON.parse(`{"__proto__": ${JSON.stringify(root.pem)}}`))).not.toThrow(TypeError);
    expect(parseTrustBundles({ constructor: root.pem }).domains.get('constructor')).toHaveLength(1);
  });

  describe('refuses two trust domains together that OpenSSL could take for each other', () => {
    const subjectKeyId = Buffer.alloc(20, 7);
    it.each([
      ['the same root', root, root, 'subject'],
      ['the same subject', root, makeAuthority({ subject: 'root a' }), 'subject'],
      ['the same key', root, makeAuthority({ subject: 'renamed', key: root.key, subjectKeyId: 'absent' }), 'key'],
      [
        'the same subject key identifier',
        makeAuthority({ subject: 'x', subjectKeyId }),
        makeAuthority({ subject: 'y', subjectKeyId }),
        'subject key identifier',
      ],
    ])('%s', (_, first, second, what) => {
      const error = refusal({ 'a.example': first.pem, 'b.example': second.pem });
      expect(error.reason).toBe('chain_invalid');
      expect(error.message).toBe(
        `The trust domains a.example and b.example have roots with the same ${what}, expected different ones`,
      );
    });
  });
});
