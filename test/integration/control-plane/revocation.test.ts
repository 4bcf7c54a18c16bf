import { createPrivateKey, X509Certificate } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import type { ClientHttp2Session } from 'node:http2';
import { connect } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CertificateReply, RevocationState, StreamMessage } from '../../../src/control-api.ts';
import { paths } from '../../../src/control-api.ts';
import { createAuthorityDirectory } from '../../../src/control-plane/authority-directory.ts';
import { readCertificate } from '../../../src/identity/certificate.ts';
import { createCsr, createKey } from '../../../src/identity/csr.ts';
import type { OpenStream } from '../../support/control-plane-client.ts';
import { call, openStream } from '../../support/control-plane-client.ts';
import { makeCrl } from '../../support/crls.ts';
import { sequence } from '../../support/der-writer.ts';
import { spiffeId } from '../../support/identities.ts';
import type { Agent, Program } from '../agent-program/agent-program.ts';
import {
  freePorts,
  killPrograms,
  page,
  readyAgent,
  runProgram,
  startAgent,
  startProgram,
} from '../agent-program/agent-program.ts';

/*
 * Goal: what an operator revokes reaches every sidecar at once, and outlives every restart. Method: the real control plane,
 * the real command and a real sidecar, as an operator runs them.
 */

const idOf = (name: string) => `spiffe://cluster.local/ns/shop/sa/${name}`;

let folder: string;
let state: string;
let list: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'remora-revocation-'));
  state = join(folder, 'state');
  list = join(state, 'revocations.json');
});
afterEach(() => {
  killPrograms();
  rmSync(folder, { recursive: true });
});

interface Plane {
  readonly program: Program;
  readonly apiAddress: { readonly ip: string; readonly port: number };
  readonly metricsPort: number;
  readonly rootPem: string;
  readonly rootFile: string;
}

async function startPlane(...args: readonly string[]): Promise<Plane> {
  const [port = 0, metricsPort = 0] = await freePorts(2);
  const rootFile = join(folder, 'root.pem');
  const program = startProgram([
    'control-plane',
    ...(args.some((arg) => arg.startsWith('--authority')) ? [] : [`--state-dir=${state}`]),
    ...[`--listen=127.0.0.1:${port}`, `--metrics-listen=127.0.0.1:${metricsPort}`, `--write-root=${rootFile}`],
    ...args,
  ]);
  await program.line({ msg: 'Control plane ready' });
  const rootPem = readFileSync(rootFile, 'utf8');
  return { program, apiAddress: { ip: '127.0.0.1', port }, metricsPort, rootPem, rootFile };
}

async function tokenOf(name: string, keys = `--state-dir=${state}`): Promise<string> {
  const identity = ['--namespace=shop', `--service-account=${name}`, `--pod=${name}-0`];
  const { code, stdout, stderr } = await runProgram(['token', keys, ...identity]);
  expect([code, stderr]).toEqual([0, '']);
  return stdout.trim();
}

/** The state directory of a control plane that does not run. */
async function keepState(): Promise<void> {
  mkdirSync(state);
  await createAuthorityDirectory(join(state, 'authority'), 'cluster.local', Date.now());
}

const revoke = (...args: readonly string[]) =>
  runProgram([
    'control-plane',
    'revoke',
    ...(args.some((arg) => arg.startsWith('--file')) ? [] : [`--state-dir=${state}`]),
    ...args,
  ]);

/** Expects the next line to be about revocations: nothing else comes before but heartbeats, on a machine that is slow. */
async function nextRevocations(stream: OpenStream): Promise<RevocationState> {
  for (;;) {
    const [message] = await stream.take(1);
    if (message?.topic !== 'heartbeat') return revocationsOf(message);
  }
}
function revocationsOf(message: StreamMessage | undefined): RevocationState {
  if (message?.topic !== 'revocations') throw new TypeError(`${message?.topic} is not about revocations`);
  return message.data;
}
/** The state that a stream begins with, and the stream. */
async function beginning(plane: Plane, token: string) {
  const stream = await openStream(plane, token);
  return { stream, first: revocationsOf((await stream.take(3))[1]) };
}

