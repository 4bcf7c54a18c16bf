import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { adminPaths } from '../../../src/admin-api.ts';
import { paths } from '../../../src/control-api.ts';
import { call } from '../../support/control-plane-client.ts';
import { formsOfKey, formsOfToken, secretsBelow, secretsIn } from '../../support/secrets.ts';
import type { Agent, Ended } from './agent-program.ts';
import {
  asVariables,
  freePorts,
  killPrograms,
  page,
  readyAgent,
  runProgram,
  startAgent,
  startProgram,
} from './agent-program.ts';
import { idOf, newPath, useFolder, writeIdentity, writeText } from './identity-files.ts';

/*
 * Goal: no key and no token is in anything that the programs say. Method: the real programs with keys and tokens that are
 * known, at the most talkative level, through success and failure; all that they write and serve is searched for them.
 */
useFolder();
const closing: (() => unknown)[] = [];
afterEach(async () => {
  killPrograms();
  for (const close of closing.splice(0)) await close();
});

/** All that a sidecar shows on its ports, and to the commands that ask it. */
async function shownBy({ ports }: Agent): Promise<string> {
  const queries = ['', '?to=127.0.0.1:80', `?from=${encodeURIComponent(idOf('web'))}`, '?id=nobody'];
  const readable = Object.values(adminPaths).filter((path) => path !== adminPaths.drain && path !== adminPaths.quit);
  const asked = readable.flatMap((path) => queries.map((query) => [ports.admin, `${path}${query}`] as const));
  const pages: Awaited<ReturnType<typeof page>>[] = [];
  // One at a time: an address has a few places only.
  for (const [port, path] of [...asked, [ports.metrics, '/metrics'], [ports.health, '/healthz/ready']] as const)
    pages.push(await page(port, path));
  expect(pages.filter(({ status }) => status === 200).length).toBeGreaterThan(10);
  const admin = `127.0.0.1:${ports.admin}`;
  const commands = [['status', '--json'], ['certs'], ['connections'], ['handshakes', '--json']];
  const said = await Promise.all(commands.map((command) => runProgram([...command, '--admin', admin])));
  // One that is not ready is a failure to some, and is told of.
  for (const { code } of said) expect([0, 1]).toContain(code);
  return [...pages.map(({ text }) => text), ...said.map(textOf)].join('\n');
}

const textOf = ({ stdout, stderr }: Ended): string => `${stdout}\n${stderr}`;

describe('A13: the search itself', () => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const token = `${Buffer.from('{"alg":"ES256"}').toString('base64url')}.${'a'.repeat(20)}.${'b'.repeat(86)}`;

  it('finds a key in every form, and in the middle of another text', () => {
    const secrets = formsOfKey('a key', privateKey);
    const { d = '' } = privateKey.export({ format: 'jwk' });
    const scalar = Buffer.from(d, 'base64url');
    for (const format of ['pkcs8', 'sec1'] as const) {
      const pem = privateKey.export({ type: format, format: 'pem' }) as string;
      expect(secretsIn(`{"x":${JSON.stringify(pem)}}`, secrets).length).toBeGreaterThan(1);
      expect(secretsIn(pem.replaceAll(/-----.*-----/g, ''), secrets).length).toBeGreaterThan(0);
    }
    for (const text of [d, scalar.toString('base64'), scalar.toString('hex'), JSON.stringify([...scalar])])
      expect(secretsIn(`x ${text} y`, secrets).length).toBeGreaterThan(0);
    expect(secretsIn('nothing', secrets)).toEqual([]);
  });

  it('finds a token, and its signature alone', () => {
    const secrets = formsOfToken('a token', token);
    expect(secretsIn(`authorization: ${token}`, secrets)).toEqual(['the signature of a token']);
    expect(secretsIn(`x${token.split('.')[2]}`, secrets)).toEqual(['the signature of a token']);
    expect(secretsIn(token.split('.').slice(0, 2).join('.'), secrets)).toEqual([]);
  });
});

