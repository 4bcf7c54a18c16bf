import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { exportJWK, SignJWT } from 'jose';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CertificateReply } from '../../../src/control-api.ts';
import { paths } from '../../../src/control-api.ts';
import { createCsr, createKey } from '../../../src/identity/csr.ts';
import type { AdmissionReply } from '../../../src/injector/admission.ts';
import { patchedBy, recordedReview } from '../../support/admission.ts';
import { call, openStream } from '../../support/control-plane-client.ts';
import { spiffeId } from '../../support/identities.ts';
import { meshedPod } from '../../support/registry-source.ts';

/*
 * Runs the real program as an operator does: control plane, tokens, a restart, signals, and what it says when it cannot
 * start.
 */

const root = resolve(import.meta.dirname, '../../..');
const node = join(root, 'node_modules/.bin/node');
const web = spiffeId('spiffe://cluster.local/ns/shop/sa/web');

let directory: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'remora-command-'));
  mkdirSync(join(directory, 'registry'));
  mkdirSync(join(directory, 'out'));
  writeFileSync(join(directory, 'registry/api.yaml'), meshedPod('api', '10.0.0.1'));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(directory, { recursive: true });
});

interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function start(args: readonly string[], env: Record<string, string> = {}) {
  const child = spawn(node, [join(root, 'src/main.ts'), ...args], {
    cwd: directory,
    env: { PATH: process.env.PATH ?? '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => {
    output.stdout += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    output.stderr += chunk.toString();
  });
  const finished = once(child, 'close').then(([code]): Finished => ({ code: code as number | null, ...output }));
  return { child, finished };
}

const run = (args: readonly string[], env?: Record<string, string>) => start(args, env).finished;

async function freePort(): Promise<number> {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** A control plane that is ready, on ports of its own. */
async function startControlPlane(...args: readonly string[]) {
  const [port, metricsPort] = [await freePort(), await freePort()];
  const rootFile = join(directory, 'out/root.pem');
  const listen = [
    `--listen=127.0.0.1:${port}`,
    `--metrics-listen=127.0.0.1:${metricsPort}`,
    `--write-root=${rootFile}`,
  ];
  const { child, finished } = start(['control-plane', ...listen, ...args]);
  for await (const line of createInterface({ input: child.stdout! })) if (line.includes('Control plane ready')) break;
  return { child, finished, apiAddress: { ip: '127.0.0.1', port }, rootPem: readFileSync(rootFile, 'utf8'), rootFile };
}

const tokenArgs = ['token', '--state-dir=state', '--namespace=shop', '--service-account=web', '--pod=web-0'];

describe('remora control-plane', () => {
  it('serves a sidecar with a token of `remora token`, and is the same authority after a restart', async () => {
    const first = await startControlPlane('--state-dir=state', '--registry=registry', '--certificate-lifetime=10m');
    const token = await run(tokenArgs);
    expect(token).toMatchObject({ code: 0, stderr: '', stdout: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+\n$/) });
    const bearer = token.stdout.trim();
    const csr = createCsr(createKey(), web);
    const reply = await call(first, paths.certificates, { token: bearer, body: { csr, ttlSeconds: 86_400 } });
    const leaf = new X509Certificate((reply.json as CertificateReply).certificateChain);
    expect(leaf.subjectAltName).toBe(`URI:${web.uri}`);
    expect(leaf.validToDate.getTime() - leaf.validFromDate.getTime()).toBe(11 * 60_000);
    const stream = await openStream(first, bearer, ['10.0.0.1:80']);
    expect((await stream.take(4))[3]).toMatchObject({ data: { known: true } });

    first.child.kill('SIGTERM');
    expect(await stream.rest()).toEqual([]);
    const { code, stdout, stderr } = await first.finished;
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).not.toContain(bearer.split('.')[2]);
    expect(stdout).not.toContain('PRIVATE KEY');

    const second = await startControlPlane('--state-dir=state');
    expect(second.rootPem).toBe(first.rootPem);
    expect((await call(second, paths.certificates, { token: bearer, body: { csr } })).status).toBe(200);
    expect(statSync(second.rootFile).mode & 0o777).toBe(0o644);
  });

  it('K1: exits 0 on SIGTERM and on SIGINT, and says so', async () => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      const { child, finished } = await startControlPlane('--in-memory');
      child.kill(signal);
      expect(await finished).toMatchObject({ code: 0, stdout: expect.stringContaining('Control plane stopped') });
    }
  });

  it('is a new authority after each start with --in-memory', async () => {
    const roots = [];
    for (let run = 0; run < 2; run++) {
      const { child, finished, rootPem } = await startControlPlane('--in-memory');
      roots.push(rootPem);
      child.kill('SIGTERM');
      await finished;
    }
    expect(roots[0]).not.toBe(roots[1]);
  });

  it('K9: names the address that is in use in one line, and exits 1', async () => {
    const occupant = createServer();
    await once(occupant.listen(0, '127.0.0.1'), 'listening');
    const { port } = occupant.address() as AddressInfo;
    const finished = await run([
      'control-plane',
      '--in-memory',
      `--listen=127.0.0.1:${port}`,
      `--metrics-listen=127.0.0.1:${await freePort()}`,
    ]);
    expect(finished).toMatchObject({
      code: 1,
      stderr: `remora: 127.0.0.1:${port} is in use by another process, expected it to be free\n`,
    });
    occupant.close();
  });

  it('G3: says everything that is wrong at once, and exits 78', async () => {
    const wrong = [
      '--listen=127.0.0.1:0',
      '--metrics-listen=70000',
      '--trust-domain=A/b',
      '--certificate-lifetime=60',
      '--serving-name=a b',
      '--log-level=loud',
      '--token-issuer=me',
    ];
    const { code, stderr } = await run(['control-plane', ...wrong], { SSLKEYLOGFILE: '/tmp/keys' });
    expect(code).toBe(78);
    expect(stderr.trimEnd().split('\n')).toEqual([
      expect.stringMatching(/^remora: SSLKEYLOGFILE is set/),
      expect.stringMatching(/^remora: --listen=127\.0\.0\.1:0 is not usable, expected a port/),
      expect.stringMatching(/^remora: --metrics-listen=70000 is not usable, expected a port/),
      expect.stringMatching(/^remora: --trust-domain=A\/b is not usable, expected a trust domain/),
      expect.stringMatching(/^remora: --certificate-lifetime=60 is not usable, expected a number with a unit/),
      expect.stringMatching(/^remora: --log-level=loud is not usable, expected debug, info, warn, error, silent/),
      expect.stringMatching(/^remora: --serving-name=a b is not usable, expected a DNS name or an IP address/),
      expect.stringMatching(/^remora: --token-issuer=me is not usable, expected a URI/),
      expect.stringMatching(/^remora: Expected one of --state-dir, --authority and --in-memory/),
    ]);
  });

  it('refuses --state-dir and --in-memory together, one port for two servers, and an unknown option', async () => {
    const both = await run([
      'control-plane',
      '--in-memory',
      '--state-dir=state',
      '--listen=:15012',
      '--metrics-listen=15012',
    ]);
    expect(both).toMatchObject({ code: 78, stderr: expect.stringContaining('both use port 15012') });
    expect(both.stderr).toContain('Expected one of --state-dir, --authority and --in-memory');
    expect(await run(['control-plane', '--in-memroy'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--in-memroy'),
    });
  });

  it.each([
    ['revok', 'did you mean revoke?'],
    ['rotateroot', 'did you mean rotate-root?'],
    ['constructor', 'expected options, or one of revoke, rotate-root'],
  ])('has no command %s', async (word, hint) => {
    expect(await run(['control-plane', word, '--state-dir=state'])).toEqual({
      code: 2,
      stdout: '',
      stderr: `remora: control-plane has no command '${word}', ${hint}\n`,
    });
  });

  it('lists its commands in its help', async () => {
    const { code, stdout } = await run(['control-plane', '--help']);
    expect([code, stdout]).toEqual([
      0,
      expect.stringMatching(/\n {2}revoke {7}revokes .*\n {2}rotate-root {2}replaces .*\n\n/),
    ]);
  });

  it('G1: refuses a broken registry with its place, and makes no port wait for it', async () => {
    writeFileSync(join(directory, 'registry/b.yaml'), 'apiVersion: v1\nkind: Pod\nkind: Pod\n');
    expect(await run(['control-plane', '--in-memory', '--registry=registry'])).toMatchObject({
      code: 78,
      stderr: 'remora: registry/b.yaml:3:1: Map keys must be unique\n',
    });
  });

  it('refuses a key that others can read, and writes nothing', async () => {
    const { child, finished } = await startControlPlane('--state-dir=state');
    child.kill('SIGTERM');
    await finished;
    chmodSync(join(directory, 'state/authority/root-key.pem'), 0o644);
    rmSync(join(directory, 'out'), { recursive: true });
    expect(await run(['control-plane', '--state-dir=state', '--write-root=out/root.pem'])).toMatchObject({
      code: 78,
      stderr: 'remora: state/authority/root-key.pem can be read by others (mode 0644), expected 0600\n',
    });
    expect(existsSync(join(directory, 'out'))).toBe(false);
  });

  it('names a state directory that cannot be made', async () => {
    writeFileSync(join(directory, 'file'), '');
    const { code, stderr } = await run(['control-plane', '--state-dir=file/state']);
    expect(code).toBe(78);
    expect(stderr).toMatch(/^remora: Cannot read file\/state\/authority: ENOTDIR.*\n$/);
  });
});

