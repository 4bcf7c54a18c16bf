import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Sources } from '../../../src/agent/sources.ts';
import { startSources } from '../../../src/agent/sources.ts';
import { systemClock } from '../../../src/clock.ts';
import { loadAgentSettings } from '../../../src/config.ts';
import type { RevocationState } from '../../../src/control-api.ts';
import { readCertificateRequest } from '../../../src/control-plane/certificate-request.ts';
import { readCertificate } from '../../../src/identity/certificate.ts';
import type { Identity } from '../../../src/identity/identity.ts';
import { captureLog } from '../../support/captured-log.ts';
import type { MadeCertificate } from '../../support/certificates.ts';
import { makeCrl } from '../../support/crls.ts';
import type { FakeControlPlane, SeenRequest } from '../../support/fake-control-plane.ts';
import { json, startFakeControlPlane } from '../../support/fake-control-plane.ts';
import { createTestAuthority } from '../../support/identities.ts';

/*
 * Goal: what the control plane pushes and what lists in files say count together, for peers and for ourselves.
 * Method: the sources of a sidecar as it starts them, a control plane that says what the test wants, real files.
 */

const mesh = createTestAuthority('cluster.local');
const [alice, bob, carol] = ['alice', 'bob', 'carol'].map(
  (name) => mesh.issue({ id: `ns/shop/sa/${name}` }).certificate,
);

let directory: string;
let plane: FakeControlPlane;
let stream: PromiseWithResolvers<ServerResponse>;
let version = 0;
let sources: Sources;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'remora-sources-'));
  stream = Promise.withResolvers();
  plane = await startFakeControlPlane({ answer });
});

afterEach(async () => {
  await sources.close();
  await plane.close();
  await rm(directory, { recursive: true });
});

function answer(request: SeenRequest): void | Promise<void> {
  if (request.path === '/v1/certificates') return json(certificateFor(request.body))(request);
  if (request.path !== '/v1/stream') return json({})(request);
  request.response.writeHead(200, { 'content-type': 'application/x-ndjson' }).flushHeaders();
  stream.resolve(request.response);
  return push({ topic: 'trust-bundles', data: { 'cluster.local': mesh.bundlePem } });
}

function certificateFor(body: string) {
  const csr = readCertificateRequest((JSON.parse(body) as { csr: string }).csr);
  if (csr.kind === 'refused') throw new TypeError(csr.why);
  const publicKey = csr.publicKey.export({ type: 'spki', format: 'der' });
  return {
    certificateChain: mesh.issue({ id: 'ns/shop/sa/web', publicKey }).chainPem,
    trustBundles: { 'cluster.local': mesh.bundlePem },
    serverTime: new Date().toISOString(),
  };
}

/** Waits until the sidecar listens. */
async function push(message: { readonly topic: string; readonly data: unknown }): Promise<void> {
  version += 1;
  (await stream.promise).write(`${JSON.stringify({ ...message, epoch: 'test', version })}\n`);
}

const pushRevocations = (state: Partial<RevocationState>) =>
  push({ topic: 'revocations', data: { certificates: [], identities: [], ...state } });

/** Puts a list in its place in one step. */
async function writeList(revoked: readonly (MadeCertificate | Uint8Array)[], number: number): Promise<void> {
  await writeFile(join(directory, 'new.pem'), makeCrl({ issuer: mesh.root, revoked, number }).pem);
  await rename(join(directory, 'new.pem'), join(directory, 'crl.pem'));
}

async function start() {
  await writeFile(join(directory, 'ca.pem'), plane.caPem);
  await writeFile(join(directory, 'token'), 'token');
  const flags = {
    'control-plane': plane.url,
    'control-plane-ca-file': join(directory, 'ca.pem'),
    'token-file': join(directory, 'token'),
    'spiffe-id': 'spiffe://cluster.local/ns/shop/sa/web',
    'crl-files': join(directory, 'crl.pem'),
    deliver: '127.0.0.1:1',
  };
  const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]);
  const { settings } = loadAgentSettings({ args, env: {}, nodeFlags: [], uid: 0, gid: 0, readFile: () => '' });
  const captured = captureLog();
  const counter = { renewalSucceeded: () => undefined, renewalFailed: () => undefined };
  sources = startSources({ clock: systemClock, log: captured.log, counter }, settings);
  return { captured, source: await sources.identity(new AbortController().signal) };
}

