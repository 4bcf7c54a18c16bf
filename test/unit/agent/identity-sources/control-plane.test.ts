import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ControlPlaneIdentitySettings } from '../../../../src/agent/identity-sources/control-plane.ts';
import { startControlPlaneIdentity } from '../../../../src/agent/identity-sources/control-plane.ts';
import type { IdentitySource } from '../../../../src/agent/identity-sources/source.ts';
import type { CertificateReply } from '../../../../src/control-api.ts';
import { RenewalError } from '../../../../src/errors.ts';
import type { Identity } from '../../../../src/identity/identity.ts';
import type { RenewalReason } from '../../../../src/outcomes.ts';
import { makeAuthority } from '../../../support/certificates.ts';
import type { FakeClock } from '../../../support/fake-clock.ts';
import { createFakeClock } from '../../../support/fake-clock.ts';
import type { FakeIssuer } from '../../../support/fake-issuer.ts';
import { createFakeBundleStream, createFakeIssuer } from '../../../support/fake-issuer.ts';
import type { TestAuthority } from '../../../support/identities.ts';
import { createTestAuthority, spiffeId } from '../../../support/identities.ts';
import type { FakeRevocationSource } from '../../../support/revocation-source.ts';
import { createRevocationSource } from '../../../support/revocation-source.ts';

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

let clock: FakeClock;
let authority: TestAuthority;
let issuer: FakeIssuer;
let stream: ReturnType<typeof createFakeBundleStream>;
let revocations: FakeRevocationSource;
let directory: string;
let events: { readonly at: number; readonly what: string; readonly nextMs: number | undefined }[];
let source: IdentitySource;
let stop: AbortController;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'remora-identity-'));
  await writeFile(join(directory, 'token'), 'token');
  // Certificates know whole seconds only.
  clock = createFakeClock(Math.floor(Date.now() / 1000) * 1000);
  authority = createTestAuthority('cluster.local');
  issuer = createFakeIssuer(authority, clock);
  stream = createFakeBundleStream();
  revocations = createRevocationSource();
  events = [];
  stop = new AbortController();
});

afterEach(async () => {
  stop.abort(new Error('the test is over'));
  await source?.close();
  await rm(directory, { recursive: true });
});

function start(settings: Partial<ControlPlaneIdentitySettings> = {}): Promise<IdentitySource> {
  const record = (what: string, nextMs: number | undefined) =>
    void events.push({ at: clock.monotonic(), what, nextMs });
  const observer = {
    renewed: (identity: Identity, nextMs: number | undefined) => record(`renewed ${identity.generation}`, nextMs),
    renewalFailed: (reason: RenewalReason, _: RenewalError, nextMs: number) => record(reason, nextMs),
    bundlesRefused: (error: RenewalError) => record(`bundles refused ${error.reason}`, undefined),
  };
  return startControlPlaneIdentity(
    { clock, client: issuer, stream, revocations, observer },
    {
      trustDomain: 'cluster.local',
      expected: spiffeId('spiffe://cluster.local/ns/shop/sa/web'),
      tokenFile: join(directory, 'token'),
      lifetimeMs: hour,
      maximumLifetimeMs: 30 * day,
      renewalFraction: 0.5,
      ...settings,
    },
    stop.signal,
  );
}

async function started(settings: Partial<ControlPlaneIdentitySettings> = {}): Promise<IdentitySource> {
  source = await start(settings);
  return source;
}

const whats = () => events.map(({ what }) => what);
const failing = (reason: RenewalReason, retryAfterMs?: number) => async () => {
  throw new RenewalError(reason, `it was ${reason}`, { retryAfterMs });
};