describe('remora authority', () => {
  it('makes an authority once, which a control plane serves and `remora token` signs with', async () => {
    const made = await run(['authority', './mesh', '--trust-domain=mesh.example']);
    expect(made).toMatchObject({ code: 0, stderr: '' });
    expect(made.stdout.trimEnd().split('\n')).toEqual([
      expect.stringContaining('mesh.example is in ./mesh'),
      expect.stringContaining('Keep root-key.pem and token-key.pem'),
    ]);
    expect(made.stdout).not.toContain('PRIVATE KEY');
    const before = readFileSync(join(directory, 'mesh/root-key.pem'), 'utf8');

    const plane = await startControlPlane('--authority=mesh', '--trust-domain=mesh.example');
    expect(plane.rootPem).toBe(readFileSync(join(directory, 'mesh/root.pem'), 'utf8'));
    const token = await run(['token', '--authority=mesh', ...tokenArgs.slice(2)]);
    const csr = createCsr(createKey(), web);
    const reply = await call(plane, paths.certificates, { token: token.stdout.trim(), body: { csr } });
    const leaf = new X509Certificate((reply.json as CertificateReply).certificateChain);
    expect(leaf.subjectAltName).toBe('URI:spiffe://mesh.example/ns/shop/sa/web');
    plane.child.kill('SIGTERM');
    await plane.finished;

    expect(await run(['authority', 'mesh'])).toMatchObject({
      code: 1,
      stdout: '',
      stderr: 'remora: mesh is not an empty folder, expected a new one: an authority is never overwritten\n',
    });
    expect(readFileSync(join(directory, 'mesh/root-key.pem'), 'utf8')).toBe(before);
    expect(readdirSync(join(directory, 'mesh'))).toEqual(['root-key.pem', 'root.pem', 'token-key.pem']);
  });

  it('needs a folder and a trust domain', async () => {
    expect(await run(['authority'])).toMatchObject({ code: 2, stderr: expect.stringContaining('directory') });
    expect(await run(['authority', ''])).toMatchObject({ code: 2 });
    expect(await run(['authority', 'a', '--trust-domain=A/b'])).toMatchObject({
      code: 2,
      stderr: 'remora: --trust-domain=A/b is not usable, expected a trust domain such as cluster.local\n',
    });
    expect(existsSync(join(directory, 'a'))).toBe(false);
  });
});

