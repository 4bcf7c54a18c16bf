import { describe, expect, it } from 'vitest';
import {
  federateBundles,
  isSameBundles,
  parseBundles,
  withBundles,
} from '../../../../src/agent/identity-sources/bundles.ts';
import { RenewalError } from '../../../../src/errors.ts';
import type { TrustBundles } from '../../../../src/identity/trust-bundle.ts';
import { parseTrustBundles, TrustBundleError } from '../../../../src/identity/trust-bundle.ts';
import { makeAuthority } from '../../../support/certificates.ts';
import { bundlesOf, createTestAuthority, createTestIdentity } from '../../../support/identities.ts';

const mesh = createTestAuthority('cluster.local');
const second = makeAuthority({ subject: 'second' });
const partner = makeAuthority({ subject: 'partner' });
const own = mesh.bundlePem;

function refusal(pem: Record<string, string>, ownTrustDomain = 'cluster.local'): RenewalError {
  try {
    parseBundles(pem, ownTrustDomain);
  } catch (error) {
    if (error instanceof RenewalError) return error;
    throw error;
  }
  throw new Error('The bundles were accepted');
}

describe('parseBundles', () => {
  it('reads the bundles of all trust domains, ours among them', () => {
    const { domains } = parseBundles({ 'cluster.local': own, 'partner.example': partner.pem }, 'cluster.local');
    expect([...domains.keys()]).toEqual(['cluster.local', 'partner.example']);
  });

  it('B1: refuses bundles without our own trust domain as bundle_empty: they would trust nobody', () => {
    expect(refusal({ 'partner.example': partner.pem })).toMatchObject({
      reason: 'bundle_empty',
      message: 'The trust bundles hold no root of our own trust domain cluster.local',
    });
  });

  it('B2: refuses what cannot be read, for the same reason as the reader has', () => {
    expect(refusal({ 'cluster.local': `${own}-----BEGIN` }).reason).toBe('bad_pem');
    expect(refusal({ 'cluster.local': own, 'a/b': own }).reason).toBe('chain_invalid');
    expect(refusal({}).reason).toBe('bundle_empty');
    expect(refusal({ 'cluster.local': 'x'.repeat(2 ** 21) }).reason).toBe('too_large');
  });

  it('keeps what the reader said as the cause', () => {
    expect(refusal({}).cause).toBeInstanceOf(TrustBundleError);
  });

  it('lets the mistakes of a programmer through', () => {
    expect(() => parseBundles(undefined as never, 'cluster.local')).toThrow(TypeError);
  });
});

describe('federateBundles', () => {
  const text = (pem: string) => ({ trustDomain: 'cluster.local', text: pem });
  const none = new Map();

  it('puts our own bundle beside those of the others', () => {
    const { bundles } = federateBundles(text(own), none, new Map([['partner.example', partner.pem]]));
    expect([...bundles.domains].map(([domain, anchors]) => [domain, anchors.map(({ pem }) => pem)])).toEqual([
      ['cluster.local', [own]],
      ['partner.example', [partner.pem]],
    ]);
  });

  it.each([
    ['a document without a root', '{"keys":[]}'],
    ['an empty text', ''],
  ])('B1: refuses %s as our own bundle: it would trust nobody', (_, pem) => {
    expect(() => federateBundles(text(pem), none, new Map())).toThrow(
      expect.objectContaining({ name: 'RenewalError', reason: 'bundle_empty' }),
    );
  });
});

describe('isSameBundles', () => {
  const read = (pem: Record<string, string>) => parseTrustBundles(pem);
  const both = { 'cluster.local': own + second.pem, 'partner.example': partner.pem };

  it('is about which roots there are for whom, and not about their order', () => {
    expect(isSameBundles(read(both), read(both))).toBe(true);
    expect(isSameBundles(read(both), read({ 'partner.example': partner.pem, 'cluster.local': second.pem + own }))).toBe(
      true,
    );
  });

  it.each<[string, Record<string, string>]>([
    ['a root less', { ...both, 'cluster.local': own }],
    ['another root', { ...both, 'partner.example': makeAuthority({ subject: 'other' }).pem }],
    ['a trust domain less', { 'cluster.local': both['cluster.local'] }],
    ['another trust domain', { 'cluster.local': both['cluster.local'], 'stranger.example': partner.pem }],
    ['the same roots for others', { 'partner.example': both['cluster.local'], 'cluster.local': partner.pem }],
    ['a root with another trust domain', { 'cluster.local': own, 'partner.example': partner.pem + second.pem }],
  ])('tells %s', (_, other) => {
    expect(isSameBundles(read(both), read(other))).toBe(false);
  });
});

