import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ControlClient } from '../../../src/agent/control-client.ts';
import { createControlClient } from '../../../src/agent/control-client.ts';
import type { ControlStream } from '../../../src/agent/control-stream.ts';
import { startControlStream } from '../../../src/agent/control-stream.ts';
import { startControlPlaneIdentity } from '../../../src/agent/identity-sources/control-plane.ts';
import type { IdentitySource } from '../../../src/agent/identity-sources/source.ts';
import type { Registry } from '../../../src/agent/registry/registry.ts';
import { createRegistry } from '../../../src/agent/registry/registry.ts';
import { systemClock } from '../../../src/clock.ts';
import type { ControlPlane, ControlPlaneSettings } from '../../../src/control-plane/control-plane.ts';
import { controlPlaneDefaults, startControlPlane } from '../../../src/control-plane/control-plane.ts';
import type { Identity } from '../../../src/identity/identity.ts';
import { createLog } from '../../../src/log.ts';
import { webPod } from '../../support/control-plane-client.ts';
import type { FakeStore } from '../../support/registry-source.ts';
import { createFakeStore, meshedPod } from '../../support/registry-source.ts';
import { createRevocationSource } from '../../support/revocation-source.ts';

// The agent's part that keeps it fresh, and a real control plane, over real TLS and with the real clock.

const log = createLog('silent');
const patience = { timeout: 30_000, interval: 20 };

let directory: string;
let store: FakeStore;
let plane: ControlPlane;
let client: ControlClient;
let stream: ControlStream;
let registry: Registry;
let source: IdentitySource;
let events: string[];

const startPlane = (settings: Partial<ControlPlaneSettings> = {}) => {
  const anyPort = { ip: '127.0.0.1', port: 0 };
  const all = {
    ...controlPlaneDefaults,
    listen: anyPort,
    metricsListen: anyPort,
    keys: { kind: 'state' as const, directory: join(directory, 'state') },
  };
  return startControlPlane({ clock: systemClock, log, store }, { ...all, ...settings });
};

const writeToken = async () => {
  await writeFile(join(directory, 'token.new'), await plane.mintToken(webPod));
  await rename(join(directory, 'token.new'), join(directory, 'token'));
};

async function startAgent(certificateLifetimeMs = 3_600_000) {
  await writeFile(join(directory, 'ca.pem'), plane.rootPem);
  await writeToken();
  client = createControlClient(systemClock, {
    url: `https://localhost:${plane.apiAddress.port}`,
    caFile: join(directory, 'ca.pem'),
    tokenFile: join(directory, 'token'),
    serverName: undefined,
    connectTimeoutMs: 5000,
    timeoutMs: 10_000,
  });
  stream = startControlStream({
    clock: systemClock,
    client,
    observer: {
      streamUp: () => void events.push('stream up'),
      streamDown: () => void events.push('stream down'),
      streamEnded: () => undefined,
      lineRefused: (why) => void events.push(`line refused: ${why}`),
    },
  });
  registry = createRegistry({ clock: systemClock, client, stream }, { maxDestinations: 1000, idleMs: 600_000 });
  const observer = {
    renewed: (identity: Identity) => void events.push(`renewed ${identity.generation}`),
    renewalFailed: (reason: string) => void events.push(`failed ${reason}`),
    bundlesRefused: () => void events.push('bundles refused'),
  };
  source = await startControlPlaneIdentity(
    { clock: systemClock, client, stream, revocations: createRevocationSource(), observer },
    {
      trustDomain: 'cluster.local',
      expected: undefined,
      tokenFile: join(directory, 'token'),
      lifetimeMs: certificateLifetimeMs,
      maximumLifetimeMs: 24 * 3_600_000,
      renewalFraction: 0.1,
    },
    new AbortController().signal,
  );
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'remora-agent-'));
  store = createFakeStore();
  events = [];
  plane = await startPlane();
});

afterEach(async () => {
  await source?.close();
  await registry.close();
  await stream.close();
  await client.close();
  await plane.close();
  await rm(directory, { recursive: true });
});

const lookup = (port: number) => registry.lookup({ ip: '10.0.0.7', port }, AbortSignal.timeout(10_000));

describe('an agent beside a real control plane', () => {
  it('obtains its identity and its policy', async () => {
    await startAgent();
    expect(source.current().spiffeId.uri).toBe('spiffe://cluster.local/ns/shop/sa/web');
    await expect.poll(() => stream.policy(), patience).toEqual({ mode: 'PERMISSIVE' });
    await expect.poll(() => stream.trustBundles(), patience).toEqual({ 'cluster.local': plane.rootPem });
    expect(Math.abs(source.renewal().clockSkewMs ?? 1e9)).toBeLessThan(5000);
    expect(events).not.toContain('bundles refused');
  });

  it('R1: renews a certificate of 10 s again and again, with a new key each', async () => {
    await startAgent(10_000);
    const keys = new Set<string>();
    source.subscribe(({ leaf }) => void keys.add(leaf.publicKey.export({ type: 'spki', format: 'pem' }) as string));
    await expect.poll(() => keys.size, patience).toBe(4);
    expect(events.filter((event) => event.startsWith('failed'))).toEqual([]);
  });

  it('looks destinations up, and hears of their changes', async () => {
    await startAgent();
    expect(await lookup(80)).toEqual({ kind: 'unknown' });
    store.set(meshedPod('db', '10.0.0.7'));
    await expect.poll(() => lookup(80).then(({ kind }) => kind), patience).toBe('known');
    expect(await lookup(80)).toMatchObject({
      destination: {
        endpoints: [{ address: '10.0.0.7:80', spiffeId: 'spiffe://cluster.local/ns/shop/sa/db', transport: 'hbone' }],
      },
    });
    store.set(meshedPod('cache', '10.0.0.7'));
    await expect
      .poll(() => lookup(80), patience)
      .toMatchObject({ destination: { endpoints: [{ spiffeId: 'spiffe://cluster.local/ns/shop/sa/cache' }] } });
    store.set(meshedPod('cache', '10.0.0.8'));
    await expect.poll(() => lookup(80), patience).toEqual({ kind: 'unknown' });
  });

  it('R3: outlives the control plane, and goes on with the next one', async () => {
    store.set(meshedPod('db', '10.0.0.7'));
    await startAgent(10_000);
    await lookup(80);
    await expect.poll(() => stream.isUp(), patience).toBe(true);
    const { port } = plane.apiAddress;
    await plane.close();
    await expect.poll(() => stream.isUp(), patience).toBe(false);
    await expect.poll(() => events.at(-1), patience).toBe('failed unreachable');
    expect((await lookup(80)).kind).toBe('known');
    expect(stream.policy()).toEqual({ mode: 'PERMISSIVE' });
    const { generation } = source.current();
    plane = await startPlane({ listen: { ip: '127.0.0.1', port } });
    await expect.poll(() => source.current().generation, patience).toBeGreaterThan(generation);
    await expect.poll(() => stream.isUp(), patience).toBe(true);
    expect(events).not.toContain('bundles refused');
  });

  it('R8: is refused with a token that nobody signed, and goes on with the next one', async () => {
    await startAgent(10_000);
    const token = await plane.mintToken(webPod);
    await writeFile(join(directory, 'token'), `${token.slice(0, -4)}AAAA`);
    await expect.poll(() => events.at(-1), patience).toBe('failed http_401');
    expect(source.renewal().lastFailure?.message).not.toContain(token.split('.')[1]);
    await writeToken();
    await expect.poll(() => events.at(-1), patience).toMatch(/^renewed/);
  });
});
