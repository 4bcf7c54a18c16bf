import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run as strictPreview } from '../../../src/cli/strict-preview/command.ts';
import type { Report, ReportedCaller } from '../../../src/control-api.ts';
import { paths } from '../../../src/control-api.ts';
import type { ControlPlane } from '../../../src/control-plane/control-plane.ts';
import { controlPlaneDefaults, startControlPlane } from '../../../src/control-plane/control-plane.ts';
import type { PolicyPreview, StrictPreview } from '../../../src/control-plane/preview/api.ts';
import { run as policy } from '../../../src/control-plane/preview/policy-command.ts';
import type { Host, Subcommand } from '../../../src/host.ts';
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

const ask = (command: Subcommand, ...args: string[]) => askWith('', command, ...args);
async function askWith(
  input: string,
  command: Subcommand,
  ...args: string[]
): Promise<{ text: string; exitCode: number }> {
  let text = '';
  const stdout = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString();
      done();
    },
  });
  const stdin = Readable.from([Buffer.from(input)]);
  const host = { args: [...args, '--state-dir', folder], stdin, stdout, stderr: stdout, env: {} } as unknown as Host;
  return { exitCode: await command(host), text };
}
const strict = (...args: string[]) => ask(strictPreview, ...args);
const json = async (...args: string[]) => JSON.parse((await strict(...args, '--json')).text) as StrictPreview;

describe('remora strict-preview of a namespace or the mesh', () => {
  it('names who would lose, added up over the pods of a workload', async () => {
    await (await sidecar('ns', 'api-0'))(callers([batch()]));
    await (await sidecar('ns', 'api-1'))(callers([batch({ lastAt: ago(600_000) })], { since: ago(3_600_000) }));
    const { text, exitCode } = await strict('--namespace', 'ns');
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
    const { text, exitCode } = await strict('--mesh');
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
    await (await sidecar('stock', 'db-0'))(
      callers([batch({ principal: 'spiffe://cluster.local/ns/ns/sa/web' }), batch({ isRefused: true })]),
    );
    expect(await strict('--namespace', 'stock')).toMatchObject({ exitCode: 0 });
  });

  it('takes a report for one of now only while it is not too old', async () => {
    await (await sidecar('stock', 'db-0'))(callers([]));
    await clock.advance(361_000);
    const { text, exitCode } = await strict('--namespace', 'stock');
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
    const everywhere =
      'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: all, namespace: stock}\nspec: {mtls: {mode: STRICT}}\n';
    await applied('policy', everywhere);
    expect(await strict('--namespace', 'stock')).toMatchObject({
      text: expect.stringMatching(/^1 workload; 1 STRICT already\n/),
      exitCode: 0,
    });
    await applied('policy', everywhere.replace('STRICT', 'STRIKT'));
    expect((await strict('--namespace', 'stock')).text).toContain(
      '\nstock/db-0 is STRICT because the PeerAuthentication stock/all is INVALID: spec.mtls.mode is "STRIKT"',
    );
  });

  it('knows the floor of a pod, its probes, and how many callers had no place', async () => {
    const report = await sidecar('stock', 'db-0');
    await report(callers([batch()], { minimumMode: 'STRICT' }));
    expect(await strict('--namespace', 'stock')).toMatchObject({ exitCode: 0 });
    const probe = { kind: 'kubelet', onlyConnects: true, workload: undefined, namespace: undefined } as const;
    await report(callers([batch(probe)]));
    expect(await strict('--namespace', 'stock')).toMatchObject({ exitCode: 0 });
    const further = [
      { port: 8080, isPlaintext: true, callers: 7, lastAt: ago(1000) },
      { port: 8080, isPlaintext: false, callers: 900, lastAt: ago(1000) },
    ];
    await report(callers([batch({ ...probe, onlyConnects: undefined })], { further }));
    const { text, exitCode } = await strict('--namespace', 'stock');
    expect(text).toContain('  the kubelet, or something else on the node (10.0.0.9), 206 connections, last 3m ago\n');
    expect(text).toContain('  and at most 7 more callers that were not remembered, last 1s ago\n');
    expect(exitCode).toBe(1);
  });

  it('says when there is no such namespace, and what options do not go together', async () => {
    await expect(strict('--namespace', 'legacy')).rejects.toThrow(
      /^This control plane knows no sidecar in the namespace legacy/,
    );
    await expect(strict('--namespace', 'ns', '--mesh')).rejects.toThrow('Expected one of --namespace and --mesh');
    await expect(strict('--mesh', '--watch')).rejects.toThrow(/--watch and --admin/);
    await expect(strict()).rejects.toThrow(/Expected --namespace or --mesh/);
  });
});

