import { once } from 'node:events';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { paths } from '../../../src/control-api.ts';
import { call } from '../../support/control-plane-client.ts';
import type { TestAuthority } from '../../support/identities.ts';
import { createTestAuthority } from '../../support/identities.ts';
import { ending } from '../../support/sockets.ts';
import type { Agent, Program } from './agent-program.ts';
import { freePorts, killPrograms, page, readyAgent, runProgram, startProgram } from './agent-program.ts';
import { newPath, useFolder, writeIdentity, writeText } from './identity-files.ts';

/*
 * Goal: workloads of two trust domains speak with each other, and neither domain can speak for the other. Method: the real
 * control plane of one domain and the real sidecar of its workload `db`; workloads of the other domain are real sidecars
 * with their certificates in files. Each is told of the other by a file, which is replaced while everything runs.
 */

useFolder();

const partner = createTestAuthority('partner.example');
const nextPartner = createTestAuthority('partner.example', { root: { subject: 'next root of the partner' } });
const db = 'spiffe://cluster.local/ns/shop/sa/db';
const web = 'spiffe://partner.example/ns/shop/sa/web';

const closing: (() => void)[] = [];
let bundleFile: string;
let controlPlane: RunningControlPlane;
let server: Agent;
let echoPort: number;
beforeEach(async () => {
  echoPort = await echo();
  bundleFile = writeText('partner.pem', partner.bundlePem);
  controlPlane = await startControlPlane(newPath('state'), [`partner.example=${bundleFile}`]);
  const token = ['token', '--state-dir', controlPlane.stateDir, '--namespace', 'shop', '--service-account', 'db'];
  const { stdout } = await runProgram([...token, '--pod', 'db-0']);
  server = await readyAgent({
    controlPlane: `https://127.0.0.1:${controlPlane.port}`,
    controlPlaneCaFile: controlPlane.caFile,
    tokenFile: writeText('token', stdout),
    deliver: `127.0.0.1:${echoPort}`,
  });
});
afterEach(() => {
  killPrograms();
  for (const close of closing.splice(0)) close();
});

interface RunningControlPlane extends Program {
  readonly port: number;
  readonly stateDir: string;
  readonly caFile: string;
}

async function startControlPlane(
  stateDir: string,
  federated: readonly string[],
  port?: number,
): Promise<RunningControlPlane> {
  const [apiPort = 0, metricsPort = 0] = await freePorts(2);
  const caFile = newPath('root.pem');
  const listen = ['--listen', `127.0.0.1:${port ?? apiPort}`, '--metrics-listen', `127.0.0.1:${metricsPort}`];
  const bundles = federated.flatMap((one) => ['--trust-bundle', one]);
  const program = startProgram([
    'control-plane',
    ...['--state-dir', stateDir, '--write-root', caFile, ...listen, ...bundles],
  ]);
  await program.line({ msg: 'Control plane ready' });
  return { ...program, port: port ?? apiPort, stateDir, caFile };
}

async function echo(): Promise<number> {
  const application = createServer((socket) => void socket.on('error', () => undefined).pipe(socket));
  await once(application.listen(0, '127.0.0.1'), 'listening');
  closing.push(() => application.close());
  return (application.address() as AddressInfo).port;
}

/** What a sidecar of our own trust domain publishes as, read from the control plane as a partner reads it. */
async function ourDocument(): Promise<string> {
  const rootPem = readFileSync(controlPlane.caFile, 'utf8');
  const { text } = await call({ apiAddress: { ip: '127.0.0.1', port: controlPlane.port }, rootPem }, paths.bundle);
  return writeText('bundle.json', text);
}

interface Client extends Agent {
  dial(): Promise<Socket>;
}

/** A workload with certificates in files, whose connections go to `db`. */
async function client(settings: Readonly<Record<string, string>>): Promise<Client> {
  const [listen = 0] = await freePorts(1);
  const target = { listen: `127.0.0.1:${listen}`, target: `127.0.0.1:${echoPort}`, peer: db };
  const agent = await readyAgent({ ...settings, ...target, via: `127.0.0.1:${server.ports.hbone}` });
  const dial = async () => {
    const socket = connect(listen, '127.0.0.1').on('error', () => undefined);
    closing.push(() => socket.destroy());
    await once(socket, 'connect');
    return socket;
  };
  return { ...agent, dial };
}

const partnerClient = async (by: TestAuthority) =>
  client({
    ...writeIdentity('web', { by }),
    trustDomain: 'partner.example',
    federatedBundles: `cluster.local=${await ourDocument()}`,
  });

async function exchange(socket: Socket, text: string): Promise<void> {
  const answered = once(socket, 'data');
  socket.write(text);
  expect(String((await answered)[0])).toBe(text);
}

/** One rename, and the moment from which on the sidecar of `db` trusts so many roots of the partner. */
async function trusted(text: string, roots: number): Promise<void> {
  writeFileSync(`${bundleFile}.new`, text);
  renameSync(`${bundleFile}.new`, bundleFile);
  await rootsAre(roots);
}

