import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { createControlClient } from '../../src/agent/control-client.ts';
import { startControlPlaneIdentity } from '../../src/agent/identity-sources/control-plane.ts';
import type { IdentitySource } from '../../src/agent/identity-sources/source.ts';
import { systemClock } from '../../src/clock.ts';
import type { ControlPlane } from '../../src/control-plane/control-plane.ts';
import { controlPlaneDefaults, startControlPlane } from '../../src/control-plane/control-plane.ts';
import type { Identity } from '../../src/identity/identity.ts';
import { noRevocations } from '../../src/identity/revocations.ts';
import { createLog } from '../../src/log.ts';
import type { DataPlaneParts } from '../../src/proxy/data-plane.ts';
import { createPeerBook } from '../../src/proxy/peer-book.ts';
import type { DataPlaneOptions, RunningDataPlane } from '../support/data-plane.ts';
import { runDataPlane } from '../support/data-plane.ts';
import type { FakeClock } from '../support/fake-clock.ts';
import { createFakeClock } from '../support/fake-clock.ts';
import { createFakeBundleStream } from '../support/fake-issuer.ts';
import { startApplication } from '../support/loopback-mesh.ts';
import { createFakeStore } from '../support/registry-source.ts';
import { readAll } from '../support/sockets.ts';

/*
 * Goal: renewals go unnoticed, a hundred of them. Method: two data planes with the real sources of their identities and a
 * real control plane, on loopback; the clocks of the sources are moved, so that each renews when the test says so.
 */

const lifetimeMs = 600_000;
const renewalMs = lifetimeMs / 10;
const renewals = 100;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

/** An identity that is renewed when the test says so. */
interface Renewed {
  readonly source: IdentitySource;
  readonly failures: readonly string[];
  /** The hash of the public key of each certificate so far, by serial. */
  readonly keys: ReadonlyMap<string, string>;
  /** Resolves with the next identity. */
  renew(): Promise<Identity>;
}

async function identityOf(name: string, plane: ControlPlane, folder: string): Promise<Renewed> {
  const [tokenFile, caFile] = [join(folder, `${name}.token`), join(folder, 'ca.pem')];
  await writeFile(tokenFile, await plane.mintToken({ namespace: 'shop', serviceAccount: name, pod: name }));
  await writeFile(caFile, plane.rootPem);
  const client = createControlClient(systemClock, {
    url: `https://localhost:${plane.apiAddress.port}`,
    tokenFile,
    caFile,
    serverName: undefined,
    connectTimeoutMs: 10_000,
    timeoutMs: 30_000,
  });
  const failures: string[] = [];
  const clock: FakeClock = createFakeClock();
  const keys = new Map<string, string>();
  const observer = {
    renewed: ({ leaf }: Identity) =>
      void keys.set(leaf.serialNumber, sha256(leaf.publicKey.export({ type: 'spki', format: 'der' }))),
    renewalFailed: (reason: string) => void failures.push(reason),
    bundlesRefused: () => void failures.push('bundles'),
  };
  const revocations = { current: () => noRevocations, subscribe: () => () => undefined };
  const settings = { trustDomain: 'cluster.local', expected: undefined, tokenFile, lifetimeMs };
  const source = await startControlPlaneIdentity(
    { clock, client, stream: createFakeBundleStream(), revocations, observer },
    { ...settings, maximumLifetimeMs: 2 * lifetimeMs, renewalFraction: 0.1 },
    new AbortController().signal,
  );
  cleanups.push(
    () => client.close(),
    () => source.close(),
  );
  return {
    source,
    failures,
    keys,
    async renew() {
      const { promise, resolve } = Promise.withResolvers<Identity>();
      cleanups.push(source.subscribe(resolve));
      // Its certificates do not age by it: the wall clock is put back.
      await clock.advance(2 * renewalMs);
      clock.stepWall(-2 * renewalMs);
      return promise;
    },
  };
}

async function startSidecar(
  { source }: Renewed,
  options: Omit<DataPlaneOptions, 'identity'>,
): Promise<RunningDataPlane> {
  const sidecar = await runDataPlane({ ...options, identity: source.current() });
  source.subscribe((identity) => {
    sidecar.identity = identity;
    sidecar.identityChanged(identity);
  });
  cleanups.push(() => sidecar.stop());
  return sidecar;
}

/** Notes the serials of the certificates that peers show to a sidecar. */
function noting(serials: Set<string>): Pick<DataPlaneParts, 'peers'> {
  const peers = createPeerBook(systemClock);
  return {
    peers: {
      ...peers,
      opened(peer) {
        serials.add(peer.serial);
        return peers.opened(peer);
      },
    },
  };
}

it('R1: 100 renewals of both sides under load fail no handshake and drop no connection, each with a new key on the wire', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'remora-rotation-'));
  cleanups.push(() => rm(folder, { recursive: true }));
  const anyPort = { ip: '127.0.0.1', port: 0 };
  const controlPlane = await startControlPlane(
    { clock: systemClock, log: createLog('silent'), store: createFakeStore() },
    { ...controlPlaneDefaults, listen: anyPort, metricsListen: anyPort },
  );
  cleanups.push(() => controlPlane.close());
  const [webIdentity, apiIdentity] = [
    await identityOf('web', controlPlane, folder),
    await identityOf('api', controlPlane, folder),
  ];

  const application = await startApplication((socket) => socket.pipe(socket));
  cleanups.push(() => application.close());
  const target = { ip: '127.0.0.1', port: application.port };
  const shown = { web: new Set<string>(), api: new Set<string>() };
  const api = await startSidecar(apiIdentity, { deliveries: [target], parts: noting(shown.web) });
  const hbonePort = api.addresses.hbone[0]?.port ?? 0;
  const declared = [{ target, peer: apiIdentity.source.current().spiffeId.uri }];
  const web = await startSidecar(webIdentity, { declared, hbonePort, parts: noting(shown.api) });

  const dial = async (): Promise<Socket> => {
    const socket = connect({ host: '127.0.0.1', port: web.addresses.declared[0]?.port ?? 0, allowHalfOpen: true });
    cleanups.push(() => socket.destroy());
    await once(socket, 'connect');
    return socket;
  };
  const short = async () => {
    const socket = await dial();
    socket.end('hello');
    expect((await readAll(socket)).toString()).toBe('hello');
  };
  const sent = randomBytes(64 * 1024 * 1024);
  const transfer = await dial();
  const received = readAll(transfer);
  const slice = sent.length / renewals;
  for (let count = 0; count < renewals; count += 1) {
    transfer.write(sent.subarray(Math.floor(count * slice), Math.floor((count + 1) * slice)));
    const before = [short(), short()];
    await Promise.all([webIdentity.renew(), apiIdentity.renew()]);
    await Promise.all([...before, short(), short()]);
  }
  transfer.end();
  expect(sha256(await received)).toBe(sha256(sent));

  expect([...webIdentity.failures, ...apiIdentity.failures]).toEqual([]);
  for (const { observed, lines } of [web, api]) {
    expect(observed.filter(({ event }) => /failed|denied/i.test(event))).toEqual([]);
    expect(lines.filter(({ reason }) => reason !== undefined && reason !== 'eof')).toEqual([]);
  }
  for (const [serials, { keys }] of [
    [shown.web, webIdentity],
    [shown.api, apiIdentity],
  ] as const) {
    expect(serials.size).toBeGreaterThan(renewals);
    expect(new Set([...serials].map((serial) => keys.get(serial))).size).toBe(serials.size);
  }
});