describe('the first identity', () => {
  it('is waited for, whatever fails before', async () => {
    issuer.answer = failing('unreachable');
    const starting = start();
    let isStarted = false;
    void starting.then(() => {
      isStarted = true;
    });
    await clock.advance(5 * minute);
    expect(isStarted).toBe(false);
    expect(events.length).toBeGreaterThan(20);
    issuer.answer = undefined;
    await clock.advance(15 * second);
    source = await starting;
    expect(source.current().spiffeId.uri).toBe('spiffe://cluster.local/ns/shop/sa/web');
    expect(source.current().generation).toBe(1);
    expect(source.renewal().lastFailure).toBeUndefined();
  });

  it('is no longer waited for when the signal is aborted', async () => {
    issuer.answer = failing('unreachable');
    const starting = start();
    await clock.advance(minute);
    const settled = expect(starting).rejects.toThrow('stopping');
    stop.abort(new Error('stopping'));
    await settled;
    expect(clock.pending).toBe(0);
  });

  it('is not waited for at all with a signal that was aborted before', async () => {
    stop.abort(new Error('stopping'));
    await expect(start()).rejects.toThrow('stopping');
  });

  it('ends a call that hangs when the signal is aborted', async () => {
    issuer.answer = (signal) =>
      new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
    const starting = start();
    await clock.advance(minute);
    const settled = expect(starting).rejects.toThrow('stopping');
    stop.abort(new Error('stopping'));
    await settled;
  });

  it('K13: is waited for while the clock is before the certificate, without a crash and without a storm', async () => {
    issuer.leaf = { notBeforeMs: clock.now() + hour, notAfterMs: clock.now() + 2 * hour };
    const starting = start();
    await clock.advance(hour - minute);
    expect(new Set(whats())).toEqual(new Set(['not_yet_valid']));
    expect(events.length).toBeLessThan(hour / (7 * second));
    await clock.advance(2 * minute);
    source = await starting;
    expect(source.current().generation).toBe(1);
  });

  it('is that of the token when no other is expected, and no other afterwards', async () => {
    const claims = Buffer.from(JSON.stringify({ sub: 'system:serviceaccount:shop:web' })).toString('base64url');
    await writeFile(join(directory, 'token'), `e30.${claims}.x`);
    await started({ expected: undefined });
    expect(source.current().spiffeId.uri).toBe('spiffe://cluster.local/ns/shop/sa/web');
    issuer.id = 'ns/shop/sa/admin';
    await clock.advance(30 * minute);
    await expect.poll(() => whats().at(-1)).toBe('wrong_identity');
  });

  it('P5: is not one of another trust domain', async () => {
    issuer.authority = createTestAuthority('other');
    issuer.bundles = { 'cluster.local': authority.bundlePem, other: issuer.authority.bundlePem };
    const starting = start({ expected: undefined });
    await expect.poll(whats).toContain('wrong_identity');
    stop.abort(new Error('enough'));
    await expect(starting).rejects.toThrow('enough');
  });
});

describe('R1: renewal', () => {
  it('R1: happens at half of the lifetime, with a new key, and grows the generation by one', async () => {
    await started();
    const seen: Identity[] = [];
    source.subscribe((identity) => seen.push(identity));
    for (let i = 0; i < 5; i++) await clock.advance(30 * minute);
    expect(events).toEqual(
      [0, 1, 2, 3, 4, 5].map((i) => ({ at: i * 30 * minute, what: `renewed ${i + 1}`, nextMs: 30 * minute })),
    );
    expect(new Set(issuer.keys).size).toBe(6);
    expect(seen.map(({ generation }) => generation)).toEqual([2, 3, 4, 5, 6]);
    expect(source.current() === seen.at(-1)).toBe(true);
    expect(new Set(issuer.ttlSeconds)).toEqual(new Set([3600]));
  });

  it('R1: never lets a certificate of 10 s end in 100 renewals', async () => {
    issuer.lifetimeMs = 10 * second;
    await started();
    while (source.current().generation < 100) {
      expect(source.current().notAfterMs).toBeGreaterThan(clock.now());
      await clock.advance(100);
    }
    expect(new Set(issuer.keys).size).toBe(issuer.keys.length);
  });

  it.each<[string, 'issuer' | 'root']>([
    ['the intermediate', 'issuer'],
    ['the root', 'root'],
  ])('R1: is reckoned from the end of %s when that ends first', async (_, which) => {
    const ends = (own: 'issuer' | 'root') => ({ notAfterMs: clock.now() + (own === which ? 20 * minute : day) });
    const root = makeAuthority({ subject: 'root of cluster.local', ...ends('root') });
    const intermediate = makeAuthority({ subject: 'intermediate', issuer: root, ...ends('issuer') });
    authority = createTestAuthority('cluster.local', { chain: [intermediate, root] });
    issuer.authority = authority;
    await started();
    expect(source.current().notAfterMs).toBe(clock.now() + 20 * minute);
    expect(source.renewal().nextAttemptMs).toBe(clock.now() + 10 * minute);
  });

  it('reckons from when the certificate came, and not from notBefore', async () => {
    issuer.leaf = { notBeforeMs: clock.now() - 10 * hour };
    await started();
    expect(source.renewal().nextAttemptMs).toBe(clock.now() + 30 * minute);
  });

  it.each<[number, RenewalReason]>([
    [7 * second, 'ttl_too_short'],
    [second, 'ttl_too_short'],
    [0, 'already_expired'],
    [-hour, 'already_expired'],
    [31 * day, 'ttl_too_long'],
    [100 * 365 * day, 'ttl_too_long'],
  ])('R11: a lifetime of %i ms is %s, and makes no hot loop', async (lifetimeMs, reason) => {
    await started();
    const { generation } = source.current();
    Object.assign(issuer, { lifetimeMs, leaf: { notBeforeMs: clock.now() - 2 * hour } });
    await clock.advance(30 * minute);
    await clock.advance(150 * second);
    expect(new Set(whats().slice(1))).toEqual(new Set([reason]));
    expect(events.length).toBeLessThan(10);
    expect(source.current().generation).toBe(generation);
  });
});