it('A13: no token and no key of a control plane or of its sidecars is in anything that they say', async () => {
  const [api = 0, metrics = 0, listen = 0] = await freePorts(3);
  const state = newPath('state');
  const registry = newPath('registry');
  mkdirSync(registry);
  writeFileSync(`${registry}/mesh.yaml`, 'apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n');
  const rootFile = newPath('root.pem');
  const at = [`--listen=127.0.0.1:${api}`, `--metrics-listen=127.0.0.1:${metrics}`];
  const plane = startProgram([
    'control-plane',
    `--state-dir=${state}`,
    `--registry=${registry}`,
    `--write-root=${rootFile}`,
    ...at,
  ]);
  await plane.line({ msg: 'Control plane ready' });
  const tokenOf = async (name: string, ...more: string[]) => {
    const pod = ['--namespace=shop', `--service-account=${name}`, `--pod=${name}`];
    const { code, stdout, stderr } = await runProgram(['token', `--state-dir=${state}`, ...pod, ...more]);
    expect([code, stderr]).toEqual([0, '']);
    return stdout.trim();
  };
  const tokens = [await tokenOf('web'), await tokenOf('api'), await tokenOf('web', '--audience=other')];
  const [webToken = '', apiToken = '', badToken = ''] = tokens;
  const secrets = [...secretsBelow(state), ...tokens.flatMap((token, index) => formsOfToken(`token ${index}`, token))];
  expect(secrets.filter(([name]) => name.endsWith('in hexadecimal')).length).toBeGreaterThan(3);

  const application = await httpApplication();
  const common = { controlPlane: `https://localhost:${api}`, controlPlaneCaFile: rootFile, logLevel: 'debug' };
  const deliver = `127.0.0.1:${application}`;
  const server = await readyAgent({
    ...common,
    tokenFile: writeText('api.token', apiToken),
    deliver,
    appMetrics: `${application}/metrics`,
  });
  const client = await readyAgent({
    ...common,
    tokenFile: writeText('web.token', webToken),
    listen: `127.0.0.1:${listen}`,
    target: deliver,
    peer: idOf('api'),
    via: `127.0.0.1:${server.ports.hbone}`,
  });
  const refused = await startAgent({ ...common, tokenFile: writeText('bad.token', badToken), deliver });
  await refused.line({ reason: 'http_401' });

  const response = await fetch(`http://127.0.0.1:${listen}/`, { headers: { connection: 'close' } });
  expect(await response.text()).toBe('hello');
  await speakPlaintext(server.ports.hbone);
  const at15012 = { apiAddress: { ip: '127.0.0.1', port: api }, rootPem: readFileSync(rootFile, 'utf8') };
  const replies = await Promise.all(
    [webToken, badToken, `${webToken}x`].flatMap((token) => [
      call(at15012, paths.certificates, { token, body: { csr: 'none', ttlSeconds: 60 } }),
      call(at15012, paths.destinations, { token, body: { addresses: [] } }),
    ]),
  );
  expect(replies.map(({ status }) => status)).toEqual([400, 200, 401, 401, 401, 401]);
  const shown = await Promise.all([shownBy(server), shownBy(client), shownBy(refused)]);
  expect(shown.join('')).toContain('\napp_up 1\n');
  const ofPlane = await Promise.all(['/metrics', '/healthz', '/other'].map((path) => page(metrics, path)));
  const said = await Promise.all([server, client, refused, plane].map((program) => program.stop()));
  for (const text of [...shown, ...[...replies, ...ofPlane].map((one) => one.text), ...said.map(textOf)])
    expect(secretsIn(text, secrets)).toEqual([]);
});

it('A13: no key in a file is in what a sidecar says of it, however wrong the file is', async () => {
  const files = writeIdentity('db');
  const key = createPrivateKey(readFileSync(files.keyFile));
  const secrets = formsOfKey('the key', key);
  const good = await readyAgent({ ...files, deliver: '127.0.0.1:9', allowPeers: idOf('web'), logLevel: 'debug' });
  // The key where a certificate should be, a key of somebody else, half of a key, and the key with more behind it.
  const pem = readFileSync(files.keyFile, 'utf8');
  const wrong = [
    { certificateFile: files.keyFile },
    { bundleFile: files.keyFile },
    { keyFile: writeText('half.key', pem.slice(0, 120)) },
    { keyFile: writeText('text.key', pem.replaceAll('-----', '')) },
    { crlFiles: files.keyFile },
    { tokenFile: files.keyFile, controlPlane: 'https://localhost:1', controlPlaneCaFile: files.keyFile },
  ];
  const broken = await Promise.all(
    wrong.map((change) =>
      startAgent({ ...files, ...change, deliver: '127.0.0.1:9', allowPeers: idOf('web'), logLevel: 'debug' }),
    ),
  );
  const asSettings = [
    runProgram(['agent', '--config', files.keyFile]),
    runProgram(['inject', '--settings', files.keyFile]),
    runProgram(['control-plane', '--in-memory', '--registry', files.keyFile]),
    runProgram(['control-plane', '--authority', files.keyFile]),
    ...Object.keys(files).map((name) => {
      const text = { ...files, allowPeers: idOf('web'), [name]: pem };
      return runProgram(['agent'], { env: asVariables(text) });
    }),
    runProgram(['agent', '--deliver', pem]),
    runProgram(['agent', '--config', pem]),
  ];
  const texts = [await shownBy(good), ...(await Promise.all(asSettings)).map(textOf)];
  const endings = broken.map(async (agent) => {
    await Promise.race([agent.ended, agent.line({ level: 'warn' }).catch(() => undefined)]);
    return textOf(await agent.stop());
  });
  texts.push(...(await Promise.all(endings)));
  texts.push(textOf(await good.stop()));
  for (const text of texts) expect(secretsIn(text, secrets)).toEqual([]);
});

it('A13: no token of the demo is in what it says', async () => {
  const folder = newPath('tmp');
  mkdirSync(folder);
  const program = startProgram(['demo', '--loopback', '--once', '--json'], { env: { TMPDIR: folder } });
  // A file may go while it is read.
  const found = () => {
    try {
      return secretsBelow(folder);
    } catch {
      return [];
    }
  };
  await expect.poll(() => found().length, { timeout: 60_000 }).toBeGreaterThan(0);
  const secrets = found();
  const said = textOf(await program.ended);
  expect(said).toContain('handshakes');
  expect(secretsIn(said, secrets)).toEqual([]);
});

/** Says hello, and has metrics. */
async function httpApplication(): Promise<number> {
  const server = createServer((request, response) => {
    if (request.url === '/metrics') response.setHeader('content-type', 'text/plain').end('app_up 1\n');
    else response.end('hello');
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  closing.push(() => void server.close());
  return (server.address() as AddressInfo).port;
}

/** A stranger, who is refused in words. */
async function speakPlaintext(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1').on('error', () => undefined);
  socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
  await once(socket, 'close');
}