async function rootsAre(roots: number): Promise<void> {
  const sample = 'remora_trust_bundle_roots{trust_domain="partner.example"}';
  const text = async () => (await page(server.ports.metrics, '/metrics')).text;
  if (roots > 0) await expect.poll(text, { timeout: 30_000 }).toContain(`${sample} ${roots}\n`);
  else await expect.poll(text, { timeout: 30_000 }).not.toContain(sample);
}

const refusedAs = (reason: string) => server.line({ direction: 'inbound', outcome: 'handshake', reason });

it('C27: a workload of a federated trust domain is accepted, in both directions of trust, under its own name', async () => {
  const socket = await (await partnerClient(partner)).dial();
  await exchange(socket, 'hello');
  socket.end();
  expect(await server.line({ direction: 'inbound' })).toMatchObject({ outcome: 'closed', peerId: web });
});

it.each([
  ["with our own trust domain's name is refused, whatever the partner's root signs", 'cluster.local', partner],
  ['of the partner is refused when another root has signed it', 'partner.example', createTestAuthority('x')],
])('C27: a workload %s', async (_, trustDomain, signer) => {
  const by = {
    ...signer,
    issue: (spec: { id: string }) => signer.issue({ ...spec, id: `spiffe://${trustDomain}/${spec.id}` }),
  };
  const files = writeIdentity('web', { by });
  const ours = await ourDocument();
  // To get as far as db it trusts db's root; if it did not, it would end the handshake itself.
  const own = trustDomain === 'cluster.local' ? readFileSync(controlPlane.caFile, 'utf8') : '';
  writeFileSync(files.bundleFile, `${signer.bundlePem}${own}`);
  const federated = own === '' ? { federatedBundles: `cluster.local=${ours}` } : {};
  const impostor = await client({ ...files, trustDomain, ...federated });
  expect(await ending(await impostor.dial())).toBe('reset');
  const line = await refusedAs('untrusted');
  // Not even for a moment was it somebody: the handshake itself was refused.
  expect(line).not.toHaveProperty('peerId');
  expect(line).not.toHaveProperty('bytesSent');
});

it('B7: a root that is added disturbs nothing, and one that is removed takes with it what it vouched for, at once and alone', async () => {
  const old = await partnerClient(partner);
  const before = await old.dial();
  await exchange(before, 'under the old root');
  await trusted(`${partner.bundlePem}${nextPartner.bundlePem}`, 2);
  const renewed = await partnerClient(nextPartner);
  const after = await renewed.dial();
  await exchange(after, 'under the new root');
  await exchange(before, 'still here');

  const cut = ending(before);
  await trusted(nextPartner.bundlePem, 1);
  expect(await cut).toBe('reset');
  expect(await server.line({ direction: 'inbound', reason: 'bundle_change' })).toMatchObject({ peerId: web });
  expect(await ending(await old.dial())).toBe('reset');
  await refusedAs('untrusted');
  await exchange(after, 'still here');
  await exchange(await renewed.dial(), 'and new ones');
});

it('P14: a trust domain whose document has no root is trusted no more, nor is one that the control plane no longer names', async () => {
  const partnerWeb = await partnerClient(partner);
  await exchange(await partnerWeb.dial(), 'hello');
  await trusted('{"keys":[]}', 0);
  expect(await ending(await partnerWeb.dial())).toBe('reset');
  await refusedAs('trust_domain');
  await trusted(partner.bundlePem, 1);
  await exchange(await partnerWeb.dial(), 'again');
  await controlPlane.stop();
  // While it is away, what it said last holds.
  await exchange(await partnerWeb.dial(), 'without a control plane');
  await startControlPlane(controlPlane.stateDir, [], controlPlane.port);
  await rootsAre(0);
});

it('B2: a bad file keeps the roots in use, and does not let the control plane start', async () => {
  writeFileSync(bundleFile, 'no roots');
  await controlPlane.line({ msg: 'A trust bundle cannot be used, the last good one stays' });
  await exchange(await (await partnerClient(partner)).dial(), 'hello');
  const [port = 0] = await freePorts(1);
  const flags = ['--in-memory', '--listen', `127.0.0.1:${port}`, '--trust-bundle', `partner.example=${bundleFile}`];
  const ended = await runProgram(['control-plane', ...flags, '--trust-bundle', `cluster.local=${bundleFile}`]);
  expect(ended).toMatchObject({ code: 78, stdout: '' });
  expect(ended.stderr).toContain('--trust-bundle names cluster.local, which is this trust domain itself');
  const bad = await runProgram(['control-plane', ...flags]);
  expect(bad).toMatchObject({ code: 78 });
  expect(bad.stderr).toContain(`${bundleFile}: The trust bundle of partner.example holds no certificate`);
});
