import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Report, SidecarState } from '../../../src/control-api.ts';
import { paths } from '../../../src/control-api.ts';
import type { ControlPlane } from '../../../src/control-plane/control-plane.ts';
import { controlPlaneDefaults, startControlPlane } from '../../../src/control-plane/control-plane.ts';
import { run as mesh } from '../../../src/control-plane/mesh/command.ts';
import type { MeshStatus } from '../../../src/control-plane/mesh/status.ts';
import type { Host } from '../../../src/host.ts';
import { createCsr, createKey } from '../../../src/identity/csr.ts';
import type { CapturedLog } from '../../support/captured-log.ts';
import { captureLog } from '../../support/captured-log.ts';
import { call, openStream, webPod } from '../../support/control-plane-client.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { spiffeId } from '../../support/identities.ts';
import { meshed, pod } from '../../support/registry-yaml.ts';

/*
 * Goal: what sidecars report of themselves is listed, and nobody can report for another.
 * Method: the real control plane in this process, on a clock of the test; sidecars are calls of its API, and the list is what
 * the command prints.
 */
const anyPort = { ip: '127.0.0.1', port: 0 };
const state: SidecarState = {
  notReady: [],
  modes: [{ port: '*', mode: 'STRICT' }],
  interception: [{ direction: 'outbound', family: 'ipv4', isOk: true }],
  bypassed: 0,
  open: { inbound: 1, outbound: 2 },
  failures: [],
  edges: [],
};

let folder: string;
let clock: FakeClock;
let plane: ControlPlane;
let captured: CapturedLog;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'remora-mesh-'));
  clock = createFakeClock(Date.now() - 3_600_000);
  const settings = { ...controlPlaneDefaults, listen: anyPort, metricsListen: anyPort };
  captured = captureLog();
  mkdirSync(join(folder, 'registry'));
  writeRegistry('web');
  plane = await startControlPlane(
    { clock, log: captured.log },
    {
      ...{ ...settings, adminSocket: join(folder, 'admin.sock') },
      ...{ registry: join(folder, 'registry'), revocationsFile: join(folder, 'revocations.json') },
    },
  );
});
afterEach(async () => {
  await plane.close();
  rmSync(folder, { recursive: true });
});

/** A pod with a sidecar that may call, one whose sidecar never does, and one without. */
function writeRegistry(account: string) {
  const pods = [
    pod({ name: 'web-0', ip: '10.0.0.1', ...meshed }).replace('web-0-account', account),
    pod({ name: 'silent', ip: '10.0.0.3', ...meshed }),
    pod({ name: 'legacy', ip: '10.0.0.2' }),
  ];
  writeFileSync(join(folder, 'registry/pods.yaml'), pods.join('\n---'));
}

async function sidecar(pod: string) {
  const token = await plane.mintToken({ ...webPod, pod, lifetimeMs: 3_600_000 });
  const csr = createCsr(createKey(), spiffeId('spiffe://cluster.local/ns/shop/sa/web'));
  expect(await call(plane, paths.certificates, { token, body: { csr } })).toMatchObject({ status: 200 });
  return (report: Report) => call(plane, paths.reports, { token, body: report });
}

async function print(...args: string[]): Promise<string> {
  let text = '';
  const stdout = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString();
      done();
    },
  });
  expect(await mesh({ args: ['--state-dir', folder, ...args], stdout, stderr: stdout } as unknown as Host)).toBe(0);
  return text;
}