const key = createKey();
const ask = (plane: Plane, token: string, name: string) =>
  call(plane, paths.certificates, { token, body: { csr: createCsr(key, spiffeId(idOf(name))) } });

const none = { certificates: [], identities: [] };

describe('remora control-plane revoke', () => {
  it('reaches every open stream before anything else does, and is lifted the same way', async () => {
    const plane = await startPlane();
    const { stream, first } = await beginning(plane, await tokenOf('api'));
    expect(first).toEqual(none);

    const revoked = await revoke('--serial', '4a:0b:0c', '--reason', 'the key was on a laptop');
    expect(revoked).toMatchObject({ code: 0, stderr: '' });
    expect(revoked.stdout).toContain(`The certificate 4A0B0C is revoked in ${list}.\n`);
    expect(await nextRevocations(stream)).toEqual({ ...none, certificates: [{ serials: ['4A0B0C'] }] });
    await revoke('--identity', idOf('web'));
    const both = { certificates: [{ serials: ['4A0B0C'] }], identities: [idOf('web')] };
    expect(await nextRevocations(stream)).toEqual(both);
    expect((await beginning(plane, await tokenOf('db'))).first).toEqual(both);
    const { text } = await page(plane.metricsPort, '/metrics');
    expect(text).toContain('remora_ca_revocations{kind="certificate"} 1\nremora_ca_revocations{kind="identity"} 1\n');
    expect(text).toContain('remora_ca_revocations_unknown 0\n');

    expect((await revoke('--lift', '--serial', '004a0b0c')).stdout).toContain(
      'The certificate 4A0B0C is no longer revoked',
    );
    expect(await nextRevocations(stream)).toEqual({ ...none, identities: [idOf('web')] });
  });

  it('keeps a revoked identity from every certificate, and a revoked certificate from none', async () => {
    const plane = await startPlane();
    const [web, api] = [await tokenOf('web'), await tokenOf('api')];
    const { stream } = await beginning(plane, api);
    const { certificateChain } = (await ask(plane, web, 'web')).json as CertificateReply;
    await revoke('--serial', new X509Certificate(certificateChain).serialNumber);
    await nextRevocations(stream);
    expect((await ask(plane, web, 'web')).status).toBe(200);

    await revoke('--identity', idOf('web'));
    await nextRevocations(stream);
    expect(await ask(plane, web, 'web')).toMatchObject({
      status: 403,
      json: { reason: 'identity_revoked', detail: expect.stringContaining(idOf('web')) },
    });
    expect((await ask(plane, api, 'api')).status).toBe(200);
    const { text } = await page(plane.metricsPort, '/metrics');
    expect(text).toContain('remora_ca_certificates_issued_total{result="identity_revoked"} 1\n');

    const tokenFile = join(folder, 'web.token');
    writeFileSync(tokenFile, web);
    const agent = await startAgent({
      controlPlane: `https://127.0.0.1:${plane.apiAddress.port}`,
      controlPlaneCaFile: plane.rootFile,
      tokenFile,
      deliver: '127.0.0.1:1',
    });
    expect(await agent.line({ reason: 'revoked' })).toMatchObject({
      detail: expect.stringContaining('identity_revoked'),
      remedy: expect.stringContaining('--lift'),
    });
  });

  it('works while no control plane runs, which then begins with it', async () => {
    const first = await startPlane();
    const token = await tokenOf('api');
    await first.program.stop();
    expect(existsSync(list)).toBe(false);
    expect(await revoke('--identity', idOf('web'))).toMatchObject({ code: 0 });
    expect(statSync(list).mode & 0o777).toBe(0o600);
    expect((await beginning(await startPlane(), token)).first).toEqual({ ...none, identities: [idOf('web')] });
  });

  it('loses nothing when several run at once, and changes nothing when it is run again', async () => {
    await (await startPlane()).program.stop();
    const serials = ['4A', '4B', '4C', '4D'];
    const codes = await Promise.all(serials.map(async (serial) => (await revoke('--serial', serial)).code));
    expect(codes).toEqual([0, 0, 0, 0]);
    const text = readFileSync(list, 'utf8');
    expect(
      (JSON.parse(text) as { certificates: { serial: string }[] }).certificates.map(({ serial }) => serial).sort(),
    ).toEqual(serials);
    const again = (await revoke('--serial', '4a', '--reason', 'again')).stdout;
    expect(again).toMatch(/4A was revoked in .* at 20\S+ already; nothing is changed\./);
    expect(again).not.toContain('takes it within seconds');
    expect((await revoke('--lift', '--serial', '4E')).stdout).toBe(
      `The certificate 4E is not revoked in ${list}; nothing is changed.\n`,
    );
    expect(readFileSync(list, 'utf8')).toBe(text);
  });

  it('shows what is revoked as a table and as JSON', async () => {
    await keepState();
    expect((await revoke('--list')).stdout).toBe(`Nothing is revoked in ${list}\n`);
    await revoke('--serial', '4a:0b:0c', '--reason', 'the key was on a laptop');
    await revoke('--identity', idOf('web'));
    const [header, ...rows] = (await revoke('--list')).stdout.trimEnd().split('\n');
    expect(header).toMatch(/^ {2}what {9}serial or SPIFFE ID {20}revoked at {16}reason$/);
    expect(rows).toEqual([
      expect.stringMatching(/^ {2}certificate {2}4A0B0C {33}20\S+Z {2}the key was on a laptop$/),
      expect.stringMatching(/^ {2}identity {5}spiffe:\/\/cluster.local\/ns\/shop\/sa\/web {2}20\S+Z {2}-$/),
    ]);
    const { stdout } = await revoke('--list', '--json');
    expect([JSON.parse(stdout), stdout.trimEnd()]).toEqual([
      JSON.parse(readFileSync(list, 'utf8')),
      expect.not.stringContaining('\n'),
    ]);
  });

  it('says of each what is so: a serial may be that of an issuer or of nobody, and identities have no end', async () => {
    await keepState();
    const said = async (...args: string[]) => (await revoke(...args)).stdout.split('\n').slice(1, -1);
    const taken = 'A control plane that runs takes it within seconds; another one when it starts.';
    const refused =
      'Every sidecar that the control plane reaches refuses all of its certificates and closes what is open.';
    expect(await said('--serial=4A')).toEqual([
      'Every sidecar that the control plane reaches refuses it, and every certificate below it, and closes what is open.',
      'That keeps nobody from a new certificate; revoke the identity as well to keep a workload out.',
      taken,
    ]);
    expect(await said('--lift', '--serial=4A')).toEqual([
      'Sidecars accept it again, for as long as it is valid.',
      taken,
    ]);
    const own = ['--identity', idOf('web')];
    const issues = 'A control plane of its trust domain issues';
    expect(await said(...own)).toEqual([refused, `${issues} no certificate for it until this is lifted.`, taken]);
    const again = 'Sidecars accept its certificates again.';
    expect(await said('--lift', ...own)).toEqual([again, `${issues} certificates for it again.`, taken]);
    const foreign = ['--federated', '--identity', 'spiffe://other/ns/a/sa/b'];
    expect(await said(...foreign)).toEqual([refused, taken]);
    expect(await said('--lift', ...foreign)).toEqual([again, taken]);
  });

  it.each<[readonly string[], number, RegExp]>([
    [['--serial=xyz'], 2, /^remora: --serial=xyz is not a serial, expected its hexadecimal digits/],
    [['--identity=web'], 2, /^remora: --identity=web is not a SPIFFE ID \(it does not start with spiffe:\/\/\)/],
    [['--identity=spiffe://other/ns/a/sa/b'], 2, /is of the trust domain other, expected cluster\.local; --federated/],
    [['--serial=4A', '--reason='], 2, /^remora: --reason= is not usable/],
    [[], 2, /Expected one of --serial, --identity and --list/],
    [['--serial=4A', '--list'], 2, /Expected one of --serial, --identity and --list/],
    [['--serial=4A', '--file=x'], 2, /Expected one of --state-dir and --file/],
    [['--serial=4A', '--lift', '--reason=x'], 2, /--lift takes no --reason/],
    [['--serial=4A', '--json'], 2, /--json is only for --list/],
    [['--serial=4A', '--federated'], 2, /--federated is only for --identity/],
  ])('is refused in one sentence with %j', async (args, code, sentence) => {
    await keepState();
    const both = args.includes('--file=x') ? ['--state-dir', state] : [];
    const refused = await revoke(...both, ...args);
    expect(refused.code).toBe(code);
    expect(refused.stderr).toMatch(sentence);
    expect(refused.stderr.trim().split('\n')).toHaveLength(1);
    expect(existsSync(list)).toBe(false);
  });

  it('shows all of a list that is longer than a pipe', async () => {
    const file = join(folder, 'long.json');
    const serials = Array.from({ length: 2_500 }, (_, index) => `4A${'0'.repeat(34)}${(index + 4096).toString(16)}`);
    const certificates = serials.map((serial) => ({ serial, when: '2026-11-22T10:00:00Z' }));
    writeFileSync(file, JSON.stringify({ certificates }));
    const { code, stdout } = await revoke(`--file=${file}`, '--list');
    expect([code, stdout.trim().split('\n').length, stdout.endsWith('Z  -\n')]).toEqual([0, 2_501, true]);
  });

  it('sends whoever would revoke a root to its rotation', async () => {
    const plane = await startPlane();
    const { serialNumber } = new X509Certificate(plane.rootPem);
    expect(await revoke('--serial', serialNumber.toLowerCase())).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(
        / is that of a root, which is trusted .*; remora control-plane rotate-root takes it out\n$/,
      ),
    });
    expect(existsSync(list)).toBe(false);
  });

  it('is refused without a state directory; an identity of another mesh needs its word', async () => {
    expect(await revoke('--serial', '4A')).toMatchObject({
      code: 78,
      stderr: expect.stringContaining('does not exist'),
    });
    await (await startPlane()).program.stop();
    expect(await revoke('--federated', '--identity', 'spiffe://other/ns/a/sa/b')).toMatchObject({ code: 0 });
  });
});