describe('while the control plane is away', () => {
  it('R2: the certificate in use is kept, and attempts come more often as its end nears, up to its last seconds', async () => {
    await started();
    const inUse = source.current();
    issuer.answer = failing('unreachable');
    await clock.advance(hour - 1);
    expect(source.current() === inUse).toBe(true);
    expect(source.current().notAfterMs).toBeGreaterThan(clock.now());
    const failures = events.slice(1);
    expect(new Set(failures.map(({ what }) => what))).toEqual(new Set(['unreachable']));
    const waits = failures.map(({ nextMs = 0 }) => nextMs);
    expect(waits.slice(0, 4)).toEqual([750, 1500, 3000, 6000]);
    expect(Math.max(...waits)).toBeLessThanOrEqual(150 * second);
    for (const { at, nextMs = 0 } of failures) expect(at + nextMs).toBeLessThanOrEqual(Math.max(hour, at + 4 * second));
    expect(failures.at(-1)?.at).toBeGreaterThan(hour - 4 * second);
  });

  it('R3: the identity ends, attempts go on every 15 s, and it recovers by itself', async () => {
    await started();
    issuer.answer = failing('unreachable');
    await clock.advance(3 * hour);
    expect(source.current().notAfterMs).toBeLessThan(clock.now());
    expect(source.renewal().lastFailure).toMatchObject({ reason: 'unreachable', message: 'it was unreachable' });
    const lastHour = events.filter(({ at }) => at > 2 * hour);
    expect(lastHour.length).toBeGreaterThanOrEqual(hour / (15 * second));
    expect(lastHour.length).toBeLessThanOrEqual(hour / (7 * second));
    issuer.answer = undefined;
    await clock.advance(15 * second);
    expect(source.current()).toMatchObject({ generation: 2 });
    expect(source.current().notAfterMs).toBeGreaterThan(clock.now());
    expect(source.renewal().lastFailure).toBeUndefined();
  });

  it('R8: the server decides how long to wait, within its bounds', async () => {
    await started();
    issuer.answer = failing('http_429', 100 * second);
    await clock.advance(30 * minute);
    expect(events.at(-1)).toMatchObject({ what: 'http_429', nextMs: 112.5 * second });
  });

  it('has one attempt at a time', async () => {
    await started();
    const { promise, resolve } = Promise.withResolvers<CertificateReply>();
    issuer.answer = () => promise;
    await clock.advance(10 * hour);
    stream.push({ 'cluster.local': authority.bundlePem });
    await clock.advance(hour);
    expect(issuer.keys).toHaveLength(2);
    issuer.answer = undefined;
    resolve({ certificateChain: '', trustBundles: {}, serverTime: '' });
    await clock.advance(15 * second);
    expect(source.current().generation).toBe(2);
  });
});

