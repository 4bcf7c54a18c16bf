import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'valibot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { strictPreviewPage } from '../../src/admin-api.ts';
import { policyPreview, strictPreview } from '../../src/control-plane/preview/api.ts';
import { sidecarUid } from '../../src/ports.ts';
import type { Mesh } from '../support/mesh.ts';
import { startMesh } from '../support/mesh.ts';
import type { Ended } from '../support/pods.ts';
import { noPodsBecause } from '../support/pods.ts';

/*
 * Goal: before a running mesh is switched to STRICT, its sidecar and its control plane name who would lose by it, and after
 * the switch they say that there is nothing left to do.
 * Method: `web` and `api` have sidecars, `legacy` has none; `node` is the gateway of `api`, as a node is that of its pods. The
 * PeerAuthentication of the registry is edited meanwhile.
 */
const pods = {
  web: { v4: '10.77.0.11', v6: 'fd77::11', isMeshed: true },
  api: { v4: '10.77.0.12', v6: 'fd77::12', isMeshed: true },
  legacy: { v4: '10.77.0.13', v6: 'fd77::13', isMeshed: false },
  node: { v4: '10.77.0.14', v6: 'fd77::14', isMeshed: false },
} as const;
type Name = keyof typeof pods;
const patience = { timeout: 60_000, interval: 500 };