describe('a control plane with --revocations', () => {
  const volume = () => join(folder, 'volume');
  /** As a kubelet replaces a ConfigMap. */
  function mount(file: string): void {
    mkdirSync(volume(), { recursive: true });
    const version = mkdtempSync(join(volume(), '..'));
    if (existsSync(file)) writeFileSync(join(version, 'revocations.json'), readFileSync(file));
    symlinkSync(version, join(volume(), '..data_tmp'));
    renameSync(join(volume(), '..data_tmp'), join(volume(), '..data'));
    if (!existsSync(join(volume(), 'revocations.json'))) {
      rmSync(join(volume(), 'revocations.json'), { force: true });
      symlinkSync(join('..data', 'revocations.json'), join(volume(), 'revocations.json'));
    }
  }

  it('takes the copy in a ConfigMap, from none at all on', async () => {
    const made = join(folder, 'made');
    await runProgram(['authority', made]);
    const own = join(folder, 'own.json');
    mount(own);
    const plane = await startPlane(`--authority=${made}`, `--revocations=${join(volume(), 'revocations.json')}`);
    const { stream, first } = await beginning(plane, await tokenOf('api', `--authority=${made}`));
    expect(first).toEqual(none);
    const { stdout } = await revoke(`--file=${own}`, '--serial=4A');
    expect(stdout).toContain(
      `kubectl create configmap remora-revocations --namespace remora-system --from-file=revocations.json=${own}`,
    );
    mount(own);
    expect(await nextRevocations(stream)).toEqual({ ...none, certificates: [{ serials: ['4A'] }] });
  });

  it.each([
    ['{"serials":[]}', 'serials is not known'],
    ['', 'it is not JSON'],
  ])('does not start with one that is wrong: %j', async (text, why) => {
    const file = join(folder, 'wrong.json');
    writeFileSync(file, text);
    const { code, stderr } = await runProgram(['control-plane', '--in-memory', `--revocations=${file}`]);
    expect([code, stderr]).toEqual([78, expect.stringContaining(`${file}: ${why}`)]);
  });

  it('refuses two lists, and a choice that there is not', async () => {
    const args = [`--state-dir=${state}`, `--revocations=${list}`, '--stale-crl=maybe', '--crl=a', '--crl=a'];
    const { code, stderr } = await runProgram(['control-plane', ...args]);
    expect(code).toBe(78);
    expect(stderr).toContain(
      '--revocations is given with --state-dir, expected revocations.json in that directory alone',
    );
    expect(stderr).toContain('--stale-crl=maybe is not usable, expected accept or refuse');
    expect(stderr).toContain('--crl names a file twice, expected it once');
  });
});

