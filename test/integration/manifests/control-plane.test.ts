import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import type { Interface } from 'node:readline';
import { createInterface } from 'node:readline';
import { exportJWK, SignJWT } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CertificateReply } from '../../../src/control-api.ts';
import { paths, tokenAudience } from '../../../src/control-api.ts';
import { authorityFiles, lastingFiles } from '../../../src/control-plane/authority-files.ts';
import { createCsr, createKey } from '../../../src/identity/csr.ts';
import { call } from '../../support/control-plane-client.ts';
import { spiffeId } from '../../support/identities.ts';
import type { KubernetesObject } from '../../support/manifests.ts';
import { objectOf, renderedObjects } from '../../support/manifests.ts';

/*
 * Runs the container of the Deployment on this machine: the real program with exactly its arguments, beside volumes as a
 * kubelet makes them. Only paths and ports are this machine's.
 */

const root = resolve(import.meta.dirname, '../../..');
const node = join(root, 'node_modules/.bin/node');
const objects = renderedObjects('install');
const [container] = objectOf(objects, 'Deployment').spec.template.spec.containers;
const { data: cluster } = objectOf(objects, 'ConfigMap', 'remora-cluster');
const { metadata: service } = objectOf(objects, 'Service');
const servername = `${service.name}.${service.namespace}.svc`;
const clusterKey = generateKeyPairSync('rsa', { modulusLength: 2048 });

let folder: string;
let child: ChildProcess;
let lines: Interface;
const ports = { api: 0, metrics: 0, webhook: 0 };
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'remora-manifests-'));
  await run('authority', join(folder, 'made'));
  const made = lastingFiles.map((file) => authorityFiles[file]);
  const secret = made.map((name) => [name, readFileSync(join(folder, 'made', name), 'utf8')]);
  mountVolume('authority', Object.fromEntries(secret), 0o440);
  const jwk = { ...(await exportJWK(clusterKey.publicKey)), kid: 'cluster', use: 'sig', alg: 'RS256' };
  mountVolume('token-keys', { 'jwks.json': JSON.stringify({ keys: [jwk] }) });
  mountVolume('injection', objectOf(objects, 'ConfigMap', 'remora-injection').data);
  mountVolume('registry', {});
  mkdirSync(join(folder, 'run'));
  for (const name of ['api', 'metrics', 'webhook'] as const) ports[name] = await freePort();
  const here = { api: 'listen', metrics: 'metrics-listen', webhook: 'webhook-listen' } as const;
  child = start(
    ...container.args.map(onThisMachine),
    ...(['api', 'metrics', 'webhook'] as const).map((name) => `--${here[name]}=127.0.0.1:${ports[name]}`),
  );
  lines = createInterface({ input: child.stdout! });
  await line('Control plane ready');
});
afterAll(() => {
  child?.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});