describe.skipIf(noPodsBecause !== undefined)(`previews in a running mesh ${noPodsBecause ?? ''}`, () => {
  let mesh: Mesh<Name>;

  const ask = async (from: Name) => {
    const client = mesh.pods[from].start('test/support/pod-programs/client.ts', ['ask', pods.api.v4, '7001']);
    return JSON.parse(await client.line((line) => line.startsWith('{')));
  };
  const ofSidecar = (...args: string[]) => mesh.pods.api.remora(['strict-preview', ...args], { uid: sidecarUid });
  const ofControlPlane = (...args: string[]): Promise<Ended> =>
    mesh.pods.control.remora([...args, '--state-dir', join(mesh.folder, 'state')], { uid: 0 });
  const page = async () => parse(strictPreviewPage, JSON.parse((await ofSidecar('--json')).stdout));
  /** Whom each workload would lose, and what is not known. */
  const ofNamespace = async () => {
    const { stdout } = await ofControlPlane('strict-preview', '--namespace', 'shop', '--json');
    const { workloads, notKnown } = parse(strictPreview, JSON.parse(stdout));
    const callers = workloads.flatMap(({ workload, ports }) =>
      ports.flatMap(({ port, callers: all }) =>
        all.filter(({ breaks }) => breaks).map((one) => [workload, port, one.kind, one.workload ?? one.address]),
      ),
    );
    return { callers: callers.sort(), notKnown: notKnown.pods.map(({ pod }) => pod) };
  };

  beforeAll(async () => {
    mesh = await startMesh<Name>({
      pods,
      mode: 'PERMISSIVE',
      services: [{ name: 'api', v4: '10.96.0.10', v6: 'fd96::10', pods: ['api'], ports: [7001] }],
    });
    await mesh.pods.api.sh(`ip route replace default via ${pods.node.v4}`);
    // Routes are read once a minute.
    await mesh.agents.api?.stop();
    await mesh.startAgent('api');
    const api = mesh.pods.api.start('test/support/pod-programs/server.ts', ['0.0.0.0', '::']);
    await api.line((line) => line === 'ready');
  }, 120_000);
  afterAll(() => mesh?.close());

  it('break nothing while nobody has called in plaintext', async () => {
    expect(await ask('web')).toEqual({ text: 'hello', ended: 'end' });
    const { status, stdout } = await ofSidecar();
    expect(stdout).toMatch(/^Every port of this pod is PERMISSIVE, and nobody called it in plaintext\nWatching for /);
    expect(status).toBe(0);
    await expect.poll(ofNamespace, patience).toEqual({ callers: [], notKnown: [] });
    expect((await ofControlPlane('strict-preview', '--mesh')).status).toBe(0);
  });

  it('name a pod without a sidecar, and the node whose probe sends something', async () => {
    for (const name of ['legacy', 'node', 'legacy'] as const)
      expect(await ask(name)).toEqual({ text: 'hello', ended: 'end' });
    const shown = async () =>
      (await page()).ports.flatMap(({ port, callers }) =>
        callers.map(({ kind, workload, connections, breaks }) => [port, kind, workload, connections, breaks]),
      );
    await expect
      .poll(async () => (await shown()).sort(), patience)
      .toEqual([
        [7001, 'kubelet', 'node', 1, true],
        [7001, 'workload', 'legacy', 2, true],
      ]);
    const { status, stdout } = await ofSidecar();
    expect(stdout).toContain('Switching port 7001 of this pod to STRICT now would break:\n');
    expect(stdout).toMatch(/^ {2}shop\/legacy, 2 connections, last /m);
    expect(stdout).toMatch(/^ {2}the kubelet, or something else on the node \(10\.77\.0\.14\), 1 connection, last /m);
    expect(status).toBe(1);
    expect(await mesh.metrics('api')).toContain('\nremora_strict_preview_plaintext_connections_total{port="7001"} 3\n');
  });

  it('name them at the control plane, once the sidecar has reported them', async () => {
    await expect.poll(ofNamespace, patience).toEqual({
      callers: [
        ['api', 7001, 'kubelet', 'node'],
        ['api', 7001, 'workload', 'legacy'],
      ],
      notKnown: [],
    });
    const { status, stdout } = await ofControlPlane('strict-preview', '--namespace', 'shop');
    expect(stdout).toMatch(/^Switching port 7001 of shop\/api to STRICT now would break:\n/);
    expect(status).toBe(1);
  });

  it('say whom a policy would refuse that is not applied yet', async () => {
    const file = join(mesh.folder, 'next.yaml');
    const principals = ['cluster.local/ns/shop/sa/web'];
    const policy = {
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'not-web', namespace: 'shop' },
      spec: { action: 'DENY', rules: [{ from: [{ source: { principals } }] }] },
    };
    await writeFile(file, JSON.stringify(policy));
    const refused = async () => {
      const { stdout } = await ofControlPlane('policy', 'preview', file, '--json');
      return parse(policyPreview, JSON.parse(stdout)).refused.map(({ principal, port, policy: by }) => [
        principal,
        port,
        by,
      ]);
    };
    await expect.poll(refused, patience).toEqual([['spiffe://cluster.local/ns/shop/sa/web', 7001, 'shop/not-web']]);
    expect((await ofControlPlane('policy', 'preview', file)).status).toBe(1);
    // Nothing of it was applied.
    expect(await ask('web')).toEqual({ text: 'hello', ended: 'end' });
  });

  it('say after the switch that it is made', async () => {
    const file = join(mesh.folder, 'registry', 'mesh.yaml');
    const text = await readFile(file, 'utf8');
    // Not below the registry, which would read it.
    await writeFile(join(mesh.folder, 'draft.yaml'), text.replace('"mode":"PERMISSIVE"', '"mode":"STRICT"'));
    await rename(join(mesh.folder, 'draft.yaml'), file);
    await expect.poll(async () => (await ofSidecar()).status, patience).toBe(0);
    expect((await ofSidecar()).stdout).toMatch(/^Port 7001 of this pod is STRICT already\n/);
    const { status, stdout } = await ofControlPlane('strict-preview', '--mesh');
    expect(stdout).toMatch(/^2 workloads; 2 STRICT already\n/);
    expect(status).toBe(0);
    expect(await ask('legacy')).toMatchObject({ text: '' });
    expect(await ask('web')).toEqual({ text: 'hello', ended: 'end' });
  });

  it('do not name a pod with a sidecar, which came in plaintext because the port is DISABLE', async () => {
    const file = join(mesh.folder, 'registry', 'mesh.yaml');
    const text = await readFile(file, 'utf8');
    await writeFile(join(mesh.folder, 'draft.yaml'), text.replace('"mode":"STRICT"', '"mode":"DISABLE"'));
    await rename(join(mesh.folder, 'draft.yaml'), file);
    const web = async () => {
      expect(await ask('web')).toEqual({ text: 'hello', ended: 'end' });
      const callers = (await page()).ports.flatMap((port) => port.callers);
      return callers.filter(({ workload }) => workload === 'web').map(({ breaks, why }) => [breaks, why]);
    };
    const why = 'It has a sidecar, and came in plaintext because the port was DISABLE';
    await expect.poll(web, patience).toEqual([[false, why]]);
  });
});
