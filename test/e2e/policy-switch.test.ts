import { rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deniedReasons } from '../../src/outcomes.ts';
import type { Mesh } from '../support/mesh.ts';
import { startMesh } from '../support/mesh.ts';
import type { RunningProgram } from '../support/pods.ts';
import { noPodsBecause } from '../support/pods.ts';

/*
 * Goal: an AuthorizationPolicy that is written as YAML into the registry of a running mesh denies one identity from then on:
 * its open connection is cut, new ones are refused, and the long transfer of another identity goes on byte by byte; removed, it
 * is as before. Method: `web` and `batch` call `api`, all with sidecars; logs of both sides, the pages and `remora explain` are compared.
 */
const pods = {
  web: { v4: '10.77.0.11', v6: 'fd77::11', isMeshed: true },
  api: { v4: '10.77.0.12', v6: 'fd77::12', isMeshed: true },
  batch: { v4: '10.77.0.13', v6: 'fd77::13', isMeshed: true },
} as const;
type Name = keyof typeof pods;
const idOf = (name: Name) => `spiffe://cluster.local/ns/shop/sa/${name}`;
const transferBytes = 32 * 1024 * 1024;
const patience = { timeout: 30_000, interval: 200 };

const policy = (spec: string, annotations = '') => `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-web, namespace: shop, annotations: {${annotations}}}
spec: ${spec}
`;
const noWeb = '{action: DENY, rules: [{from: [{source: {principals: ["cluster.local/ns/shop/sa/web"]}}]}]}';

