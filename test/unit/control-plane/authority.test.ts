import type { X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { AuthoritySettings } from '../../../src/control-plane/authority.ts';
import {
  AuthorityExpiredError,
  createAuthority,
  createBridge,
  createRoot,
  newKeyPair,
} from '../../../src/control-plane/authority.ts';
import { selfSignCertificate } from '../../../src/control-plane/ca.ts';
import { fingerprintOf } from '../../../src/control-plane/root-set.ts';
import { makeIdentity } from '../../../src/identity/identity.ts';
import { parseTrustBundles } from '../../../src/identity/trust-bundle.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { spiffeId } from '../../support/identities.ts';

const nowMs = Date.parse('2030-05-01T12:00:00.400Z');
const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;
const settings: AuthoritySettings = { trustDomain: 'cluster.local', lifetimeMs: hour, minimumLifetimeMs: 10 * second };
const web = spiffeId('spiffe://cluster.local/ns/shop/sa/web');

function setUp(root = createRoot('cluster.local', nowMs)) {
  const clock = createFakeClock(nowMs);
  return { clock, root, authority: createAuthority({ root }, clock, settings) };
}

const issuerOf = (chainPem: string) => chainPem.split(/(?<=-----END CERTIFICATE-----\n)/)[1] ?? '';
const hexOf = (certificate: X509Certificate) => certificate.raw.toString('hex');

describe('createAuthority', () => {
  it('issues what the verifier of every sidecar accepts', () => {
    const { authority } = setUp();
    const { publicKey, privateKey: key } = newKeyPair();
    const { chainPem } = authority.issueWorkload(publicKey, web);
    const bundles = parseTrustBundles({ 'cluster.local': authority.rootPem });
    const identity = makeIdentity({ generation: 1, key, chainPem, bundles, expected: web, nowMs });
    expect(identity.spiffeId.uri).toBe(web.uri);
    expect(identity.chain).toHaveLength(2);
  });

  it('writes exactly one critical URI into a leaf with an empty subject', () => {
    const { authority } = setUp();
    const { certificate } = authority.issueWorkload(newKeyPair().publicKey, web);
    expect(certificate.subjectAltName).toBe(`URI:${web.uri}`);
    expect(certificate.subject).toBeUndefined();
    expect(hexOf(certificate)).toContain('0603551d110101ff');
  });

  it('writes CA:FALSE, digitalSignature alone, and both purposes', () => {
    const { authority } = setUp();
    const { certificate } = authority.issueWorkload(newKeyPair().publicKey, web);
    expect(certificate.ca).toBe(false);
    expect(hexOf(certificate)).toContain('0603551d130101ff04023000'); // basicConstraints, critical, empty
    expect(hexOf(certificate)).toContain('0603551d0f0101ff040403020780'); // keyUsage, critical, bit 0
    expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
  });

  it('signs with another certificate under the same root when it is asked to, and tells so', () => {
    const { authority } = setUp();
    expect(authority.issuing).toBeUndefined();
    const before = authority.issueWorkload(newKeyPair().publicKey, web);
    let told = 0;
    const stop = authority.subscribe(() => {
      told += 1;
    });
    const { bundleSequence } = authority;
    authority.replaceIssuing();
    const after = authority.issueWorkload(newKeyPair().publicKey, web);
    expect(issuerOf(after.chainPem)).not.toBe(issuerOf(before.chainPem));
    expect(issuerOf(after.chainPem)).toBe(authority.issuing?.toString());
    expect([told, after.rootFingerprint, authority.bundleSequence]).toEqual([
      1,
      before.rootFingerprint,
      bundleSequence,
    ]);
    stop();
    authority.replaceIssuing();
    expect(told).toBe(1);
  });

  it('gives every certificate another serial of 159 bits', () => {
    const { authority } = setUp();
    const serials = Array.from(
      { length: 200 },
      () => authority.issueWorkload(newKeyPair().publicKey, web).certificate.serialNumber,
    );
    expect(new Set(serials).size).toBe(200);
    for (const serial of serials) expect(serial).toMatch(/^[4-7][0-9A-F]{39}$/);
  });

  it('names the key of the issuer in the leaf, and the root in the issuer', () => {
    const { authority, root } = setUp();
    const { publicKey } = newKeyPair();
    const { certificate, chainPem } = authority.issueWorkload(publicKey, web);
    const issuer = new (root.certificate.constructor as typeof X509Certificate)(issuerOf(chainPem));
    expect(certificate.checkIssued(issuer)).toBe(true);
    expect(certificate.verify(issuer.publicKey)).toBe(true);
    expect(issuer.checkIssued(root.certificate)).toBe(true);
    expect(issuer.verify(root.certificate.publicKey)).toBe(true);
    expect(hexOf(issuer)).toContain('0603551d130101ff040830060101ff020100'); // CA:TRUE, pathLen 0
  });

  it.each([
    ['nothing', undefined, hour],
    ['less than the minimum', second, 10 * second],
    ['something in between', 5 * minute, 5 * minute],
    ['more than the maximum', 30 * day, hour],
  ])('answers a request for %s within the limits', (_, wantedMs, lifetimeMs) => {
    const { authority } = setUp();
    const { certificate, notAfterMs } = authority.issueWorkload(newKeyPair().publicKey, web, wantedMs);
    expect(certificate.validToDate.getTime()).toBe(notAfterMs);
    expect(notAfterMs).toBe(Math.floor((nowMs + lifetimeMs) / second) * second);
  });

  it.each([
    [hour, minute],
    [10 * second, second],
  ])('backdates a certificate of %i ms by %i ms', (wantedMs, backdatedMs) => {
    const { authority } = setUp();
    const { certificate } = authority.issueWorkload(newKeyPair().publicKey, web, wantedMs);
    expect(certificate.validFromDate.getTime()).toBe(Math.floor((nowMs - backdatedMs) / second) * second);
  });

  it('issues nothing that outlives the root, and says when the root ends', () => {
    const root = createRoot('cluster.local', nowMs - 3650 * day + 5 * minute);
    const { authority, clock } = setUp(root);
    expect(authority.issueWorkload(newKeyPair().publicKey, web).notAfterMs).toBe(authority.rootNotAfterMs);
    clock.stepWall(4 * minute + 51 * second);
    expect(() => authority.issueWorkload(newKeyPair().publicKey, web)).toThrow(AuthorityExpiredError);
    expect(() => authority.issueWorkload(newKeyPair().publicKey, web)).toThrow('2030-05-01T12:05:00');
  });

  it('keeps its issuing certificate, and replaces it at half of its week', () => {
    const { authority, clock } = setUp();
    const issuer = () => issuerOf(authority.issueWorkload(newKeyPair().publicKey, web).chainPem);
    const first = issuer();
    clock.stepWall(3 * day);
    expect(issuer()).toBe(first);
    clock.stepWall(day);
    expect(issuer()).not.toBe(first);
  });

  it('R13: replaces its issuing certificate when the clock went back to before it', () => {
    const { authority, clock } = setUp(createRoot('cluster.local', nowMs - 30 * day));
    const first = issuerOf(authority.issueWorkload(newKeyPair().publicKey, web).chainPem);
    clock.stepWall(-7 * day);
    const { chainPem, certificate } = authority.issueWorkload(newKeyPair().publicKey, web);
    expect(issuerOf(chainPem)).not.toBe(first);
    expect(certificate.validFromDate.getTime()).toBeLessThan(clock.now());
  });

  it('gives two authorities of one trust domain another subject and another key identifier', () => {
    const [one, other] = [createRoot('cluster.local', nowMs), createRoot('cluster.local', nowMs)];
    expect(one.certificate.subject).not.toBe(other.certificate.subject);
    expect(hexOf(one.certificate).split('0603551d0e')[1]?.slice(0, 48)).not.toBe(
      hexOf(other.certificate).split('0603551d0e')[1]?.slice(0, 48),
    );
  });

  it('writes a serving certificate for servers only, without a SPIFFE ID', () => {
    const { authority } = setUp();
    const names = [
      { kind: 'dns', name: 'localhost' },
      { kind: 'ip', ip: '127.0.0.1' },
      { kind: 'ip', ip: '2001:db8::7' },
    ] as const;
    const { certificate } = authority.issueServing(newKeyPair().publicKey, names, day);
    expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1']);
    expect(certificate.subjectAltName).toBe('DNS:localhost, IP Address:127.0.0.1, IP Address:2001:DB8:0:0:0:0:0:7');
    expect(certificate.checkIP('2001:db8::7')).toBe('2001:db8::7');
  });
});

it('writes dates from 2050 on as GeneralizedTime', () => {
  const { publicKey, privateKey } = newKeyPair();
  const notAfterMs = Date.parse('2051-02-03T04:05:06Z');
  const certificate = selfSignCertificate(
    {
      usage: 'root',
      commonName: 'a',
      names: [{ kind: 'uri', uri: 'spiffe://a' }],
      publicKey,
      notBeforeMs: nowMs,
      notAfterMs,
    },
    privateKey,
  );
  expect(certificate.validToDate.getTime()).toBe(notAfterMs);
  expect(hexOf(certificate)).toContain(Buffer.from('20510203040506Z').toString('hex'));
});

describe('an authority whose root is rotated', () => {
  function setUpRotation() {
    const { clock, root, authority } = setUp();
    const next = createRoot('cluster.local', nowMs);
    const bridge = createBridge(next.certificate, root, nowMs);
    return { clock, root, authority, next, bridge };
  }
  const trust = (pem: string) => parseTrustBundles({ 'cluster.local': pem });
  const identityUnder = (pem: string, { authority }: Pick<ReturnType<typeof setUp>, 'authority'>) => {
    const { publicKey, privateKey: key } = newKeyPair();
    const { chainPem } = authority.issueWorkload(publicKey, web);
    return makeIdentity({ generation: 1, key, chainPem, bundles: trust(pem), expected: web, nowMs });
  };

  it('B6: publishes the next root and goes on to issue from the old one, then issues from the next and publishes both', () => {
    const { authority, root, next, bridge } = setUpRotation();
    const old = root.certificate.toString();
    authority.replaceRoots({ root, next });
    expect(trust(authority.rootPem).domains.get('cluster.local')).toHaveLength(2);
    expect(identityUnder(old, { authority }).rootFingerprint).toBe(fingerprintOf(root.certificate));
    const published = authority.rootPem;
    authority.replaceRoots({ root: next, previous: root.certificate, bridge });
    expect(authority.rootPem).toBe(published);
    expect(() => identityUnder(old, { authority })).toThrow(/no root of cluster\.local vouches/);
    expect(identityUnder(authority.rootPem, { authority }).rootFingerprint).toBe(fingerprintOf(next.certificate));
    authority.replaceRoots({ root: next });
    expect(authority.rootPem).toBe(next.certificate.toString());
  });

  it('tells whoever asked of each change, and counts it', () => {
    const { authority, root, next, clock } = setUpRotation();
    expect(authority.bundleSequence).toBe(Math.floor(clock.now() / 1000));
    const sequences: number[] = [];
    const unsubscribe = authority.subscribe(() => sequences.push(authority.bundleSequence));
    authority.replaceRoots({ root, next });
    authority.replaceRoots({ root });
    unsubscribe();
    authority.replaceRoots({ root, next });
    expect(sequences).toEqual([1, 2].map((more) => Math.floor(clock.now() / 1000) + more));
  });

  it('keeps the certificate that it issues with when the root that issues stays', () => {
    const { authority, root, next } = setUpRotation();
    const before = issuerOf(authority.issueWorkload(newKeyPair().publicKey, web).chainPem);
    authority.replaceRoots({ root, next });
    expect(issuerOf(authority.issueWorkload(newKeyPair().publicKey, web).chainPem)).toBe(before);
  });

  it('says of each certificate which root it chains to', () => {
    const { authority, root, next } = setUpRotation();
    const issue = () => authority.issueWorkload(newKeyPair().publicKey, web).rootFingerprint;
    expect(issue()).toBe(fingerprintOf(root.certificate));
    authority.replaceRoots({ root: next });
    expect(issue()).toBe(fingerprintOf(next.certificate));
  });

  it('vouches for the new root by the old one no longer than either lasts, in the name of the new one', () => {
    const { root, next, bridge } = setUpRotation();
    expect(bridge.verify(root.certificate.publicKey)).toBe(true);
    expect([bridge.subject, bridge.issuer]).toEqual([next.certificate.subject, root.certificate.subject]);
    expect(bridge.subjectAltName).toBe('URI:spiffe://cluster.local');
    expect(bridge.validToDate.getTime()).toBe(root.certificate.validToDate.getTime());
  });
});
