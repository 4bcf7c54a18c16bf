import { mkdtempSync, rmSync } from 'node:fs';
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
import { captureLog } from '../../support/captured-log.ts';
import { call, webPod } from '../../support/control-plane-client.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { spiffeId } from '../../support/identities.ts';

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
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'remora-mesh-'));
  clock = createFakeClock(Date.now() - 3_600_000);
  const settings = { ...controlPlaneDefaults, listen: anyPort, metricsListen: anyPort };
  plane = await startControlPlane(
    { clock, log: captureLog().log },
    { ...settings, adminSocket: join(folder, 'admin.sock') },
  );
});
afterEach(async () => {
  await plane.close();
  rmSync(folder, { recursive: true });
});

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
    expect(lines[3]).toMatch(/^ {2}shop\/web-0 +yes +STRICT +none yet +1 in, 2 out +9\.9\.9$/);
    expect(lines[4]).toMatch(/^ {2}shop\/web-1 +no report$/);
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
      /knows no sidecar of shop\/web, expected a namespace or namespace\/pod/,
    );
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
