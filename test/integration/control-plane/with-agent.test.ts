import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { ControlClient } from '../../../src/agent/control-client.ts';
import { createControlClient } from '../../../src/agent/control-client.ts';
import { linesOf } from '../../../src/agent/stream-lines.ts';
import { parseStreamLine } from '../../../src/agent/stream-message.ts';
import { systemClock } from '../../../src/clock.ts';
import { maxReplyBytes } from '../../../src/control-api.ts';
import type { ControlPlane } from '../../../src/control-plane/control-plane.ts';
import { controlPlaneDefaults, startControlPlane } from '../../../src/control-plane/control-plane.ts';
import { createCsr, createKey } from '../../../src/identity/csr.ts';
import { makeIdentity } from '../../../src/identity/identity.ts';
import { parseTrustBundles } from '../../../src/identity/trust-bundle.ts';
import { captureLog } from '../../support/captured-log.ts';
import { webPod } from '../../support/control-plane-client.ts';
import { spiffeId } from '../../support/identities.ts';
import { createFakeStore, meshedPod } from '../../support/registry-source.ts';

/* The control plane and the client that ships in every sidecar understand each other. */

const anyPort = { ip: '127.0.0.1', port: 0 };
const web = spiffeId('spiffe://cluster.local/ns/shop/sa/web');

let directory: string;
let plane: ControlPlane;
let client: ControlClient;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'remora-agent-'));
  const store = createFakeStore(meshedPod('api', '10.0.0.1'));
  const settings = { ...controlPlaneDefaults, listen: anyPort, metricsListen: anyPort };
  plane = await startControlPlane({ clock: systemClock, log: captureLog().log, store }, settings);
  const [tokenFile, caFile] = [join(directory, 'token'), join(directory, 'root.pem')];
  writeFileSync(tokenFile, await plane.mintToken(webPod));
  writeFileSync(caFile, plane.rootPem);
  client = createControlClient(systemClock, {
    url: `https://localhost:${plane.apiAddress.port}`,
    tokenFile,
    caFile,
    serverName: undefined,
    connectTimeoutMs: 10_000,
    timeoutMs: 10_000,
  });
});
afterEach(async () => {
  await client.close();
  await plane.close();
  rmSync(directory, { recursive: true });
});

it('a sidecar gets an identity that it accepts', async () => {
  const key = createKey();
  const reply = await client.certificate({ csr: createCsr(key, web), ttlSeconds: 3600 });
  const bundles = parseTrustBundles(reply.trustBundles);
  const nowMs = systemClock.now();
  const identity = makeIdentity({
    generation: 1,
    key,
    chainPem: reply.certificateChain,
    bundles,
    expected: web,
    nowMs,
  });
  expect(identity.notAfterMs - nowMs).toBeGreaterThan(3_590_000);
});

it('a sidecar learns what is behind an address', async () => {
  expect(await client.destinations(['10.0.0.1:80', '10.0.0.9:80'])).toMatchObject([
    { known: true, endpoints: [{ transport: 'hbone', spiffeId: 'spiffe://cluster.local/ns/shop/sa/api' }] },
    { known: false },
  ]);
});

it('a sidecar understands every line of its stream', async () => {
  const controller = new AbortController();
  const topics = [];
  for await (const line of linesOf(await client.stream(['10.0.0.1:80'], controller.signal), maxReplyBytes)) {
    const parsed = parseStreamLine(line);
    topics.push(parsed.kind === 'message' ? parsed.message.topic : parsed.kind);
    if (topics.length === 4) break;
  }
  controller.abort(new Error('done'));
  expect(topics).toEqual(['trust-bundles', 'revocations', 'policy', 'destination']);
});

it('a report of a sidecar is taken', async () => {
  const [root = ''] = await client.roots();
  const report = { version: '1', issuedBy: root, trustedRoots: [root], controlPlaneRoots: [root] };
  await client.report({ ...report, peersByRoot: [{ root, peers: 1 }] });
  await expect(client.report({ ...report, issuedBy: 'nonsense' })).rejects.toMatchObject({ reason: 'bad_json' });
});

it('R6: a sidecar that trusts another authority sends its token nowhere', async () => {
  const settings = { ...controlPlaneDefaults, listen: anyPort, metricsListen: anyPort };
  const other = await startControlPlane({ clock: systemClock, log: captureLog().log }, settings);
  writeFileSync(join(directory, 'root.pem'), other.rootPem);
  const asked = client.certificate({ csr: createCsr(createKey(), web), ttlSeconds: 60 });
  await expect(asked).rejects.toMatchObject({
    reason: 'server_untrusted',
    message: expect.stringContaining('controlPlaneCaFile'),
  });
  const metrics = await fetch(`http://127.0.0.1:${plane.metricsAddress.port}/metrics`);
  expect(await metrics.text()).not.toMatch(/certificates_issued_total\{result="\w+"\} [1-9]/);
  await other.close();
});

it('a sidecar that is refused is told why', async () => {
  writeFileSync(join(directory, 'token'), await plane.mintToken({ ...webPod, audience: 'kubernetes' }));
  await expect(client.destinations([])).rejects.toMatchObject({
    reason: 'http_401',
    message: expect.stringContaining('token_audience'),
  });
});