describe('remora control-plane in a cluster', () => {
  const settingsFile = 'injection.yaml';
  const write = (text: string) => writeFileSync(join(directory, settingsFile), text);
  const injection = 'image: registry.example.com/remora:0.1.0\nmeshNetworks: [10.0.0.0/8]\n';

  it('answers admission reviews with the settings of a file', async () => {
    write(`${injection}sidecarMode: classic\n`);
    const port = await freePort();
    const name = 'remora-control-plane.remora-system.svc';
    const { child, finished, rootPem } = await startControlPlane(
      '--in-memory',
      `--injection=${settingsFile}`,
      `--webhook-listen=127.0.0.1:${port}`,
      `--serving-name=${name}`,
    );
    const review = recordedReview('create-replicaset');
    const webhook = { apiAddress: { ip: '127.0.0.1', port }, rootPem, servername: name };
    const reply = await call(webhook, '/inject', { body: review });
    const { spec } = patchedBy(reply.json as AdmissionReply, review.request.object);
    expect(spec.containers.map((one: { name: string }) => one.name)).toEqual(['remora', 'web']);
    child.kill('SIGTERM');
    expect(await finished).toMatchObject({ code: 0, stdout: expect.stringContaining('"outcome":"injected"') });
  });

  it('G3: says everything that is wrong with the flags and with the file of the injector at once', async () => {
    write('image: registry.example.com/remora:0.1.0\nsidecarMode: fast\nimages: 2\n');
    const { code, stderr } = await run([
      'control-plane',
      '--authority=mesh',
      '--in-memory',
      '--token-keys=jwks.json',
      `--injection=${settingsFile}`,
      '--webhook-listen=:15012',
    ]);
    expect(code).toBe(78);
    expect(stderr.trimEnd().split('\n')).toEqual([
      expect.stringMatching(/^remora: Expected one of --state-dir, --authority and --in-memory/),
      expect.stringMatching(/^remora: --token-keys is given without --token-issuer/),
      expect.stringMatching(/^remora: --injection is given without --serving-name/),
      expect.stringMatching(/^remora: --listen and --webhook-listen both use port 15012/),
      expect.stringMatching(/^remora: images in injection\.yaml line 3 is not a setting/),
      expect.stringMatching(/^remora: sidecarMode=fast from injection\.yaml line 2 is not/),
    ]);
  });

  it('needs a file of settings that can be read for its webhook', async () => {
    const alone = await run(['control-plane', '--in-memory', '--webhook-listen=:15017']);
    expect(alone).toMatchObject({
      code: 78,
      stderr: expect.stringMatching(/^remora: --webhook-listen is given without --injection, expected[^\n]+\n$/),
    });
    const missing = await run(['control-plane', '--in-memory', '--serving-name=a.b.svc', '--injection=none.yaml']);
    expect(missing).toMatchObject({
      code: 78,
      stderr: 'remora: none.yaml cannot be read (ENOENT), expected a YAML file of settings of the injector\n',
    });
  });

  it('refuses a trust domain of the injector that is not its own', async () => {
    write('image: remora:1\nmeshNetworks: [10.0.0.0/8]\ntrustDomain: other.local\n');
    const flags = ['--in-memory', '--serving-name=a.b.svc', `--injection=${settingsFile}`];
    expect(await run(['control-plane', ...flags])).toMatchObject({
      code: 78,
      stderr: expect.stringMatching(/^remora: trustDomain in \S+ is other\.local, expected cluster\.local/),
    });
  });

  it('refuses an authority and token keys that are bad, and makes no port wait for them', async () => {
    expect(await run(['control-plane', '--authority=mesh'])).toMatchObject({
      code: 78,
      stderr: 'remora: mesh cannot be read (ENOENT), expected the folder that remora authority makes\n',
    });
    writeFileSync(join(directory, 'jwks.json'), '{"keys":[{"kty":"oct","kid":"a","k":"AAAA"}]}');
    const keys = ['--token-keys=jwks.json', '--token-issuer=https://kubernetes.default.svc'];
    expect(await run(['control-plane', '--in-memory', ...keys])).toMatchObject({
      code: 78,
      stderr: 'remora: jwks.json: Key 1 cannot be used: kty is not RSA or EC\n',
    });
  });

  it('believes the tokens of the cluster, also where a pod is, publishes their keys, and believes its own no more', async () => {
    await run(['authority', 'mesh']);
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const published = { use: 'sig', ...(await exportJWK(publicKey)), kid: 'cluster', alg: 'RS256' };
    writeFileSync(join(directory, 'jwks.json'), JSON.stringify({ keys: [published] }));
    const issuer = 'https://kubernetes.default.svc.cluster.local';
    const [one, other] = ['node-1', 'node-2'].map((name, index) =>
      meshedPod(name, `10.0.1.${index}`, 'app: logs').replace('spec: {', `spec: {nodeName: ${name}, `),
    );
    const logs = '{clusterIP: 10.96.0.1, internalTrafficPolicy: Local, selector: {app: logs}, ports: [{port: 80}]}';
    const service = `apiVersion: v1\nkind: Service\nmetadata: {name: logs, namespace: shop}\nspec: ${logs}\n`;
    writeFileSync(join(directory, 'registry/logs.yaml'), [one, other, service].join('---\n'));
    const plane = await startControlPlane(
      '--authority=mesh',
      '--registry=registry',
      '--token-keys=jwks.json',
      `--token-issuer=${issuer}`,
    );
    expect((await call(plane, paths.jwks)).json).toEqual({ keys: [published] });

    const bound = {
      namespace: 'shop',
      node: { name: 'node-1', uid: 'n' },
      pod: { name: 'web-0', uid: 'p' },
      serviceaccount: { name: 'web', uid: 's' },
    };
    const token = await new SignJWT({ 'kubernetes.io': bound })
      .setProtectedHeader({ alg: 'RS256', kid: 'cluster' })
      .setIssuer(issuer)
      .setSubject('system:serviceaccount:shop:web')
      .setAudience(['remora'])
      .setExpirationTime('1h')
      .sign(privateKey);
    const csr = createCsr(createKey(), web);
    const reply = await call(plane, paths.certificates, { token, body: { csr } });
    const leaf = new X509Certificate((reply.json as CertificateReply).certificateChain);
    expect(leaf.subjectAltName).toBe(`URI:${web.uri}`);

    // The registry does not hold the pod: its node is that of its token.
    const asked = await call(plane, paths.destinations, { token, body: { addresses: ['10.96.0.1:80'] } });
    expect(asked.json).toMatchObject({ destinations: [{ endpoints: [{ address: '10.0.1.0:80' }] }] });

    const own = await run(['token', '--authority=mesh', `--token-issuer=${issuer}`, ...tokenArgs.slice(2)]);
    const refused = await call(plane, paths.certificates, { token: own.stdout.trim(), body: { csr } });
    expect(refused).toMatchObject({ status: 401, json: { reason: 'token_invalid' } });
  });
});

describe('remora token', () => {
  it('says everything that is wrong at once, and exits 2', async () => {
    const { code, stderr } = await run([
      'token',
      '--state-dir=state',
      '--namespace=a/b',
      '--service-account=..',
      '--pod=P',
      '--lifetime=1',
    ]);
    expect(code).toBe(2);
    expect(stderr.trimEnd().split('\n')).toEqual([
      "remora: namespace 'a/b' is not a DNS label",
      "remora: service account '..' is not a DNS name",
      "remora: pod 'P' is not a DNS name",
      expect.stringMatching(/^remora: --lifetime=1 is not a duration/),
    ]);
  });

  it('needs the state directory of a control plane that has run', async () => {
    expect(await run(tokenArgs)).toMatchObject({
      code: 78,
      stderr: expect.stringContaining('state/authority does not exist'),
    });
    expect(await run(['token', '--namespace=shop'])).toMatchObject({ code: 2 });
    for (const more of [[], ['--state-dir=state', '--authority=mesh']])
      expect(await run(['token', ...more, ...tokenArgs.slice(2)])).toMatchObject({
        code: 2,
        stderr: expect.stringMatching(/^remora: Expected one of --state-dir and --authority/),
      });
  });
});
