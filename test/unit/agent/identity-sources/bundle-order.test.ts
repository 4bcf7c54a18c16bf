import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { ControlStream } from '../../../../src/agent/control-stream.ts';
import { startControlStream } from '../../../../src/agent/control-stream.ts';
import { startControlPlaneIdentity } from '../../../../src/agent/identity-sources/control-plane.ts';
import type { IdentitySource } from '../../../../src/agent/identity-sources/source.ts';
import type { StreamMessage } from '../../../../src/control-api.ts';
import { noRevocations } from '../../../../src/identity/revocations.ts';
import type { FakeClock } from '../../../support/fake-clock.ts';
import { createFakeClock } from '../../../support/fake-clock.ts';
import type { FakeIssuer } from '../../../support/fake-issuer.ts';
import { createFakeIssuer } from '../../../support/fake-issuer.ts';
import type { FakeStreams } from '../../../support/fake-stream.ts';
import { createFakeStreams } from '../../../support/fake-stream.ts';
import { createTestAuthority } from '../../../support/identities.ts';

/* Which bundles hold when lines come late, twice, or from a control plane that has forgotten: stream and identity together. */

const ours = createTestAuthority('cluster.local');
const [old, next] = ['old', 'next'].map((subject) => createTestAuthority('partner.example', { root: { subject } })) as [
  typeof ours,
  typeof ours,
];

let directory: string;
let clock: FakeClock;
let control: FakeStreams;
let issuer: FakeIssuer;
let stream: ControlStream;
let source: IdentitySource;
let refusals: string[];

const line = (version: number, epoch: string, partner: string | undefined): StreamMessage => ({
  topic: 'trust-bundles',
  epoch,
  version,
  data: { 'cluster.local': ours.bundlePem, ...(partner !== undefined && { 'partner.example': partner }) },
});
const both = `${old.bundlePem}${next.bundlePem}`;

/** The stream with this number, once it was asked for. */
async function opened(index: number) {
  await expect
    .poll(() => clock.advance(1000).then(() => control.streams.length), { interval: 1 })
    .toBeGreaterThan(index);
  return control.streams[index]!;
}
async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await clock.advance(0);
}
const partnerRoots = () =>
  source
    .current()
    .bundles.domains.get('partner.example')
    ?.map(({ pem }) => pem)
    .join('');

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'remora-order-'));
  await writeFile(join(directory, 'token'), 'token');
  clock = createFakeClock(Math.floor(Date.now() / 1000) * 1000);
  control = createFakeStreams();
  issuer = createFakeIssuer(ours, clock);
  refusals = [];
  const silent = () => undefined;
  stream = startControlStream({
    clock,
    client: control,
    observer: {
      streamUp: silent,
      streamDown: silent,
      streamEnded: silent,
      lineRefused: (why) => void refusals.push(why),
    },
  });
  source = await startControlPlaneIdentity(
    {
      clock,
      client: issuer,
      stream,
      revocations: { current: () => noRevocations, subscribe: () => silent },
      observer: {
        renewed: silent,
        renewalFailed: silent,
        bundlesRefused: ({ message }) => void refusals.push(message),
      },
    },
    {
      trustDomain: 'cluster.local',
      expected: undefined,
      tokenFile: join(directory, 'token'),
      lifetimeMs: 3_600_000,
      maximumLifetimeMs: 86_400_000,
      renewalFraction: 0.5,
    },
    new AbortController().signal,
  );
});
afterEach(async () => {
  await source.close();
  await stream.close();
  await rm(directory, { recursive: true });
});

it('P13: a root that was removed does not come back with an older line of the same epoch, in the same stream or the next', async () => {
  const first = await opened(0);
  first.send(line(7, 'a', both), line(8, 'a', next.bundlePem));
  await settle();
  const { generation } = source.current();
  first.send(line(7, 'a', both));
  await settle();
  first.end();
  const second = await opened(1);
  second.send(line(7, 'a', both), line(8, 'a', next.bundlePem));
  await settle();
  expect(partnerRoots()).toBe(next.bundlePem);
  expect(source.current().generation).toBe(generation);
});

it('P13: a control plane that was started again is believed, also when it knows less', async () => {
  const first = await opened(0);
  first.send(line(500, 'a', both));
  await settle();
  expect(partnerRoots()).toBe(both);
  first.end();
  const second = await opened(1);
  second.send(line(1, 'b', old.bundlePem));
  await settle();
  expect(partnerRoots()).toBe(old.bundlePem);
  second.send(line(2, 'b', undefined));
  await settle();
  expect(partnerRoots()).toBeUndefined();
  second.send(line(1, 'b', both));
  await settle();
  expect(partnerRoots()).toBeUndefined();
});

it('P14: while the stream is away the bundles hold, and a reply without a trust domain redacts it', async () => {
  issuer.bundles = { 'cluster.local': ours.bundlePem };
  const first = await opened(0);
  first.send(line(1, 'a', both));
  await settle();
  first.end();
  control.failure = new Error('away');
  await clock.advance(60_000);
  expect(partnerRoots()).toBe(both);
  await clock.advance(1_800_000);
  await expect.poll(() => clock.advance(0).then(partnerRoots)).toBeUndefined();
});

it('B2: a set that cannot be used changes nothing, and the next one that can counts', async () => {
  const first = await opened(0);
  first.send(line(1, 'a', old.bundlePem), line(2, 'a', ours.bundlePem));
  await settle();
  expect(partnerRoots()).toBe(old.bundlePem);
  expect(refusals).toEqual([
    'The trust domains cluster.local and partner.example have roots with the same subject, expected different ones',
  ]);
  first.send(line(3, 'a', next.bundlePem));
  await settle();
  expect(partnerRoots()).toBe(next.bundlePem);
});
