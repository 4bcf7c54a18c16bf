import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run as strictPreview } from '../../../src/cli/strict-preview/command.ts';
import type { Report, ReportedCaller } from '../../../src/control-api.ts';
import { paths } from '../../../src/control-api.ts';
import type { ControlPlane } from '../../../src/control-plane/control-plane.ts';
import { controlPlaneDefaults, startControlPlane } from '../../../src/control-plane/control-plane.ts';
import type { StrictPreview } from '../../../src/control-plane/preview/api.ts';
import type { Host } from '../../../src/host.ts';
import { createCsr, createKey } from '../../../src/identity/csr.ts';
import type { CapturedLog } from '../../support/captured-log.ts';
import { captureLog } from '../../support/captured-log.ts';
import { call, webPod } from '../../support/control-plane-client.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { spiffeId } from '../../support/identities.ts';
import { meshed, pod } from '../../support/registry-yaml.ts';

/*
 * Goal: what a change would break is told before it is made, from what sidecars reported of their callers.
 * Method: the real control plane in this process, on a clock of the test; sidecars are calls of its API, and the answers are
 * what the commands print.
 */
const anyPort = { ip: '127.0.0.1', port: 0 };
let folder: string;
let clock: FakeClock;
let plane: ControlPlane;
let captured: CapturedLog;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'remora-preview-'));
  clock = createFakeClock(Date.now() - 3_600_000);
  captured = captureLog();
  mkdirSync(join(folder, 'registry'));
  const pods = [
    pod({ name: 'api-0', namespace: 'ns', ip: '10.0.0.1', ...meshed, metadata: ownedBy('api') }),
    pod({ name: 'api-1', namespace: 'ns', ip: '10.0.0.2', ...meshed, metadata: ownedBy('api') }),
    pod({ name: 'db-0', namespace: 'stock', ip: '10.0.0.3', ...meshed, labels: 'app: db' }),
    pod({ name: 'old-batch-0', namespace: 'legacy', ip: '10.0.0.9' }),
  ];
  writeFileSync(join(folder, 'registry/pods.yaml'), pods.join('\n---'));
  plane = await startControlPlane(
    { clock, log: captured.log },
    {
      ...{ ...controlPlaneDefaults, listen: anyPort, metricsListen: anyPort, adminSocket: join(folder, 'admin.sock') },
      ...{ registry: join(folder, 'registry'), revocationsFile: join(folder, 'revocations.json') },
    },
  );
  await captured.next('Registry read');
});
afterEach(async () => {
  await plane.close();
  rmSync(folder, { recursive: true });
});

const ownedBy = (name: string) => `ownerReferences: [{kind: StatefulSet, name: ${name}, controller: true}]`;

async function applied(name: string, yaml: string): Promise<void> {
  const read = captured.next('Registry read');
  writeFileSync(join(folder, `registry/${name}.yaml`), yaml);
  await clock.advance(10_000);
  await read;
}

/** A sidecar that has a certificate; what it reports. */
async function sidecar(namespace: string, name: string) {
  const token = await plane.mintToken({ ...webPod, namespace, pod: name, lifetimeMs: 7_200_000 });
  const csr = createCsr(createKey(), spiffeId(`spiffe://cluster.local/ns/${namespace}/sa/web`));
  expect(await call(plane, paths.certificates, { token, body: { csr } })).toMatchObject({ status: 200 });
  return async (report: Report) => {
    expect(await call(plane, paths.reports, { token, body: report })).toMatchObject({ status: 202 });
  };
}

const ago = (ms: number) => new Date(clock.now() - ms).toISOString();
const batch = (more: Partial<ReportedCaller> = {}): ReportedCaller => ({
  ...{ port: 8080, address: '10.0.0.9', kind: 'workload', workload: 'old-batch', namespace: 'legacy' },
  ...{ connections: 206, open: 0, firstAt: ago(3_600_000), lastAt: ago(180_000) },
  ...more,
});
const callers = (list: ReportedCaller[], more: Partial<NonNullable<Report['callers']>> = {}): Report => ({
  callers: { since: ago(86_400_000), minimumMode: 'DISABLE', callers: list, further: [], ...more },
});

async function ask(...args: string[]): Promise<{ text: string; exitCode: number }> {
  let text = '';
  const stdout = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString();
      done();
    },
  });
  const host = { args: ['--state-dir', folder, ...args], stdout, stderr: stdout, env: {} } as unknown as Host;
  return { exitCode: await strictPreview(host), text };
}
const json = async (...args: string[]) => JSON.parse((await ask(...args, '--json')).text) as StrictPreview;