describe('R13: a wall clock that jumps', () => {
  it.each([
    ['an hour forward', hour],
    ['to 2038 and beyond', 20 * 365 * day],
  ])('R13: %s renews at once, and makes no storm', async (_, stepMs) => {
    issuer.lifetimeMs = 4 * hour;
    await started();
    await clock.advance(90 * minute);
    const trueAuthority = { notBeforeMs: clock.now() - hour, notAfterMs: clock.now() + 4 * hour };
    clock.stepWall(stepMs);
    issuer.leaf = trueAuthority;
    await clock.advance(10 * minute);
    const later = events.slice(1);
    expect(later.length).toBeGreaterThan(0);
    expect(later.length).toBeLessThanOrEqual((10 * minute) / (7 * second));
    clock.stepWall(-stepMs);
    issuer.leaf = {};
    await clock.advance(151 * second);
    expect(source.current().notAfterMs).toBeGreaterThan(clock.now());
  });

  it.each([
    ['an hour back', -hour],
    ['to 1970', -Date.now()],
  ])('R13: %s neither delays a renewal nor makes a storm', async (_, stepMs) => {
    await started();
    const inUse = source.current();
    clock.stepWall(stepMs);
    issuer.leaf = { notBeforeMs: inUse.notBeforeMs, notAfterMs: inUse.notAfterMs + hour };
    await clock.advance(30 * minute - 1);
    expect(events).toHaveLength(1);
    await clock.advance(10 * minute);
    expect(events[1]).toMatchObject({ at: 30 * minute, what: 'not_yet_valid' });
    expect(events.length).toBeLessThan(20);
    expect(source.current() === inUse).toBe(true);
  });

  it('R13: forward again and again makes no storm of retries', async () => {
    issuer.lifetimeMs = 24 * hour;
    await started();
    issuer.answer = failing('unreachable');
    await clock.advance(13 * hour);
    const attempts = issuer.keys.length;
    for (let i = 0; i < 10; i++) {
      clock.stepWall(3 * minute);
      await clock.advance(minute);
    }
    expect(issuer.keys.length).toBeLessThanOrEqual(attempts + 7);
  });

  it('R14: behind that of the control plane keeps the certificate in use, and tells of the difference', async () => {
    await started();
    const inUse = source.current();
    issuer.leaf = { notBeforeMs: clock.now() + 35 * minute, notAfterMs: clock.now() + 2 * hour };
    issuer.change = (reply) => ({ ...reply, serverTime: new Date(clock.now() + 5 * minute).toISOString() });
    await clock.advance(31 * minute);
    expect(whats().slice(1)).toContain('not_yet_valid');
    expect(source.current() === inUse).toBe(true);
    expect(source.renewal().clockSkewMs).toBe(5 * minute);
    await clock.advance(10 * minute);
    expect(source.current().generation).toBe(2);
  });

  it('R16: that went on while the machine was suspended renews within 5 s of waking', async () => {
    await started();
    await clock.advance(minute);
    clock.stepWall(40 * minute);
    await clock.advance(5 * second);
    expect(source.current().generation).toBe(2);
  });

  it('R16: that passed the end of the identity in an outage makes the next attempt as soon as without an identity', async () => {
    await started();
    issuer.answer = failing('unreachable');
    while ((events.at(-1)?.nextMs ?? 0) < 90 * second || whats().at(-1) === 'renewed 1') await clock.advance(second);
    clock.stepWall(hour);
    issuer.answer = undefined;
    await clock.advance(15 * second);
    expect(source.current().generation).toBe(2);
  });
});

