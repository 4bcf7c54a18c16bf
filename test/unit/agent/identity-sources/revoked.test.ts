import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startControlPlaneIdentity } from '../../../../src/agent/identity-sources/control-plane.ts';
import { guardAgainstRevocation } from '../../../../src/agent/identity-sources/revoked.ts';
import type { IdentitySource, RenewalObserver } from '../../../../src/agent/identity-sources/source.ts';
import type { RenewalError } from '../../../../src/errors.ts';
import { readCertificate } from '../../../../src/identity/certificate.ts';
import type { Identity } from '../../../../src/identity/identity.ts';
import { remainingMs } from '../../../../src/identity/identity.ts';
import type { FakeClock } from '../../../support/fake-clock.ts';
import { createFakeClock } from '../../../support/fake-clock.ts';
import type { FakeIssuer } from '../../../support/fake-issuer.ts';
import { createFakeBundleStream, createFakeIssuer } from '../../../support/fake-issuer.ts';
import type { TestAuthority } from '../../../support/identities.ts';
import { createTestAuthority, createTestIdentity, spiffeId } from '../../../support/identities.ts';
import type { FakeRevocationSource } from '../../../support/revocation-source.ts';
import { createRevocationSource } from '../../../support/revocation-source.ts';

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const id = 'spiffe://cluster.local/ns/shop/sa/web';

let clock: FakeClock;
let authority: TestAuthority;
let issuer: FakeIssuer;
let revocations: FakeRevocationSource;
let stream: ReturnType<typeof createFakeBundleStream>;
let directory: string;
let events: string[];
let source: IdentitySource;
let stop: AbortController;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'remora-revoked-'));
  await writeFile(join(directory, 'token'), 'token');
  clock = createFakeClock(Math.floor(Date.now() / 1000) * 1000);
  authority = createTestAuthority('cluster.local', { intermediates: 1 });
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

function start(): Promise<IdentitySource> {
  const observer = {
    renewed: ({ generation }: Identity) => void events.push(`renewed ${generation}`),
    renewalFailed: (_: string, error: RenewalError) => void events.push(error.message),
    bundlesRefused: (error: RenewalError) => void events.push(error.message),
  };
  return startControlPlaneIdentity(
    { clock, client: issuer, stream, revocations, observer },
    {
      trustDomain: 'cluster.local',
      expected: spiffeId(id),
      tokenFile: join(directory, 'token'),
      lifetimeMs: hour,
      maximumLifetimeMs: 24 * hour,
      renewalFraction: 0.5,
    },
    stop.signal,
  );
}

/** The names of our own certificate and of the one that issued it. */
const namesOf = ({ chain }: Identity) =>
  chain.map(({ raw }) => {
    const { issuer: by, serial } = readCertificate(raw);
    return { issuer: by, serials: [serial] };
  });
const isUsable = () => remainingMs(source.current(), clock.now()) > 0;