describe('remora strict-preview of a namespace or the mesh', () => {
  it('names who would lose, added up over the pods of a workload', async () => {
    await (await sidecar('ns', 'api-0'))(callers([batch()]));
    await (await sidecar('ns', 'api-1'))(callers([batch({ lastAt: ago(600_000) })], { since: ago(3_600_000) }));
    const { text, exitCode } = await ask('--namespace', 'ns');
    expect(text.split('\n')).toEqual([
      'Switching port 8080 of ns/api to STRICT now would break: legacy/old-batch, 412 connections, last 3m ago',
      '',
      '1 workload; 1 where it would break something',
      'All of them have been watching for 1h or longer',
      '',
    ]);
    expect(exitCode).toBe(1);
    const { workloads, notKnown } = await json('--namespace', 'ns');
    expect(workloads).toMatchObject([
      {
        ...{ namespace: 'ns', workload: 'api', pods: 2, mode: 'PERMISSIVE', further: null, since: ago(3_600_000) },
        ports: [
          { port: 8080, mode: 'PERMISSIVE', callers: [{ connections: 412, breaks: true, lastAt: ago(180_000) }] },
        ],
      },
    ]);
    expect(notKnown).toEqual({ pods: [], more: 0 });
  });

  it('is of the whole mesh with --mesh, and says what is not known and why', async () => {
    await (await sidecar('ns', 'api-0'))(callers([]));
    await (await sidecar('stock', 'db-0'))({ version: 'old' });
    const { text, exitCode } = await ask('--mesh');
    expect(text).toContain('1 workload; 1 where a switch to STRICT would break nothing that was seen\n');
    expect(text).toContain('Not known: ns/api-1: its sidecar has no certificate and no stream here\n');
    expect(text).toContain('Not known: stock/db-0: its sidecar does not tell its callers');
    expect(exitCode).toBe(1);
    await sidecar('ns', 'api-1');
    expect((await json('--mesh')).notKnown.pods).toMatchObject([
      { pod: 'ns/api-1', why: 'its sidecar has not reported yet' },
      { pod: 'stock/db-0' },
    ]);
  });

  it('exits with 0 when nothing would break and everything is known', async () => {
    await (await sidecar('stock', 'db-0'))(callers([batch({ principal: 'spiffe://cluster.local/ns/ns/sa/web' })]));
    expect(await ask('--namespace', 'stock')).toMatchObject({ exitCode: 0 });
  });

  it('takes a report for one of now only while it is not too old', async () => {
    await (await sidecar('stock', 'db-0'))(callers([]));
    await clock.advance(361_000);
    const { text, exitCode } = await ask('--namespace', 'stock');
    expect(text).toContain('Not known: stock/db-0: its last report is too old');
    expect(exitCode).toBe(1);
  });

  it('goes by the policy of now: STRICT ports, and who is refused anyway', async () => {
    await (await sidecar('stock', 'db-0'))(
      callers([batch(), batch({ port: 9090 }), batch({ port: 7070, address: '10.0.0.8' })]),
    );
    await applied(
      'policy',
      `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: db, namespace: stock}
spec: {selector: {matchLabels: {app: db}}, mtls: {mode: PERMISSIVE}, portLevelMtls: {9090: {mode: STRICT}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-batch, namespace: stock}
spec: {action: DENY, rules: [{from: [{source: {ipBlocks: [10.0.0.8]}}]}]}
`,
    );
    const [db] = (await json('--namespace', 'stock')).workloads;
    expect(db?.ports.map(({ port, mode, callers: [one] }) => [port, mode, one?.breaks, one?.why])).toEqual([
      [7070, 'PERMISSIVE', false, expect.stringContaining('stock/no-batch')],
      [8080, 'PERMISSIVE', true, undefined],
      [9090, 'STRICT', false, 'The port is STRICT already'],
    ]);
    const strict =
      'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: all, namespace: stock}\nspec: {mtls: {mode: STRICT}}\n';
    await applied('policy', strict);
    expect(await ask('--namespace', 'stock')).toMatchObject({
      text: expect.stringMatching(/^1 workload; 1 STRICT already\n/),
      exitCode: 0,
    });
  });

  it('knows the floor of a pod, its probes, and how many callers had no place', async () => {
    const report = await sidecar('stock', 'db-0');
    await report(callers([batch()], { minimumMode: 'STRICT' }));
    expect(await ask('--namespace', 'stock')).toMatchObject({ exitCode: 0 });
    const probe = { kind: 'kubelet', onlyConnects: true, workload: undefined, namespace: undefined } as const;
    await report(callers([batch(probe)]));
    expect(await ask('--namespace', 'stock')).toMatchObject({ exitCode: 0 });
    const further = [
      { port: 8080, isPlaintext: true, callers: 7, lastAt: ago(1000) },
      { port: 8080, isPlaintext: false, callers: 900, lastAt: ago(1000) },
    ];
    await report(callers([batch({ ...probe, onlyConnects: undefined })], { further }));
    const { text, exitCode } = await ask('--namespace', 'stock');
    expect(text).toContain('  the kubelet, or something else on the node (10.0.0.9), 206 connections, last 3m ago\n');
    expect(text).toContain('  and at most 7 more callers that were not remembered, last 1s ago\n');
    expect(exitCode).toBe(1);
  });

  it('says when there is no such namespace, and what options do not go together', async () => {
    await expect(ask('--namespace', 'legacy')).rejects.toThrow(
      /^This control plane knows no sidecar in the namespace legacy/,
    );
    await expect(ask('--namespace', 'ns', '--mesh')).rejects.toThrow('Expected one of --namespace and --mesh');
    await expect(ask('--mesh', '--watch')).rejects.toThrow(/--watch and --admin/);
    await expect(ask()).rejects.toThrow(/Expected --namespace or --mesh/);
  });
});