describe('withBundles', () => {
  const nowMs = Date.now();
  const identity = createTestIdentity(mesh, { namespace: 'shop', serviceAccount: 'web' });
  const more: TrustBundles = parseTrustBundles({ 'cluster.local': own + second.pem });
  const without = parseTrustBundles({ 'cluster.local': second.pem });

  it('B6: keeps the certificate under bundles that vouch for it, as another generation', () => {
    const next = withBundles(identity, more, 7, nowMs);
    expect(next).toMatchObject({ generation: 7, notAfterMs: identity.notAfterMs, chainPem: identity.chainPem });
    expect(next.bundles).toBe(more);
    expect(next.key).toBe(identity.key);
  });

  it('B7: ends it at once under bundles that do not, while they hold for peers', () => {
    const next = withBundles(identity, without, 8, nowMs);
    expect(next).toMatchObject({ generation: 8, notAfterMs: nowMs, spiffeId: identity.spiffeId });
    expect(next.bundles).toBe(without);
  });

  it('never lengthens a life', () => {
    expect(withBundles({ ...identity, notAfterMs: nowMs - 5 }, without, 8, nowMs).notAfterMs).toBe(nowMs - 5);
    const ended = withBundles(identity, more, 8, identity.notAfterMs + 1000);
    expect(ended.notAfterMs).toBe(identity.notAfterMs);
  });

  it('R13: does not end it because of a clock that went back', () => {
    expect(withBundles(identity, more, 8, identity.notBeforeMs - 1).notAfterMs).toBe(identity.notAfterMs);
    expect(withBundles(identity, more, 8, 0).bundles).toBe(more);
  });

  it('R13: ends it without its root also while the clock is before its beginning, or after its end', () => {
    const early = identity.notBeforeMs - 1;
    expect(withBundles(identity, without, 8, early).notAfterMs).toBe(early);
    const late = withBundles(identity, without, 8, identity.notAfterMs + 1000);
    expect(late.notAfterMs).toBe(identity.notAfterMs);
    expect(late.bundles).toBe(without);
  });

  const wholeMs = Math.floor(nowMs / 1000) * 1000;
  /** Our root issued anew for the same key, with other dates. */
  const reissued = (dates: { readonly notBeforeMs?: number; readonly notAfterMs?: number }) => {
    const root = makeAuthority({ subject: 'root of cluster.local', key: mesh.root.key, ...dates });
    return parseTrustBundles({ 'cluster.local': root.pem });
  };

  it('ends with the root that vouches for it', () => {
    const notAfterMs = identity.notAfterMs - 60_000;
    expect(withBundles(identity, reissued({ notAfterMs }), 8, nowMs).notAfterMs).toBe(notAfterMs);
  });

  it('B7: ends it at once when the root that vouches for it has ended already', () => {
    const over = reissued({ notBeforeMs: wholeMs - 3_600_000, notAfterMs: wholeMs - 1000 });
    expect(withBundles(identity, over, 8, nowMs).notAfterMs).toBe(nowMs);
  });

  it('R13: does not end it because of a root that is not valid yet, which it may be soon', () => {
    const early = reissued({ notBeforeMs: wholeMs + 60_000 });
    expect(withBundles(identity, early, 8, nowMs)).toMatchObject({ bundles: early, notAfterMs: identity.notAfterMs });
  });

  it('rests on the root that vouches for it, also after its end', () => {
    const anew = reissued({});
    const { fingerprint } = anew.domains.get('cluster.local')![0]!;
    for (const atMs of [nowMs, identity.notAfterMs, identity.notAfterMs + 1000])
      expect(withBundles(identity, anew, 8, atMs).rootFingerprint).toBe(fingerprint);
  });

  it('refuses another key as a mistake of the programmer would be', () => {
    const broken = { ...identity, key: undefined as never };
    expect(() => withBundles(broken, bundlesOf(mesh), 8, nowMs)).toThrow(TypeError);
  });
});