describe('an own certificate that is revoked', () => {
  it('is over at once, in words, and another one is there within a second', async () => {
    source = await start();
    const before = source.current();
    const [leaf] = namesOf(before);
    revocations.set({ certificates: [leaf!] });
    const words = `No peer accepts the certificate: the certificate ${leaf!.serials[0]} has been revoked`;
    expect(source.current()).toMatchObject({ generation: 2, notAfterMs: clock.now(), endedBecause: words });
    expect(source.current().key).toBe(before.key);
    expect(events).toEqual(['renewed 1', words]);
    expect(source.renewal().lastFailure).toEqual({ reason: 'revoked', message: words, atMs: clock.now() });
    await clock.advance(second);
    expect(source.current().generation).toBe(3);
    expect(isUsable()).toBe(true);
    expect(source.renewal().lastFailure).toBeUndefined();
    expect(events).toEqual(['renewed 1', words, 'renewed 3']);
  });

  it.each<[string, (identity: Identity) => Parameters<FakeRevocationSource['set']>[0]]>([
    ['the certificate that issued it is', (identity) => ({ certificates: [namesOf(identity)[1]!] })],
    ['its identity is', () => ({ identities: [id] })],
  ])('is over as well when %s, and its successors are asked for with backoff', async (_, lists) => {
    source = await start();
    revocations.set(lists(source.current()));
    expect(isUsable()).toBe(false);
    await clock.advance(5 * minute);
    expect(isUsable()).toBe(false);
    expect(issuer.keys.length).toBeGreaterThan(10);
    expect(issuer.keys.length).toBeLessThan(50);
    expect(source.renewal().lastFailure?.message).toMatch(
      /^No peer accepts the certificate: the (certificate|identity) /,
    );
    clock.stepWall(-minute);
    expect(isUsable()).toBe(false);
    clock.stepWall(minute);
    revocations.set({});
    expect(isUsable()).toBe(true);
    await clock.advance(second);
    expect(source.renewal().lastFailure).toBeUndefined();
  });

  it('is over since it was revoked, whatever else is revoked later', async () => {
    source = await start();
    const endedAtMs = clock.now();
    issuer.answer = (signal) =>
      new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
    revocations.set({ identities: [id] });
    await clock.advance(minute);
    revocations.set({ identities: [id, 'spiffe://cluster.local/ns/shop/sa/other'] });
    expect(source.renewal().lastFailure?.atMs).toBe(endedAtMs);
    expect(source.current()).toMatchObject({ generation: 2, notAfterMs: endedAtMs });
    expect(events).toHaveLength(2);
  });

  it('makes one attempt a second, however often it is told of', async () => {
    source = await start();
    for (let i = 0; i < 1000; i++) {
      revocations.set({ identities: i % 2 === 0 ? [id] : [] });
      await clock.advance(10);
    }
    expect(issuer.keys.length).toBeLessThanOrEqual(12);
  });

  it('stays over when trust bundles come, which hold for peers all the same', async () => {
    source = await start();
    const endedAtMs = clock.now();
    revocations.set({ identities: [id] });
    const other = createTestAuthority('cluster.local');
    await clock.advance(second);
    stream.push({ 'cluster.local': `${authority.bundlePem}${other.bundlePem}` });
    expect(source.current().bundles.domains.get('cluster.local')).toHaveLength(2);
    expect(source.current().notAfterMs).toBe(endedAtMs);
    revocations.set({});
    expect(isUsable()).toBe(true);
    expect(source.current().bundles.domains.get('cluster.local')).toHaveLength(2);
  });

  it('is not used when it is the first one, until the revocation is lifted', async () => {
    revocations.set({ identities: [id] });
    const starting = start();
    await clock.advance(minute);
    expect(events.at(-1)).toBe(`No peer accepts the certificate: the identity ${id} has been revoked`);
    revocations.set({});
    await clock.advance(second);
    source = await starting;
    expect(isUsable()).toBe(true);
  });

  it('is not that of anybody else: other serials, issuers and identities change nothing', async () => {
    source = await start();
    const [leaf, intermediate] = namesOf(source.current());
    revocations.set({
      certificates: [
        { issuer: leaf!.issuer, serials: intermediate!.serials },
        { issuer: intermediate!.issuer, serials: leaf!.serials },
      ],
      identities: ['spiffe://cluster.local/ns/shop/sa/we'],
      unknown: 'nothing is known',
    });
    expect(source.current().generation).toBe(1);
    expect(events).toEqual(['renewed 1']);
  });

  it('is told of apart from every other change of what is revoked', () => {
    const changes: string[] = [];
    const observer = { renewalFailed: () => undefined } as unknown as RenewalObserver;
    const guard = guardAgainstRevocation({ clock, revocations, observer }, (change) => changes.push(change));
    guard.watch(createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'web' }));
    const other = 'spiffe://cluster.local/ns/shop/sa/other';
    for (const identities of [[other], [id], [id, other], [other], []]) revocations.set({ identities });
    expect(changes).toEqual(['none', 'revoked', 'none', 'lifted', 'none']);
    guard.close();
    revocations.set({ identities: [id] });
    expect(changes).toHaveLength(5);
  });

  it('is listened for until the source is closed', async () => {
    source = await start();
    expect(revocations.listeners).toBe(1);
    await source.close();
    expect(revocations.listeners).toBe(0);
  });
});