describe('remora mesh', () => {
  it('lists who has a certificate, with what each reported of itself', async () => {
    const reportOfWeb = await sidecar('web-0');
    await sidecar('web-1');
    await reportOfWeb({ version: '9.9.9', state });
    await clock.advance(60_000);
    const lines = (await print()).split('\n');
    expect(lines[0]).toBe('2 sidecars; 1 without a report');
    expect(lines[3]).toMatch(/^ {2}shop\/web-0 +yes +STRICT +none yet +1 in, 2 out +1m ago +9\.9\.9$/);
    expect(lines[4]).toMatch(/^ {2}shop\/web-1 +no report +never$/);
    expect(lines.slice(5)).toEqual([
      '',
      '1 pod of the registry with a sidecar that has no certificate and no stream here: shop/silent',
      '1 pod of the registry without a sidecar: shop/legacy',
      '',
    ]);
    const { sidecars } = JSON.parse(await print('--json')) as MeshStatus;
    expect(sidecars).toMatchObject([
      { pod: 'shop/web-0', spiffeId: 'spiffe://cluster.local/ns/shop/sa/web', version: '9.9.9', state },
      { pod: 'shop/web-1', version: null, state: null, reportedAt: null },
    ]);
  });

  it('tells everything of one pod or a namespace, and names a pod that is not there', async () => {
    const reportOfWeb = await sidecar('web-0');
    const edge = { direction: 'outbound', peer: 'spiffe://cluster.local/ns/shop/sa/api' } as const;
    const lastAt = new Date(clock.now()).toISOString();
    const edges = [{ ...edge, security: 'mutual_tls', connections: 3, lastAt }];
    await reportOfWeb({ version: '9.9.9', state: { ...state, edges } });
    for (const name of ['shop/web-0', 'shop'])
      expect(await print(name)).toContain(
        '    to spiffe://cluster.local/ns/shop/sa/api: 3 connections, mutual_tls, now\n',
      );
    expect(await print('--edges')).toMatch(/\/sa\/web +spiffe:\/\/cluster\.local\/ns\/shop\/sa\/api .*caller\n$/);
    await expect(print('shop/web')).rejects.toThrow(
      /^Neither a sidecar nor the registry .* knows shop\/web, expected a namespace or namespace\/pod$/,
    );
    await expect(print('shop/legacy')).rejects.toThrow(/^shop\/legacy has no sidecar by the registry: .*inject/);
    await expect(print('shop/silent')).rejects.toThrow(
      /^shop\/silent has a sidecar by the registry, but no certificate/,
    );
  });

  it('takes no report for one of now that is too old, or whose sidecar has no stream while others have', async () => {
    const reportOfWeb = await sidecar('web-0');
    await reportOfWeb({ version: '9.9.9', state });
    await clock.advance(360_000);
    expect(await print()).toMatch(/^1 sidecar; nothing .*\n\n.*\n.* yes .* 6m ago /);
    await clock.advance(1_000);
    expect(await print()).toMatch(/^1 sidecar; 1 STALE\n\n.*\n.* unknown, was yes .* STALE, 6m1s ago /);
    await reportOfWeb({ version: '9.9.9', state });
    expect(await print()).toMatch(/^1 sidecar; nothing/);
    const token = await plane.mintToken({ ...webPod, pod: 'web-1', lifetimeMs: 3_600_000 });
    const other = await openStream(plane, token);
    await other.take(1);
    expect(await print()).toMatch(/^2 sidecars; 1 STALE; 1 without a report\n\n.*\n.* unknown, was yes .* STALE, now /);
    expect(await print('shop/web-0')).toContain('STALE, reported now, 0 streams');
    other.destroy();
  });

  it('shows who is revoked, whatever it reports, and the log says who was', async () => {
    const reportOfWeb = await sidecar('web-0');
    await reportOfWeb({ state: { ...state, renewalFailure: 'http_403' } });
    const when = new Date(clock.now()).toISOString();
    const identities = [{ spiffeId: 'spiffe://cluster.local/ns/shop/sa/web', when }];
    const read = captured.next('Revocations read');
    writeFileSync(join(folder, 'revocations.json'), JSON.stringify({ identities }));
    await clock.advance(60_000);
    expect(await read).toMatchObject({ revoked: ['spiffe://cluster.local/ns/shop/sa/web'] });
    expect(await print()).toMatch(/^1 sidecar; 1 REVOKED\n\n.*\n.* REVOKED 1m ago /);
    expect(JSON.parse(await print('--json'))).toMatchObject({ sidecars: [{ revokedAt: when }] });
  });

  it('shows a pod that the registry gives another service account, and the log warns of it', async () => {
    const reportOfWeb = await sidecar('web-0');
    await reportOfWeb({ state });
    const warned = captured.next('The registry gives a pod another service account than its token');
    writeRegistry('web-v2');
    await clock.advance(10_000);
    expect(await warned).toMatchObject({
      ...{ level: 'warn', pod: 'shop/web-0', issued: 'spiffe://cluster.local/ns/shop/sa/web' },
      registry: 'spiffe://cluster.local/ns/shop/sa/web-v2',
    });
    expect(await print()).toMatch(/; 1 with another identity in the registry\n\n.*\n.* yes, registry says sa\/web-v2 /);
    expect(captured.lines).toContainEqual(
      expect.objectContaining({ msg: 'Registry changed', changed: ['shop/web-0: service account web became web-v2'] }),
    );
  });

  it('warns when a certificate is issued that the registry does not agree with', async () => {
    writeRegistry('web-v2');
    const read = captured.next('Registry changed');
    await clock.advance(10_000);
    await read;
    await sidecar('web-0');
    expect(captured.lines.map(({ msg }) => msg)).toContain(
      'The registry gives a pod another service account than its token',
    );
  });

  it('says what to do when no control plane answers', async () => {
    await plane.close();
    await expect(print()).rejects.toMatchObject({
      exitCode: 69,
      message: expect.stringMatching(/^No control plane answers at .*: see whether it runs and how its log ends/),
    });
  });

  it('takes a report for the pod of its token alone, and only what it knows of it', async () => {
    const reportOfWeb = await sidecar('web-0');
    await sidecar('web-1');
    await reportOfWeb({ pod: 'shop/web-1', spiffeId: 'spiffe://cluster.local/ns/bank/sa/vault', state } as Report);
    const { sidecars } = JSON.parse(await print('--json')) as MeshStatus;
    expect(sidecars.map(({ pod, state: reported }) => [pod, reported !== null])).toEqual([
      ['shop/web-0', true],
      ['shop/web-1', false],
    ]);
    expect(await print('--json')).not.toContain('vault');
  });

  it.each<[string, unknown]>([
    ['too many edges', { ...state, edges: Array.from({ length: 31 }, () => ({})) }],
    ['a word that is a sentence', { ...state, renewalFailure: 'not a word\n' }],
    ['a count below zero', { ...state, bypassed: -1 }],
  ])('refuses a report with %s', async (_, bad) => {
    const reportOfWeb = await sidecar('web-0');
    expect(await reportOfWeb({ state: bad } as Report)).toMatchObject({ status: 400 });
    expect(JSON.parse(await print('--json'))).toMatchObject({ sidecars: [{ state: null }] });
  });
});