const names = ({ der }: { readonly der: Uint8Array }) => {
  const { serial, issuer } = readCertificate(der);
  return { serial, issuer };
};
const isRevoked = (certificate: MadeCertificate | undefined) => {
  const spiffeId = { uri: 'spiffe://cluster.local/ns/shop/sa/peer', trustDomain: 'cluster.local' };
  return sources.revocations.current().whyRevoked({ spiffeId, certificates: [names(certificate!)] }) !== undefined;
};
const changed = () =>
  new Promise<void>((resolve) => {
    const end = sources.revocations.subscribe(() => {
      end();
      resolve();
    });
  });

it('C28: what the control plane pushes and what a list in a file says count together', async () => {
  await writeList([alice!], 1);
  await start();
  expect([isRevoked(alice), isRevoked(bob), isRevoked(carol)]).toEqual([true, false, false]);
  const pushed = changed();
  await pushRevocations({ certificates: [{ serials: [names(bob!).serial] }] });
  await pushed;
  expect([isRevoked(alice), isRevoked(bob), isRevoked(carol)]).toEqual([true, true, false]);
  const read = changed();
  await writeList([carol!], 2);
  await read;
  expect([isRevoked(alice), isRevoked(bob), isRevoked(carol)]).toEqual([false, true, true]);
  const lost = changed();
  await pushRevocations({ unknown: 'the control plane has lost its list' });
  await lost;
  expect(isRevoked(bob)).toBe(false);
  expect(sources.revocations.current().unknown).toBe('the control plane has lost its list');
});

it.each<[string, (serial: string) => Promise<void>]>([
  ['the control plane', (serial) => pushRevocations({ certificates: [{ serials: [serial] }] })],
  ['a list in a file', (serial) => writeList([Buffer.from(serial, 'hex')], 2)],
])('ends our own certificate when %s revokes it, and replaces it', async (_, revoke) => {
  await writeList([], 1);
  const { captured, source } = await start();
  const before = source.current();
  const seen: Identity[] = [];
  const renewed = new Promise<void>((resolve) =>
    source.subscribe((identity) => {
      seen.push(identity);
      if (identity.key !== before.key) resolve();
    }),
  );
  await revoke(before.leaf.serialNumber);
  await renewed;
  expect(seen.map(({ key, notAfterMs }) => [key === before.key, notAfterMs > Date.now()])).toEqual([
    [true, false],
    [false, true],
  ]);
  const line = captured.lines.find(({ reason }) => reason === 'revoked');
  expect(line?.detail).toContain(`No peer accepts the certificate: the certificate ${before.leaf.serialNumber} `);
  expect(source.renewal().lastFailure).toBeUndefined();
  await source.close();
});

it('judges the lists before anybody gets the identity', async () => {
  await writeList([alice!], 1);
  const { source } = await start();
  expect(isRevoked(alice)).toBe(true);
  await source.close();
});

it('judges them again when the control plane pushes the root that signed them', async () => {
  const other = createTestAuthority('cluster.local');
  const theirs = other.issue({ id: 'ns/shop/sa/dave' }).certificate;
  await writeFile(join(directory, 'crl.pem'), makeCrl({ issuer: other.root, revoked: [theirs] }).pem);
  const { source } = await start();
  expect(isRevoked(theirs)).toBe(false);
  const judged = changed();
  await push({ topic: 'trust-bundles', data: { 'cluster.local': mesh.bundlePem + other.bundlePem } });
  await judged;
  expect(isRevoked(theirs)).toBe(true);
  await source.close();
});