describe.skipIf(noPodsBecause !== undefined)(`an AuthorizationPolicy of a running mesh ${noPodsBecause ?? ''}`, () => {
  let mesh: Mesh<Name>;
  let held: RunningProgram;
  let transfer: RunningProgram;

  const start = (from: Name, manner: string, port: number, ...more: string[]) =>
    mesh.pods[from].start('test/support/pod-programs/client.ts', [manner, pods.api.v4, String(port), ...more]);
  const ask = async (from: Name) => JSON.parse(await start(from, 'ask', 7001).line((line) => line.startsWith('{')));
  const echoes = async (program: RunningProgram, word: string) => {
    program.process.stdin?.write(`${word}\n`);
    return JSON.parse(await program.line((line) => line.includes(word)));
  };
  const logged = async (name: Name, ...parts: string[]): Promise<Record<string, unknown>> =>
    JSON.parse(await mesh.agents[name]!.line((line) => parts.every((part) => line.includes(part))));
  const explain = (name: Name, ...args: string[]) => mesh.pods[name].remora(['explain', ...args], { uid: 1337 });

  /** Writes the policy, or removes it, and waits until the sidecar of `api` has as many in force, of each kind. */
  const apply = async (text: string | undefined, shown: Readonly<Record<string, number>>) => {
    const file = join(mesh.folder, 'registry', 'policy.yaml');
    const draft = join(mesh.folder, 'draft.yaml');
    if (text === undefined) await rm(file);
    else {
      await writeFile(draft, text);
      await rename(draft, file);
    }
    for (const [state, count] of Object.entries(shown))
      await expect
        .poll(() => mesh.metrics('api'), { ...patience, message: `${count} ${state}` })
        .toContain(`remora_policy_objects{state="${state}"} ${count}`);
  };

  beforeAll(async () => {
    mesh = await startMesh<Name>({
      pods,
      services: [{ name: 'api', v4: '10.96.0.10', v6: 'fd96::10', pods: ['api'], ports: [7001, 7003] }],
    });
    const api = mesh.pods.api.start('test/support/pod-programs/server.ts', ['0.0.0.0', '::']);
    await api.line((line) => line === 'ready');
    held = start('web', 'long', 7001);
    await held.line((line) => line.includes('"connected"'));
    transfer = start('batch', 'slow', 7003, String(transferBytes));
    await transfer.line((line) => line.includes('"started"'));
  }, 120_000);
  afterAll(() => mesh?.close());

  it('on trial changes nothing, and is told of in the line of a connection', async () => {
    await apply(policy(noWeb, 'istio.io/dry-run: "true"'), { dry_run: 1, enforced: 0 });
    expect(await echoes(held, 'one')).toEqual({ echo: 'one' });
    expect(await ask('web')).toEqual({ text: 'hello', ended: 'end' });
    expect(await logged('api', '"reason":"eof"', idOf('web'), '"dryRun"')).toMatchObject({
      dryRun: { verdict: 'denied', reason: 'policy_deny', policy: 'shop/no-web' },
    });
  });

  it('cuts what is open of the one that it denies, and refuses what is new, with one story in both logs', async () => {
    expect(await echoes(held, 'two')).toEqual({ echo: 'two' });
    await apply(policy(noWeb), { enforced: 1, dry_run: 0 });
    expect(JSON.parse(await held.line((line) => line.includes('"ended"')))).toMatchObject({ ended: 'ECONNRESET' });
    const cut = await logged('api', '"policy_change"');
    expect(cut).toMatchObject({ direction: 'inbound', outcome: 'closed', peerId: idOf('web'), policy: 'shop/no-web' });
    expect(await logged('web', String(cut.id))).toMatchObject({ direction: 'outbound', reason: 'reset' });

    expect(await ask('web')).toMatchObject({ text: '' });
    const refused = await logged('api', '"outcome":"denied"');
    expect(refused).toMatchObject({ reason: 'policy_deny', peerId: idOf('web'), policy: 'shop/no-web' });
    expect(await logged('web', String(refused.id))).toMatchObject({
      reason: 'peer_refused',
      otherReason: 'policy_deny',
    });
    expect(mesh.agents.web?.lines.some((line) => line.includes('no-web'))).toBe(false);
    expect(await ask('batch')).toEqual({ text: 'hello', ended: 'end' });

    const told = await explain('api', String(refused.id));
    expect(told.status).toBe(1);
    expect(told.stdout).toContain(deniedReasons.policy_deny.happened);
    expect(told.stdout).toContain('Policies    shop/no-web decided');
    expect(told.stdout).toContain('1 enforced; shop/no-web decides');
    expect(await explain('api', '--from', idOf('batch'), '--port', '7001')).toMatchObject({ status: 0 });
  });

  it('removed lets all in again, and a transfer that went on all the time is complete', async () => {
    await apply(undefined, { enforced: 0, dry_run: 0, invalid: 0 });
    expect(await ask('web')).toEqual({ text: 'hello', ended: 'end' });
    transfer.process.stdin?.write('go on\n');
    const result = JSON.parse(await transfer.line((line) => line.includes('"isEqual"')));
    expect(result).toEqual({ isEqual: true, bytes: transferBytes });
  }, 60_000);

  it('that cannot be enforced denies everybody, cuts what is open, and says what is wrong', async () => {
    const long = start('batch', 'long', 7001);
    await long.line((line) => line.includes('"connected"'));
    expect(await echoes(long, 'three')).toEqual({ echo: 'three' });
    await apply(policy('{action: CUSTOM, provider: {name: x}, rules: [{}]}'), { invalid: 1 });
    expect(JSON.parse(await long.line((line) => line.includes('"ended"')))).toMatchObject({ ended: 'ECONNRESET' });
    expect(await ask('web')).toMatchObject({ text: '' });
    expect(await logged('api', '"reason":"policy_error"')).toMatchObject({ policy: 'shop/no-web' });
    const status = await mesh.pods.api.remora(['status'], { uid: 1337 });
    expect(status.stdout).toContain('Policies:      1 INVALID');
    const { stdout } = await explain('api', '--from', idOf('batch'), '--port', '7001');
    expect(stdout).toContain('What to do: Correct the AuthorizationPolicy shop/no-web, or delete it: ');
    await apply(undefined, { invalid: 0 });
    expect(await ask('web')).toEqual({ text: 'hello', ended: 'end' });
  }, 60_000);

  it('of a mode that cannot be followed is named at the workload, where it means STRICT', async () => {
    await apply(
      'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: lax, namespace: shop}\nspec: {mtls: {mode: LAX}}\n',
      { invalid: 1 },
    );
    const status = await mesh.pods.api.remora(['status'], { uid: 1337 });
    expect(status.stdout).toContain('STRICT (INVALID, shop/lax; ');
    expect(status.stdout).toContain('INVALID PeerAuthentication shop/lax: spec.mtls.mode is "LAX"');
    const { stdout } = await explain('api', '--from', idOf('batch'), '--port', '7001');
    expect(stdout).toContain('STRICT: the PeerAuthentication shop/lax is INVALID');
    expect(await ask('web')).toEqual({ text: 'hello', ended: 'end' });
    await apply(undefined, { invalid: 0 });
  }, 60_000);
});