function start(...args: readonly string[]): ChildProcess {
  return spawn(node, [join(root, 'src/main.ts'), ...args], {
    env: { PATH: process.env.PATH },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

async function run(...args: readonly string[]): Promise<void> {
  const program = start(...args);
  program.stdout?.resume();
  expect((await once(program, 'close'))[0]).toBe(0);
}

/** What the kubelet does with the arguments, and the paths of the container. */
function onThisMachine(argument: string): string {
  return argument
    .replaceAll(/\$\((\w+)\)/g, (_, name: string) => cluster[name])
    .replace(/\/etc\/remora\/|\/run\/remora\//, (path) => (path.startsWith('/run') ? `${folder}/run/` : `${folder}/`));
}

/** As a kubelet lays a volume out: files are links into a folder that is replaced as a whole; mode 1777, as its file system has it. */
function mountVolume(name: string, files: Readonly<Record<string, string>>, mode = 0o644): void {
  const volume = join(folder, name);
  mkdirSync(volume, { recursive: true });
  chmodSync(volume, 0o1777);
  const version = mkdtempSync(join(volume, '..2026_11_22-'));
  chmodSync(version, 0o755);
  for (const [file, text] of Object.entries(files)) writeFileSync(join(version, file), text, { mode });
  symlinkSync(basename(version), join(volume, '..data_tmp'));
  renameSync(join(volume, '..data_tmp'), join(volume, '..data'));
  for (const file of Object.keys(files)) symlinkSync(join('..data', file), join(volume, file));
}

/** Resolves when the program says `text`; what it said before does not count. */
function line(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    lines.on('line', (one) => one.includes(text) && resolve());
    lines.once('close', () => reject(new Error(`The program ended before it said ${text}`)));
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** As a kubelet asks: certificates are not checked. */
async function probe({ httpGet: { path, port, scheme } }: KubernetesObject): Promise<number | undefined> {
  const options = { host: '127.0.0.1', port: ports[port as keyof typeof ports], path, agent: false };
  const request = scheme === 'HTTPS' ? httpsRequest({ ...options, rejectUnauthorized: false }) : httpRequest(options);
  const [response] = await once(request.end(), 'response');
  response.resume();
  return response.statusCode;
}

function server(port: number) {
  const rootPem = readFileSync(join(folder, 'made', authorityFiles.root), 'utf8');
  return { apiAddress: { ip: '127.0.0.1', port }, rootPem, servername };
}

/** As the cluster's API server signs it for a projected volume. */
function clusterToken(namespace: string, serviceAccount: string, pod: string): Promise<string> {
  return new SignJWT({
    'kubernetes.io': {
      namespace,
      node: { name: 'kind-worker', uid: 'uid-of-the-node' },
      pod: { name: pod, uid: 'uid-of-the-pod' },
      serviceaccount: { name: serviceAccount, uid: 'uid-of-the-account' },
    },
  })
    .setProtectedHeader({ alg: 'RS256', kid: 'cluster' })
    .setIssuer(cluster.TOKEN_ISSUER)
    .setAudience(tokenAudience)
    .setSubject(`system:serviceaccount:${namespace}:${serviceAccount}`)
    .setIssuedAt()
    .setNotBefore('0s')
    .setExpirationTime('1h')
    .sign(clusterKey.privateKey);
}

describe('The control plane of the Deployment', () => {
  it('answers its probes', async () => {
    expect(await probe(container.readinessProbe)).toBe(200);
    expect(await probe(container.livenessProbe)).toBe(200);
  });

  it('gives a certificate for a token of the cluster, under the name that sidecars dial', async () => {
    const id = spiffeId('spiffe://cluster.local/ns/remora-demo/sa/web');
    const token = await clusterToken('remora-demo', 'web', 'web-7d4b9c6f5d-h2k8z');
    const body = { csr: createCsr(createKey(), id) };
    const reply = await call(server(ports.api), paths.certificates, { token, body });
    expect([reply.status, reply.text]).toEqual([200, expect.stringContaining('certificateChain')]);
    expect(new X509Certificate((reply.json as CertificateReply).certificateChain).subjectAltName).toBe(`URI:${id.uri}`);
  });

  it.each(['api', 'web'])('injects the pod %s of the demo, asked as an API server asks', async (name) => {
    const { metadata, spec } = objectOf(renderedObjects('demo-kubernetes'), 'Deployment', name);
    const { clientConfig } = objectOf(objects, 'MutatingWebhookConfiguration').webhooks[0];
    const review = {
      apiVersion: 'admission.k8s.io/v1',
      kind: 'AdmissionReview',
      request: {
        uid: 'a-request',
        operation: 'CREATE',
        kind: { group: '', version: 'v1', kind: 'Pod' },
        resource: { group: '', version: 'v1', resource: 'pods' },
        namespace: metadata.namespace,
        object: { apiVersion: 'v1', kind: 'Pod', ...spec.template },
      },
    };
    const reply = await call(server(ports.webhook), `${clientConfig.service.path}?timeout=10s`, { body: review });
    const { response } = reply.json as KubernetesObject;
    expect(response).toMatchObject({ uid: 'a-request', allowed: true, patchType: 'JSONPatch' });
    expect(response).not.toHaveProperty('warnings');
    const patch = Buffer.from(response.patch, 'base64').toString();
    expect(patch).toContain(`"--control-plane=https://${servername}:15012"`);
  });

  it('knows the cluster as soon as its snapshot is there, and answers for it', async () => {
    const snapshot = join(root, 'test/golden/registry/kubectl-get.yaml');
    const token = await clusterToken('remora-demo', 'web', 'web-7d4b9c6f5d-h2k8z');
    const ask = () => call(server(ports.api), paths.destinations, { token, body: { addresses: ['10.96.120.7:80'] } });
    expect((await ask()).json).toMatchObject({ destinations: [{ known: false }] });
    const read = line('"Registry read"');
    mountVolume('registry', { 'cluster.yaml': readFileSync(snapshot, 'utf8') });
    await read;
    expect((await ask()).json).toMatchObject({ destinations: [{ known: true, service: 'api.remora-demo' }] });
  });
});
