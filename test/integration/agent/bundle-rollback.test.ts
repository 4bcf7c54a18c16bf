import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { ControlClient } from '../../../src/agent/control-client.ts';
import { createControlClient } from '../../../src/agent/control-client.ts';
import type { ControlStream } from '../../../src/agent/control-stream.ts';
import { startControlStream } from '../../../src/agent/control-stream.ts';
import { startControlPlaneIdentity } from '../../../src/agent/identity-sources/control-plane.ts';
import type { IdentitySource } from '../../../src/agent/identity-sources/source.ts';
import { systemClock } from '../../../src/clock.ts';
import type { ControlPlane } from '../../../src/control-plane/control-plane.ts';
import { controlPlaneDefaults, startControlPlane } from '../../../src/control-plane/control-plane.ts';
import type { Identity } from '../../../src/identity/identity.ts';
import { noRevocations } from '../../../src/identity/revocations.ts';
import { captureLog } from '../../support/captured-log.ts';
import { webPod } from '../../support/control-plane-client.ts';
import { createTestAuthority } from '../../support/identities.ts';
import { createFakeStore } from '../../support/registry-source.ts';

/*
 * Goal: a control plane that is restored from an older state is followed, in one coherent step each, and what it no longer
 * vouches for is used no longer. Method: real control planes one after the other on one port, over real TLS.
 */

const partner = createTestAuthority('partner.example');
const patience = { timeout: 30_000, interval: 20 };

let directory: string;
let plane: ControlPlane;
let client: ControlClient;
let stream: ControlStream;
let source: IdentitySource;

/** With the authority of this state directory. */
async function startPlane(state: string, federated: readonly string[], port = 0): Promise<ControlPlane> {
  const settings = {
    ...controlPlaneDefaults,
    listen: { ip: '127.0.0.1', port },
    metricsListen: { ip: '127.0.0.1', port: 0 },
    keys: { kind: 'state' as const, directory: join(directory, state) },
    federatedBundles: federated.map((path) => ({ trustDomain: 'partner.example', path })),
  };
  const store = createFakeStore();
  return startControlPlane({ clock: systemClock, log: captureLog().log, store }, settings);
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'remora-rollback-'));
});
afterEach(async () => {
  await source.close();
  await stream.close();
  await client.close();
  await plane.close();
  await rm(directory, { recursive: true });
});

const silent = () => undefined;

it('P13: an older authority that takes the place of the one in use is followed at once, with a certificate of its own', async () => {
  const bundle = join(directory, 'partner.pem');
  await writeFile(bundle, partner.bundlePem);
  const restored = await startPlane('older', []);
  const olderPem = restored.rootPem;
  const olderToken = await restored.mintToken(webPod);
  await restored.close();
  plane = await startPlane('newer', [bundle]);
  const { port } = plane.apiAddress;
  const [tokenFile, caFile] = [join(directory, 'token'), join(directory, 'ca.pem')];
  await writeFile(tokenFile, await plane.mintToken(webPod));
  await writeFile(caFile, `${plane.rootPem}${olderPem}`);
  client = createControlClient(systemClock, {
    url: `https://localhost:${port}`,
    caFile,
    tokenFile,
    serverName: undefined,
    connectTimeoutMs: 5000,
    timeoutMs: 10_000,
  });
  const observer = { streamUp: silent, streamDown: silent, streamEnded: silent, lineRefused: silent };
  stream = startControlStream({ clock: systemClock, client, observer });
  source = await startControlPlaneIdentity(
    {
      clock: systemClock,
      client,
      stream,
      revocations: { current: () => noRevocations, subscribe: () => silent },
      observer: { renewed: silent, renewalFailed: silent, bundlesRefused: silent },
    },
    {
      trustDomain: 'cluster.local',
      expected: undefined,
      tokenFile,
      lifetimeMs: 3_600_000,
      maximumLifetimeMs: 86_400_000,
      renewalFraction: 0.5,
    },
    new AbortController().signal,
  );
  const first = source.current();
  expect([...first.bundles.domains.keys()]).toEqual(['cluster.local', 'partner.example']);
  const seen: Identity[] = [];
  source.subscribe((identity) => seen.push(identity));

  await writeFile(tokenFile, olderToken);
  await plane.close();
  plane = await startPlane('older', [], port);
  const pemOf = ({ bundles }: Identity) =>
    bundles.domains
      .get('cluster.local')
      ?.map(({ pem }) => pem)
      .join('');
  await expect.poll(() => source.current().notAfterMs > Date.now() && pemOf(source.current()), patience).toBe(olderPem);
  const last = source.current();
  expect(last.leaf.serialNumber).not.toBe(first.leaf.serialNumber);
  expect([...last.bundles.domains.keys()]).toEqual(['cluster.local']);
  expect(seen.map(({ generation }) => generation)).toEqual(seen.map((_, index) => first.generation + 1 + index));
  // In between nobody could have been shown the old certificate beside the bundles that do not vouch for it.
  for (const { bundles, notAfterMs, leaf } of seen) {
    const isOld = leaf.serialNumber === first.leaf.serialNumber;
    if (isOld && pemOf({ bundles } as Identity) === olderPem) expect(notAfterMs).toBeLessThanOrEqual(Date.now());
  }
});