describe('C28: a sidecar', () => {
  const sessions: ClientHttp2Session[] = [];
  afterEach(() => {
    for (const session of sessions.splice(0)) session.destroy();
  });

  /** A tunnel with this certificate once the sidecar speaks; undefined when it ends before that. */
  function dial(agent: Agent, cert: string, ca: string): Promise<ClientHttp2Session | undefined> {
    const session = connect(`https://127.0.0.1:${agent.ports.hbone}`, {
      ...{ cert, ca, key: key.export({ type: 'pkcs8', format: 'pem' }) },
      checkServerIdentity: () => undefined,
    });
    sessions.push(session);
    session.on('error', () => undefined);
    return new Promise((resolve) => {
      session.once('remoteSettings', () => resolve(session));
      session.once('close', () => resolve(undefined));
    });
  }

  async function meshOf(...args: readonly string[]) {
    const plane = await startPlane(...args);
    const [api, web] = [await tokenOf('api'), await tokenOf('web')];
    const tokenFile = join(folder, 'api.token');
    writeFileSync(tokenFile, api);
    const agent = await readyAgent({
      controlPlane: `https://127.0.0.1:${plane.apiAddress.port}`,
      controlPlaneCaFile: plane.rootFile,
      tokenFile,
      deliver: '127.0.0.1:1',
    });
    const certificate = async () => ((await ask(plane, web, 'web')).json as CertificateReply).certificateChain;
    const open = (cert: string) => dial(agent, cert, plane.rootPem);
    /** Until the push has arrived there as well. */
    const until = async (cert: string, expected: boolean) => {
      for (let isAccepted = !expected; isAccepted !== expected; ) {
        const session = await open(cert);
        isAccepted = session !== undefined;
        session?.destroy();
      }
    };
    return { plane, agent, certificate, open, until };
  }

  it('refuses a revoked certificate as revoked and takes its successor, until the identity is revoked', async () => {
    const { agent, certificate, open, until } = await meshOf();
    const [first, second] = [await certificate(), await certificate()];
    const [live, other] = [await open(first), await open(second)];
    if (live === undefined || other === undefined) throw new TypeError('a good certificate was refused');
    const closed = new Promise<void>((resolve) => live.once('close', () => resolve()));
    const { serialNumber } = new X509Certificate(first);
    await revoke('--serial', serialNumber);
    await closed;
    expect(await open(first)).toBeUndefined();
    expect(other.closed).toBe(false);
    expect(await agent.line({ reason: 'revoked' })).toMatchObject({ detail: expect.stringContaining(serialNumber) });
    await until(second, true);
    await revoke('--identity', idOf('web'));
    await until(second, false);
    await agent.line({
      reason: 'revoked',
      detail: `The client was refused: the identity ${idOf('web')} has been revoked`,
    });
    await revoke('--lift', '--identity', idOf('web'));
    await until(second, true);
    await until(first, false);
  });

  it.each([
    ['the operator', (serial: string) => revoke('--serial', serial)],
    ['a CRL of the root', (serial: string) => writeRootCrl(join(folder, 'root.crl'), [Buffer.from(serial, 'hex')], 2)],
  ])(
    'refuses all below an issuing certificate that %s has revoked, and gets another from the next one',
    async (_, by) => {
      await (await startPlane()).program.stop();
      writeRootCrl(join(folder, 'root.crl'), []);
      const { plane, agent, certificate, until } = await meshOf(`--crl=${join(folder, 'root.crl')}`);
      const chain = await certificate();
      await until(chain, true);
      const [, issuing = ''] = chain.split(/(?<=-----END CERTIFICATE-----\n)/);
      const { serialNumber } = new X509Certificate(issuing);
      await by(serialNumber);

      const { successor } = await plane.program.line({ serial: serialNumber, level: 'warn' });
      await agent.line({ msg: 'Identity renewed', generation: 3 });
      const next = await certificate();
      expect(new X509Certificate(next.slice(next.indexOf('-----END') + 26)).serialNumber).toBe(successor);
      await until(next, true);
      await until(chain, false);
    },
  );

  it('refuses everybody new while a CRL is missing where the operator chose so', async () => {
    await (await startPlane()).program.stop();
    const crl = join(folder, 'root.crl');
    const { agent, certificate, until } = await meshOf(`--crl=${crl}`, '--stale-crl=refuse');
    const chain = await certificate();
    await until(chain, false);
    expect(await agent.line({ reason: 'revoked' })).toMatchObject({
      detail: expect.stringContaining('missing or out of date'),
    });
    writeRootCrl(crl, []);
    await until(chain, true);
  });

  it('keeps the old root in a rotation while its CRL has no successor, where everybody new is refused without one', async () => {
    await (await startPlane()).program.stop();
    const crl = join(folder, 'root.crl');
    writeRootCrl(crl, []);
    const { program } = await startPlane(`--crl=${crl}`, '--stale-crl=refuse');
    const take = async (...step: readonly string[]) =>
      (await runProgram(['control-plane', 'rotate-root', ...step, `--state-dir=${state}`])).stderr;
    await take('add');
    await take('switch', '--force');
    const refusal = `Without it nobody vouches for the CRL in ${crl}, and sidecars would trust nobody new`;
    expect(await take('remove')).toContain(refusal);
    // By the root of now.
    writeRootCrl(crl, []);
    await expect.poll(() => take('remove'), { timeout: 30_000 }).not.toContain(refusal);
    expect(await take('remove')).toContain('remove is refused');
    await program.stop();
  });

  it('refuses everybody new while more is revoked than one line of its stream holds, and understands that line', async () => {
    await (await startPlane()).program.stop();
    const crl = join(folder, 'root.crl');
    writeRootCrl(crl, serialsOf(7_000));
    await revoke('--serial', '4A');
    const { plane, agent, certificate, until } = await meshOf(`--crl=${crl}`);
    const { first } = await beginning(plane, await tokenOf('db'));
    expect(first.unknown).toBe('more certificates are revoked (7001) than sidecars can be told of');
    expect(first.certificates[0]).toEqual({ serials: ['4A'] });
    expect((await page(plane.metricsPort, '/metrics')).text).toContain('remora_ca_revocations_unknown 1\n');
    const chain = await certificate();
    await until(chain, false);
    expect(await agent.line({ reason: 'revoked' })).toMatchObject({ detail: expect.stringContaining('7001') });
    writeRootCrl(crl, serialsOf(4_000), 2);
    await until(chain, true);
  });

  const serialsOf = (count: number) =>
    Array.from({ length: count }, (_, index) =>
      Buffer.concat([Buffer.of(0x4a), Buffer.alloc(15), Buffer.from([index >> 8, index & 0xff])]),
    );

  /** As an operator makes one with the key of the root. */
  function writeRootCrl(file: string, revoked: readonly Buffer[], number = 1): void {
    const read = (name: string) => readFileSync(join(state, 'authority', name), 'utf8');
    const { raw } = new X509Certificate(read('root.pem'));
    const { subject, subjectKeyId = '' } = readCertificate(raw);
    const issuer = {
      key: createPrivateKey(read('root-key.pem')),
      subject: sequence(Buffer.from(subject, 'hex')),
      subjectKeyId: Buffer.from(subjectKeyId, 'hex'),
    };
    writeFileSync(file, makeCrl({ issuer: issuer as never, revoked, number }).pem);
  }
});