describe('a reply that cannot be used keeps the identity in use', () => {
  const sans = [{ uri: 'spiffe://cluster.local/ns/shop/sa/web' }, { uri: 'spiffe://cluster.local/b' }];
  const set = (change: () => Partial<FakeIssuer>) => () => void Object.assign(issuer, change());
  const chain = (of: (own: string) => string) =>
    set(() => ({ change: (reply) => ({ ...reply, certificateChain: of(reply.certificateChain) }) }));
  const foreign = () => createTestAuthority('cluster.local', { root: { subject: 'other' } });
  const cases: [string, RenewalReason, () => void][] = [
    ['P5: for another SPIFFE ID', 'wrong_identity', set(() => ({ id: 'ns/shop/sa/admin' }))],
    ['P7: with two leaves', 'chain_invalid', chain((own) => own + authority.issue({ id: 'ns/a/sa/b' }).certPem)],
    [
      'P7: of another root',
      'chain_invalid',
      set(() => ({ authority: foreign(), bundles: { 'cluster.local': authority.bundlePem } })),
    ],
    ['P9: that has expired', 'already_expired', set(() => ({ lifetimeMs: -1000 }))],
    [
      'P9: from the future',
      'not_yet_valid',
      set(() => ({ leaf: { notBeforeMs: clock.now() + day, notAfterMs: clock.now() + 2 * day } })),
    ],
    ['P10: with CA:TRUE', 'chain_invalid', set(() => ({ leaf: { basicConstraints: { ca: true } } }))],
    ['P10: with two URIs', 'chain_invalid', set(() => ({ leaf: { sans } }))],
    ['for another key', 'key_mismatch', chain(() => authority.issue({ id: 'ns/shop/sa/web' }).chainPem)],
    ['that is no PEM', 'bad_pem', chain(() => 'hello')],
  ];
  it.each(cases)('%s is %s', async (_, reason, arrange) => {
    await started();
    const inUse = source.current();
    arrange();
    await clock.advance(30 * minute);
    expect(whats()).toEqual(['renewed 1', reason]);
    expect(source.current() === inUse).toBe(true);
  });

  it('R18: of which OpenSSL makes no TLS context is chain_invalid, and the next one is used', async () => {
    await started();
    const inUse = source.current();
    const original = tls.createSecureContext;
    tls.createSecureContext = () => {
      throw new Error('ee key too small');
    };
    syncBuiltinESMExports();
    try {
      await clock.advance(30 * minute);
      stream.push({ 'cluster.local': `${authority.bundlePem}${createTestAuthority('cluster.local').bundlePem}` });
    } finally {
      tls.createSecureContext = original;
      syncBuiltinESMExports();
    }
    expect(whats()).toEqual(['renewed 1', 'chain_invalid', 'bundles refused chain_invalid']);
    expect(source.renewal().lastFailure?.message).toContain('ee key too small');
    expect(source.current() === inUse).toBe(true);
    await clock.advance(second);
    expect(whats().at(-1)).toBe('renewed 2');
  });

  it('P12: the certificate decides about its end, and no other field does', async () => {
    issuer.change = (reply) => ({ ...reply, expiresAt: '2099-01-01T00:00:00Z' }) as CertificateReply;
    await started();
    expect(source.current().notAfterMs).toBe(Math.floor(clock.now() / 1000) * 1000 + hour);
  });
});

describe('a reply whose trust bundles cannot be used', () => {
  const brokenRoot = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
  const other = createTestAuthority('other');
  const next = createTestAuthority('cluster.local', { root: { subject: 'next root' } });
  const cases: [string, RenewalReason, () => Record<string, string>][] = [
    ['B1: empty', 'bundle_empty', () => ({ 'cluster.local': '' })],
    ['B1: none at all', 'bundle_empty', () => ({})],
    ['B1: none of our own trust domain', 'bundle_empty', () => ({ other: other.bundlePem })],
    ['B2: a broken root of our own', 'bad_pem', () => ({ 'cluster.local': authority.bundlePem + brokenRoot })],
    ['B2: a broken one of a partner', 'bad_pem', () => ({ 'cluster.local': authority.bundlePem, other: brokenRoot })],
    [
      'B2: a root of ours for a partner',
      'chain_invalid',
      () => ({ 'cluster.local': authority.bundlePem, other: authority.bundlePem }),
    ],
  ];

  it.each(cases)('%s is no first identity, but %s', async (_, reason, bundles) => {
    issuer.bundles = bundles();
    const starting = start();
    await clock.advance(minute);
    expect(new Set(whats())).toEqual(new Set([reason]));
    issuer.bundles = undefined;
    await clock.advance(15 * second);
    source = await starting;
    expect([...source.current().bundles.domains.keys()]).toEqual(['cluster.local']);
  });

  it.each(cases)('%s renews under the whole set in use, and tells of %s', async (_, reason, bundles) => {
    issuer.bundles = { 'cluster.local': authority.bundlePem, partner: createTestAuthority('partner').bundlePem };
    await started();
    const inUse = source.current();
    issuer.bundles = bundles();
    for (let i = 0; i < 3; i++) await clock.advance(30 * minute);
    const refused = `bundles refused ${reason}`;
    expect(whats()).toEqual(['renewed 1', refused, 'renewed 2', refused, 'renewed 3', refused, 'renewed 4']);
    expect(source.current().bundles).toBe(inUse.bundles);
    expect(source.current().leaf.serialNumber).not.toBe(inUse.leaf.serialNumber);
    expect(source.renewal().lastFailure).toBeUndefined();
    issuer.bundles = undefined;
    await clock.advance(30 * minute);
    expect([...source.current().bundles.domains.keys()]).toEqual(['cluster.local']);
  });

  it('B9: is not renewed by an authority that those in use do not vouch for', async () => {
    await started();
    const inUse = source.current();
    Object.assign(issuer, { authority: next, bundles: { 'cluster.local': next.bundlePem, other: brokenRoot } });
    await clock.advance(30 * minute);
    expect(whats()).toEqual(['renewed 1', 'bundles refused bad_pem', 'chain_invalid']);
    expect(source.current()).toBe(inUse);
    issuer.bundles = { 'cluster.local': next.bundlePem };
    await clock.advance(15 * second);
    expect(whats().at(-1)).toBe('renewed 2');
  });
});