describe('remora policy preview', () => {
  const web = 'spiffe://cluster.local/ns/shop/sa/web';
  const batchId = 'spiffe://cluster.local/ns/legacy/sa/batch';
  const object = (kind: string, name: string, spec: string) =>
    `apiVersion: security.istio.io/v1\nkind: ${kind}\nmetadata: {name: ${name}, namespace: stock}\nspec: ${spec}\n---\n`;
  const allow = (...principals: string[]) =>
    `{selector: {matchLabels: {app: db}}, action: ALLOW, rules: [{from: [{source: {principals: [${principals.map((one) => one.slice('spiffe://'.length)).join(', ')}]}}]}]}`;
  const mutualTls = (principal: string, more: Partial<ReportedCaller> = {}) =>
    batch({ principal, address: '10.0.0.4', workload: 'web', namespace: 'shop', ...more });

  async function preview(yaml: string, ...args: string[]) {
    const file = join(folder, 'next.yaml');
    writeFileSync(file, yaml);
    return ask(policy, 'preview', file, ...args);
  }
  const previewed = async (yaml: string) => JSON.parse((await preview(yaml, '--json')).text) as PolicyPreview;
  const whom = (list: PolicyPreview['refused']) =>
    list.map(({ principal, address, policy: by }) => [principal ?? address, by]);

  it('says who would be refused, by which policy, on which workload and port', async () => {
    await (await sidecar('stock', 'db-0'))(
      callers([mutualTls(web), mutualTls(batchId, { address: '10.0.0.5' }), batch()]),
    );
    const yaml = object('AuthorizationPolicy', 'only-web', allow(web));
    const { text, exitCode } = await preview(yaml);
    expect(text.split('\n')).toEqual([
      'New: AuthorizationPolicy stock/only-web',
      '',
      'Would be refused:',
      `  ${batchId} at port 8080 of stock/db-0, by stock/only-web: 206 connections, last 3m ago`,
      `    AuthorizationPolicies allow some, and none of them ${batchId}`,
      '  legacy/old-batch at port 8080 of stock/db-0, by stock/only-web: 206 connections, last 3m ago',
      '    AuthorizationPolicies allow some, and none of them a peer without identity',
      '',
      '3 callers of 1 pod whose policy would be another one: 2 callers would be refused, 0 newly permitted',
      '',
    ]);
    expect(exitCode).toBe(1);
    const { refused, permitted, notKnown } = await previewed(yaml);
    expect(whom(refused)).toEqual([
      [batchId, 'stock/only-web'],
      ['10.0.0.9', 'stock/only-web'],
    ]);
    expect(refused[0]).toMatchObject({
      namespace: 'stock',
      workload: 'db-0',
      port: 8080,
      connections: 206,
      refusals: 0,
    });
    expect({ permitted, notKnown }).toEqual({ permitted: [], notKnown: { pods: [], more: 0 } });
  });

  it('knows who comes with an identity as soon as the port is not DISABLE', async () => {
    await (await sidecar('stock', 'db-0'))(callers([batch({ meshedId: web })]));
    const mode = (is: string) => object('PeerAuthentication', 'strict', `{mtls: {mode: ${is}}}`);
    expect((await previewed(mode('STRICT'))).refused).toEqual([]);
    expect(await strict('--namespace', 'stock')).toMatchObject({ exitCode: 0 });
    const both = mode('DISABLE') + object('AuthorizationPolicy', 'only-web', allow(web));
    expect(whom((await previewed(both)).refused)).toEqual([['10.0.0.9', 'stock/only-web']]);
    const nobody = mode('STRICT') + object('AuthorizationPolicy', 'nobody', '{}');
    expect(whom((await previewed(nobody)).refused)).toEqual([['10.0.0.9', 'stock/nobody']]);
  });

  it('tells the addresses of one caller in one line', async () => {
    await (await sidecar('stock', 'db-0'))(
      callers([batch({ address: 'fd00::9', connections: 4, lastAt: ago(60_000) }), batch()]),
    );
    const { text } = await preview(object('AuthorizationPolicy', 'only-web', allow(web)));
    expect(text).toContain(
      '  legacy/old-batch (2 addresses) at port 8080 of stock/db-0, by stock/only-web: 210 connections, last 1m ago\n',
    );
    expect(text.match(/at port 8080/g)).toHaveLength(1);
  });

  it('puts an object in the place of the applied one of its name, and says who would be let in', async () => {
    await (await sidecar('stock', 'db-0'))(
      callers([mutualTls(web), mutualTls(batchId, { address: '10.0.0.5', isRefused: true })]),
    );
    await applied('policy', object('AuthorizationPolicy', 'only-web', allow(web)));
    const next = object('AuthorizationPolicy', 'only-web', allow(batchId));
    const both = await previewed(next);
    expect(both).toMatchObject({ added: [], replaced: ['AuthorizationPolicy stock/only-web'] });
    expect(whom(both.refused)).toEqual([[web, 'stock/only-web']]);
    expect(whom(both.permitted)).toEqual([[batchId, 'stock/only-web']]);
    expect(both.permitted[0]).toMatchObject({ connections: 0, refusals: 206, why: expect.stringContaining(batchId) });
    expect((await preview(next)).text).toContain('Would be permitted, and is refused now:\n');
    const wider = await preview(object('AuthorizationPolicy', 'only-web', allow(web, batchId)));
    expect(wider).toMatchObject({ exitCode: 0, text: expect.stringContaining('206 refusals, last 3m10s ago') });
    // As it is already.
    expect(await previewed(object('AuthorizationPolicy', 'only-web', allow(web)))).toMatchObject({
      refused: [],
      permitted: [],
    });
  });

  it('knows modes too, and passes over what only connects', async () => {
    await (await sidecar('stock', 'db-0'))(
      callers([mutualTls(web), batch(), batch({ address: '10.0.0.254', kind: 'kubelet', onlyConnects: true })]),
    );
    const { refused } = await previewed(object('PeerAuthentication', 'strict', '{mtls: {mode: STRICT}}'));
    expect(whom(refused)).toEqual([['10.0.0.9', 'stock/strict']]);
    expect(refused[0]?.why).toContain('STRICT');
  });

  it('asks nothing of pods whose policy stays the same, and names the others of which too little is known', async () => {
    await (await sidecar('ns', 'api-0'))(callers([batch()]));
    const yaml = object('AuthorizationPolicy', 'nobody', '{selector: {matchLabels: {app: db}}}');
    const { text, exitCode } = await preview(yaml);
    expect(text).toContain('0 callers of 0 pods whose policy would be another one');
    expect(text).toContain('Not known: stock/db-0: its sidecar has no certificate and no stream here\n');
    expect(text).not.toContain('api');
    expect(exitCode).toBe(1);
    const further = [{ port: 8080, isPlaintext: false, callers: 3, lastAt: ago(1000) }];
    await (await sidecar('stock', 'db-0'))(callers([], { further }));
    expect(await preview(yaml)).toMatchObject({
      text: expect.stringContaining(
        'Not known: at most 3 more callers of stock/db-0 that were not remembered, last 1s ago\n',
      ),
      exitCode: 1,
    });
  });

  it('tells the problems of the file first; one that cannot be enforced refuses everybody', async () => {
    await (await sidecar('stock', 'db-0'))(callers([mutualTls(web)]));
    const custom = await preview(object('AuthorizationPolicy', 'custom', '{action: CUSTOM, provider: {name: x}}'));
    expect(custom.text).toMatch(/^\S+next\.yaml:\d+:\d+: AuthorizationPolicy stock\/custom: /);
    expect(custom.text).toMatch(/sa\/web at port 8080 of stock\/db-0, by stock\/custom: /);
    expect(custom.exitCode).toBe(1);
  });

  it.each([
    ['what is no YAML', 'a: [', /cannot be previewed/],
    ['what stands there twice', 'twice', /cannot be previewed/],
    ['no policy', 'apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n', /holds neither an AuthorizationPolicy/],
  ])('refuses %s', async (_name, yaml, why) => {
    const twice = object('AuthorizationPolicy', 'nobody', '{}').repeat(2);
    await expect(preview(yaml === 'twice' ? twice : yaml)).rejects.toThrow(why);
  });

  it('says when a mode would not be in force, because an older one counts', async () => {
    await (await sidecar('stock', 'db-0'))(callers([batch()]));
    const mode = (name: string, is: string) => object('PeerAuthentication', name, `{mtls: {mode: ${is}}}`);
    const dated = 'metadata: {creationTimestamp: "2024-01-01T00:00:00Z", ';
    await applied('policy', mode('default', 'PERMISSIVE').replace('metadata: {', dated));
    const loses = await preview(mode('a-strict', 'STRICT'));
    expect(loses.text).toContain('\nstock/a-strict would not be in force: stock/default is older\n');
    expect(loses.exitCode).toBe(0);
    expect(await previewed(mode('a-strict', 'STRICT'))).toMatchObject({
      notInForce: [{ name: 'stock/a-strict', why: 'stock/default is older' }],
      refused: [],
    });
    const replacing = await previewed(mode('default', 'STRICT'));
    expect(replacing.notInForce).toEqual([]);
    expect(whom(replacing.refused)).toEqual([['10.0.0.9', 'stock/default']]);
  });

  it('takes standard input too', async () => {
    await (await sidecar('stock', 'db-0'))(callers([batch()]));
    const yaml = object('PeerAuthentication', 'strict', '{mtls: {mode: STRICT}}');
    expect(await askWith(yaml, policy, 'preview', '-')).toEqual(await preview(yaml));
    await expect(askWith('a: [', policy, 'preview', '-')).rejects.toThrow(/^Standard input cannot be previewed/);
    const tooLong = '#'.repeat(1024 * 1024 + 1);
    await expect(askWith(tooLong, policy, 'preview', '-')).rejects.toThrow(
      /^Standard input is more than 1048576 bytes/,
    );
  });

  it('refuses a file that is not there, a directory, and another word', async () => {
    await expect(ask(policy, 'preview', join(folder, 'none.yaml'))).rejects.toThrow(/none\.yaml cannot be previewed/);
    await expect(ask(policy, 'preview', join(folder, 'registry'))).rejects.toThrow(/registry is a directory, expected/);
    await expect(ask(policy, 'apply', 'x')).rejects.toThrow("policy has no command 'apply', expected preview");
  });
});