describe('trust bundles that are pushed', () => {
  const own = () => authority.bundlePem;
  const otherRoot = createTestAuthority('cluster.local', { root: { subject: 'next root' } });

  it('B6: make a new generation with the same certificate and key', async () => {
    await started();
    const before = source.current();
    const seen: number[] = [];
    source.subscribe(({ generation }) => seen.push(generation));
    stream.push({ 'cluster.local': `${own()}${otherRoot.bundlePem}` });
    const after = source.current();
    expect(after.generation).toBe(2);
    expect(after.chainPem).toBe(before.chainPem);
    expect(after.key).toBe(before.key);
    expect(after.notAfterMs).toBe(before.notAfterMs);
    expect(after.bundles.domains.get('cluster.local')).toHaveLength(2);
    expect(seen).toEqual([2]);
    expect(issuer.keys).toHaveLength(1);
  });

  it('P13: make no new generation when they are the same, in whatever order', async () => {
    await started();
    stream.push({ 'cluster.local': `${own()}${otherRoot.bundlePem}` });
    stream.push({ 'cluster.local': `${otherRoot.bundlePem}${own()}` });
    stream.push({ 'cluster.local': `${otherRoot.bundlePem}${own()}` });
    expect(source.current().generation).toBe(2);
  });

  it('P14: unload a trust domain that they no longer name', async () => {
    const other = createTestAuthority('other');
    issuer.bundles = { 'cluster.local': own(), other: other.bundlePem };
    await started();
    expect([...source.current().bundles.domains.keys()]).toEqual(['cluster.local', 'other']);
    stream.push({ 'cluster.local': own() });
    expect([...source.current().bundles.domains.keys()]).toEqual(['cluster.local']);
  });

  it.each<[string, Record<string, string>, RenewalReason]>([
    ['B1: that are empty', {}, 'bundle_empty'],
    ['B1: without our own trust domain', { other: createTestAuthority('other').bundlePem }, 'bundle_empty'],
    ['B1: of white space', { 'cluster.local': ' \n' }, 'bundle_empty'],
    [
      'B2: that are broken',
      { 'cluster.local': '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n' },
      'bad_pem',
    ],
  ])('%s are refused and counted; those in use are kept', async (_, pushed, reason) => {
    await started();
    const inUse = source.current();
    stream.push(pushed);
    expect(source.current() === inUse).toBe(true);
    expect(whats()).toEqual(['renewed 1', `bundles refused ${reason}`]);
    await clock.advance(30 * minute);
    expect(whats().at(-1)).toBe('renewed 2');
  });

  it('R24: without the root of our own certificate end the identity at once, and it is renewed within a second', async () => {
    await started();
    const before = source.current();
    issuer.authority = otherRoot;
    stream.push({ 'cluster.local': otherRoot.bundlePem });
    const ended = source.current();
    expect(ended.generation).toBe(2);
    expect(ended.notAfterMs).toBe(clock.now());
    expect(ended.bundles.domains.get('cluster.local')?.[0]?.pem).toBe(otherRoot.bundlePem);
    expect(before.notAfterMs).toBeGreaterThan(clock.now());
    const message = 'No root of the trust bundles vouches for our own certificate any more';
    expect(source.renewal().lastFailure).toEqual({ reason: 'chain_invalid', message, atMs: clock.now() });
    await clock.advance(second);
    expect(whats()).toEqual(['renewed 1', 'chain_invalid', 'renewed 3']);
    expect(source.renewal().lastFailure).toBeUndefined();
    expect(source.current()).toMatchObject({ generation: 3 });
    expect(source.current().notAfterMs).toBeGreaterThan(clock.now());
  });

  it('R24: and the identity is back when the root is', async () => {
    await started();
    issuer.answer = failing('unreachable');
    stream.push({ 'cluster.local': otherRoot.bundlePem });
    expect(source.current().notAfterMs).toBe(clock.now());
    await clock.advance(minute);
    expect(source.renewal().lastFailure?.reason).toBe('unreachable');
    stream.push({ 'cluster.local': `${otherRoot.bundlePem}${own()}` });
    expect(source.current().notAfterMs).toBeGreaterThan(clock.now());
    expect(source.current().generation).toBe(3);
    expect(whats().filter((what) => what === 'chain_invalid')).toHaveLength(1);
  });

  it('R24: pushed a thousand times make one attempt a second', async () => {
    await started();
    issuer.answer = failing('unreachable');
    for (let i = 0; i < 1000; i++) {
      stream.push({ 'cluster.local': i % 2 === 0 ? otherRoot.bundlePem : own() });
      await clock.advance(10);
    }
    expect(issuer.keys.length).toBeLessThanOrEqual(12);
  });

  it('B9: a certificate that comes before the bundle that verifies it waits for it', async () => {
    await started();
    const before = source.current();
    stream.push({ 'cluster.local': own() });
    issuer.authority = otherRoot;
    await clock.advance(30 * minute);
    expect(whats().at(-1)).toBe('chain_invalid');
    expect(source.current() === before).toBe(true);
    stream.push({ 'cluster.local': `${own()}${otherRoot.bundlePem}` });
    await clock.advance(second);
    expect(whats().at(-1)).toBe('renewed 3');
  });

  it('B14: are newer than those of a reply while the stream is up, and older when it is down', async () => {
    await started();
    stream.push({ 'cluster.local': `${own()}${otherRoot.bundlePem}` });
    await clock.advance(30 * minute);
    expect(source.current().bundles.domains.get('cluster.local')).toHaveLength(2);
    stream.up = false;
    await clock.advance(30 * minute);
    expect(source.current().bundles.domains.get('cluster.local')).toHaveLength(1);
    stream.push({ 'cluster.local': `${own()}${otherRoot.bundlePem}` });
    expect(source.current().bundles.domains.get('cluster.local')).toHaveLength(2);
  });

  it('B14: do not come back with the stream after a reply has replaced them', async () => {
    await started();
    stream.push({ 'cluster.local': `${own()}${otherRoot.bundlePem}` });
    stream.up = false;
    await clock.advance(30 * minute);
    expect(source.current().bundles.domains.get('cluster.local')).toHaveLength(1);
    const broken = { 'cluster.local': '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n' };
    issuer.bundles = broken;
    stream.push(broken);
    await clock.advance(30 * minute);
    expect(whats().slice(-2)).toEqual(['bundles refused bad_pem', 'renewed 4']);
    expect(source.current().bundles.domains.get('cluster.local')).toHaveLength(1);
  });

  it('B14: and replies together only ever grow the generation, by one each', async () => {
    await started();
    const seen: number[] = [];
    source.subscribe(({ generation }) => seen.push(generation));
    for (let i = 0; i < 20; i++) {
      stream.push({ 'cluster.local': i % 2 === 0 ? `${own()}${otherRoot.bundlePem}` : own() });
      await clock.advance(20 * minute);
    }
    expect(seen.length).toBeGreaterThan(30);
    expect(seen).toEqual(seen.map((_, index) => index + 2));
  });

  it('that came before the first certificate verify it', async () => {
    stream.push({ 'cluster.local': `${own()}${otherRoot.bundlePem}` });
    await started();
    expect(source.current().bundles.domains.get('cluster.local')).toHaveLength(2);
  });
});

it('closes for good', async () => {
  await started();
  await source.close();
  await source.close();
  stream.push({});
  expect(clock.pending).toBe(0);
  expect(whats()).toEqual(['renewed 1']);
});
