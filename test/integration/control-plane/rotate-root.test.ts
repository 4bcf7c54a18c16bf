import { X509Certificate } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CertificateReply, Report } from '../../../src/control-api.ts';
import { paths } from '../../../src/control-api.ts';
import { adminSocketIn, callAdmin } from '../../../src/control-plane/admin-client.ts';
import { createBridge, createRoot } from '../../../src/control-plane/authority.ts';
import { createAuthorityDirectory } from '../../../src/control-plane/authority-directory.ts';
import type { ControlPlane, ControlPlaneSettings } from '../../../src/control-plane/control-plane.ts';
import { controlPlaneDefaults, startControlPlane } from '../../../src/control-plane/control-plane.ts';
import { authorityPollIntervalMs } from '../../../src/control-plane/follow-authority.ts';
import { fingerprintOf } from '../../../src/control-plane/root-set.ts';
import { run as rotateRoot } from '../../../src/control-plane/rotate-root-command.ts';
import type { RotationStep } from '../../../src/control-plane/rotation-rules.ts';
import type { StepReply } from '../../../src/control-plane/rotation-status.ts';
import { rotationPaths, rotationStatus, stepReply } from '../../../src/control-plane/rotation-status.ts';
import type { Host } from '../../../src/host.ts';
import { createCsr, createKey } from '../../../src/identity/csr.ts';
import type { CapturedLog, LogLine } from '../../support/captured-log.ts';
import { captureLog } from '../../support/captured-log.ts';
import { call, openStream, webPod } from '../../support/control-plane-client.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { spiffeId } from '../../support/identities.ts';

/*
 * Goal: a root is replaced while the control plane runs, and no step is taken that would break a sidecar.
 * Method: the real control plane in this process, on a clock of the test; sidecars are calls of its API.
 */
const anyPort = { ip: '127.0.0.1', port: 0 };
const minute = 60_000;
const csr = createCsr(createKey(), spiffeId('spiffe://cluster.local/ns/shop/sa/web'));

let folder: string;
let socket: string;
let rootFile: string;
let clock: FakeClock;
let captured: CapturedLog;
const planes: ControlPlane[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'remora-rotate-'));
  socket = join(folder, 'admin.sock');
  rootFile = join(folder, 'root.pem');
  // In the past, so that time may pass: TLS compares certificates with the real one.
  clock = createFakeClock(Date.now() - 60 * minute);
  captured = captureLog();
});
afterEach(async () => {
  for (const plane of planes.splice(0)) await plane.close();
  rmSync(folder, { recursive: true });
});

async function start(keys: ControlPlaneSettings['keys'] = { kind: 'memory' }): Promise<ControlPlane> {
  const settings: ControlPlaneSettings = {
    ...controlPlaneDefaults,
    listen: anyPort,
    metricsListen: anyPort,
    certificateLifetimeMs: 10 * minute,
    keys,
    adminSocket: socket,
    writeRoot: rootFile,
  };
  const plane = await startControlPlane({ clock, log: captured.log }, settings);
  planes.push(plane);
  return plane;
}

const status = () => callAdmin(socket, rotationPaths.status, rotationStatus);
const take = (step: RotationStep, force = false) => callAdmin(socket, rotationPaths.step, stepReply, { step, force });
const whys = ({ obstacles }: Pick<StepReply, 'obstacles'>) =>
  obstacles.map(({ who, why }) => `${who ?? ''} ${why}`.trim());
const fingerprints = (pem: string) =>
  pem
    .split(/(?<=-----END CERTIFICATE-----\n)/)
    .filter((one) => one !== '')
    .map((one) => fingerprintOf(new X509Certificate(one)));
const written = () => fingerprints(readFileSync(rootFile, 'utf8'));

/** A sidecar as the control plane sees it. */
async function sidecar(plane: ControlPlane, pod = 'web-0') {
  const token = await plane.mintToken({ ...webPod, pod, lifetimeMs: 10 * 60 * minute });
  const post = (path: string, body: unknown) => call(plane, path, { token, body });
  const bundleOf = (data: unknown) => fingerprints((data as Record<string, string>)['cluster.local'] ?? '');
  return {
    /** The chain of a new certificate, and the root that signed its end. */
    async renew() {
      const { json } = await post(paths.certificates, { csr });
      const { certificateChain, trustBundles } = json as CertificateReply;
      const issuing = new X509Certificate(certificateChain.split(/(?<=-----END CERTIFICATE-----\n)/)[1] ?? '');
      const roots = Object.values(trustBundles).flatMap((pem) =>
        pem.split(/(?<=-----END CERTIFICATE-----\n)/).filter(Boolean),
      );
      const root = roots.map((pem) => new X509Certificate(pem)).find((one) => issuing.verify(one.publicKey));
      return root && fingerprintOf(root);
    },
    async report(report: Report) {
      expect((await post(paths.reports, report)).status).toBe(202);
    },
    /** Reports what it does when all is well, with every root of now. */
    async reportFine(issuedBy?: string) {
      const roots = fingerprints(plane.rootPem);
      await post(paths.reports, { issuedBy, trustedRoots: roots, controlPlaneRoots: roots, peersByRoot: [] });
    },
    /** The roots of each bundle that is pushed from now on. */
    async follow() {
      const stream = await openStream(plane, token);
      const [first] = await stream.take(3);
      return {
        first: bundleOf(first && 'data' in first ? first.data : {}),
        next: async (): Promise<string[]> => {
          for (;;) {
            const [line] = await stream.take(1);
            if (line?.topic === 'trust-bundles') return bundleOf(line.data);
          }
        },
        destroy: stream.destroy,
      };
    },
  };
}

describe('a rotation of the root', () => {
  it('B7: adds, switches and removes, tells every sidecar of each step, and refuses each before its time', async () => {
    const plane = await start();
    const [old = ''] = fingerprints(plane.rootPem);
    const web = await sidecar(plane);
    expect(await web.renew()).toBe(old);
    const stream = await web.follow();
    expect(stream.first).toEqual([old]);

    expect(await take('switch')).toMatchObject({ kind: 'impossible', why: expect.stringContaining('`add`') });
    expect(await take('add')).toMatchObject({ kind: 'done', obstacles: [] });
    const [, latest = ''] = await stream.next();
    expect(fingerprints(plane.rootPem)).toEqual([old, latest]);
    expect(written()).toEqual([old, latest]);
    expect(await web.renew()).toBe(old);

    const early = await take('switch');
    expect([early.kind, whys(early)]).toEqual([
      'refused',
      ['shop/web-0 has not confirmed that it trusts the next root, of which it was told'],
    ]);
    await web.report({ issuedBy: old, trustedRoots: [old, latest], controlPlaneRoots: [old], peersByRoot: [] });
    expect((await take('switch')).kind).toBe('done');
    expect(await web.renew()).toBe(latest);
    expect(written()).toEqual([old, latest]);

    const untilMs = clock.now() + 10 * minute;
    const needed = await take('remove');
    expect(needed.kind).toBe('refused');
    expect(whys(needed)).toEqual([
      expect.stringMatching(/^shop\/web-0 has a certificate under it until /),
      'shop/web-0 reports that its own certificate is under it',
      'shop/web-0 trusts the control plane by a CA file without the issuing root',
    ]);
    await web.report({
      issuedBy: latest,
      trustedRoots: [old, latest],
      controlPlaneRoots: [old, latest],
      peersByRoot: [{ root: old, peers: 2 }],
    });
    expect(whys(await take('remove'))).toEqual([
      expect.stringMatching(/^shop\/web-0 has a certificate under it until /),
      'shop/web-0 reports 2 peers under it',
    ]);
    await web.reportFine(latest);
    await clock.advance(untilMs - clock.now());
    expect((await take('remove')).kind).toBe('done');
    expect(await stream.next()).toEqual([latest]);
    expect([fingerprints(plane.rootPem), written()]).toEqual([[latest], [latest]]);
    expect((await status()).next).toMatchObject({ step: 'add', obstacles: [] });
    stream.destroy();
  });

  it('shows a certificate that both roots prove until the old one is removed, to new and to open ports', async () => {
    const plane = await start();
    const old = plane.rootPem;
    await take('add');
    await take('switch');
    const latest = plane.rootPem.slice(old.length);
    const asks = (rootPem: string) => call({ ...plane, apiAddress: plane.apiAddress, rootPem }, paths.health);
    expect((await asks(old)).status).toBe(200);
    expect((await asks(latest)).status).toBe(200);
    await take('remove');
    expect((await asks(latest)).status).toBe(200);
    await expect(asks(old)).rejects.toThrow(/certificate/);
  });

  it('publishes all roots as the SPIFFE bundle, with a sequence that grows', async () => {
    const plane = await start();
    const bundle = async () => (await call(plane, paths.bundle)).json as { keys: unknown[]; spiffe_sequence: number };
    const shown = [await bundle()];
    for (const step of ['add', 'switch', 'remove'] as const) {
      await take(step);
      shown.push(await bundle());
    }
    expect(shown.map(({ keys }) => keys.length)).toEqual([1, 2, 2, 1]);
    const sequences = shown.map(({ spiffe_sequence: sequence }) => sequence);
    expect(sequences).toEqual([...new Set(sequences)].sort((a, b) => a - b));
  });

  it('counts the roots, and tells the end of the one that issues, as metrics', async () => {
    const plane = await start();
    const { ip, port } = plane.metricsAddress;
    const value = async (name: string) =>
      Number(new RegExp(`^${name} (.*)$`, 'm').exec(await (await fetch(`http://${ip}:${port}/metrics`)).text())?.[1]);
    expect(await value('remora_ca_roots')).toBe(1);
    const before = await value('remora_ca_root_not_after_timestamp_seconds');
    await clock.advance(minute);
    await take('add');
    expect([await value('remora_ca_roots'), await value('remora_ca_root_not_after_timestamp_seconds')]).toEqual([
      2,
      before,
    ]);
    await take('switch');
    expect(await value('remora_ca_root_not_after_timestamp_seconds')).toBe(before + 60);
  });

  it('does what is forced, and says whom it breaks', async () => {
    const plane = await start();
    const web = await sidecar(plane);
    await web.renew();
    await take('add');
    expect((await take('switch')).kind).toBe('refused');
    const forced = await take('switch', true);
    expect([forced.kind, whys(forced)]).toEqual(['done', [expect.stringContaining('no stream on which to tell it')]]);
    expect(await captured.next('Root rotated')).toMatchObject({ step: 'add', forced: false, broken: 0 });
    expect(await captured.next('Root rotated')).toMatchObject({ step: 'switch', forced: true, broken: 1 });
    expect((await take('remove', true)).kind).toBe('done');
    // No force makes a step possible that is none.
    expect((await take('remove', true)).kind).toBe('impossible');
  });

  it('asks a sidecar as long as it has a stream, and no longer', async () => {
    const plane = await start();
    const stream = await (await sidecar(plane)).follow();
    await take('add');
    expect((await take('switch')).kind).toBe('refused');
    stream.destroy();
    await expect.poll(async () => (await status()).next.obstacles).toEqual([]);
    expect((await take('switch')).kind).toBe('done');
  });

  it('is aborted before the switch, and not after it', async () => {
    const plane = await start();
    const before = plane.rootPem;
    await take('add');
    expect((await take('abort')).kind).toBe('done');
    expect(plane.rootPem).toBe(before);
    await take('add');
    await take('switch');
    expect((await take('abort', true)).kind).toBe('impossible');
  });

  it('takes one step at a time', async () => {
    await start({ kind: 'state', directory: join(folder, 'state') });
    const kinds = (await Promise.all([take('add'), take('add'), take('add')])).map(({ kind }) => kind);
    expect(kinds.sort()).toEqual(['done', 'impossible', 'impossible']);
  });
});

describe('a rotation that outlives the control plane', () => {
  const state = (): ControlPlaneSettings['keys'] => ({ kind: 'state', directory: join(folder, 'state') });
  const restart = async () => {
    await planes.pop()?.close();
    return start(state());
  };

  it('goes on in the phase that it was in, and trusts every root meanwhile', async () => {
    const first = await start(state());
    const [old] = fingerprints(first.rootPem);
    await take('add');
    const added = await restart();
    const both = fingerprints(added.rootPem);
    expect([both[0], both.length, (await status()).next.step]).toEqual([old, 2, 'switch']);
    expect(await (await sidecar(added)).renew()).toBe(old);
    await take('switch', true);
    const switched = await restart();
    expect([fingerprints(switched.rootPem), (await status()).next.step, written()]).toEqual([both, 'remove', both]);
    expect(await (await sidecar(switched)).renew()).toBe(both[1]);
    // Whoever trusts the old root alone believes the control plane still.
    const rootPem = new X509Certificate(first.rootPem).toString();
    expect((await call({ ...switched, apiAddress: switched.apiAddress, rootPem }, paths.health)).status).toBe(200);
    await take('remove', true);
    const removed = await restart();
    expect([fingerprints(removed.rootPem), (await status()).next.step]).toEqual([[both[1]], 'add']);
    const said = captured.lines.filter(({ msg }) => msg === 'Control plane ready');
    expect(said.map(({ rotation }) => rotation)).toEqual(['steady', 'added', 'switched', 'steady']);
    expect(said.map(({ rootFingerprint }) => rootFingerprint)).toEqual([old, old, both[1], both[1]]);
    expect(readdirSync(join(folder, 'state/authority')).sort()).toEqual(['root-key.pem', 'root.pem', 'token-key.pem']);
  });

  it('knows nothing of certificates from before, and refuses what depends on them until they have ended', async () => {
    await start(state());
    await take('add');
    await restart();
    const unknown = /^Certificates from before this control plane started are not known, and may be in use until /;
    const early = await take('switch');
    expect([early.obstacles[0]?.who, whys(early)]).toEqual([null, [expect.stringMatching(unknown)]]);
    await clock.advance(10 * minute);
    expect((await take('switch')).kind).toBe('done');
    await restart();
    expect(whys(await take('remove'))).toEqual([expect.stringMatching(unknown)]);
    await clock.advance(10 * minute);
    expect((await take('remove')).kind).toBe('done');
  });

  it('takes no step on files that cannot be read, and says which', async () => {
    const plane = await start(state());
    const before = plane.rootPem;
    const inTheWay = join(folder, 'state/authority/next-root.pem/x');
    mkdirSync(inTheWay, { recursive: true });
    await expect(take('add')).rejects.toThrow(/next-root\.pem/);
    expect(plane.rootPem).toBe(before);
    rmSync(join(inTheWay, '..'), { recursive: true });
    expect((await take('add')).kind).toBe('done');
  });

  it('takes no step on files that hold other roots than those that were judged', async () => {
    const plane = await start(state());
    await take('add');
    const before = plane.rootPem;
    const { certificate, key } = createRoot('cluster.local', clock.now());
    writeFileSync(join(folder, 'state/authority/next-root.pem'), certificate.toString());
    const pem = key.export({ type: 'pkcs8', format: 'pem' });
    writeFileSync(join(folder, 'state/authority/next-root-key.pem'), pem);
    expect(await take('switch', true)).toMatchObject({
      kind: 'impossible',
      why: `${join(folder, 'state/authority')} holds other roots than those in use; a restart uses them`,
    });
    expect(plane.rootPem).toBe(before);
    expect(fingerprints((await restart()).rootPem)).toEqual([fingerprints(before)[0], fingerprintOf(certificate)]);
  });

  it('is of one control plane at a time, wherever their sockets are', async () => {
    const plane = await start(state());
    const first = socket;
    socket = join(folder, 'other.sock');
    await expect(start(state())).rejects.toMatchObject({
      exitCode: 1,
      message: `A control plane that runs already has ${join(folder, 'state/authority')}, expected one for each state directory`,
    });
    await plane.close();
    await start(state());
    socket = first;
  });
});

describe('an authority that somebody else keeps', () => {
  const kept = () => join(folder, 'kept');
  const put = (name: string, text: string | Buffer) => {
    writeFileSync(join(folder, 'draft'), text, { mode: 0o600 });
    renameSync(join(folder, 'draft'), join(kept(), name));
  };
  const read = (name: string) => readFileSync(join(kept(), name), 'utf8');
  /** The files are looked at when time passes, and read while it stands still. */
  const lookAgain = async (message = 'Roots read again') => {
    let line: LogLine | undefined;
    void captured.next(message).then((found) => {
      line = found;
    });
    const look = async () => {
      await clock.advance(authorityPollIntervalMs / 100);
      return line;
    };
    await expect.poll(look, { timeout: 20_000, interval: 10 }).toBeDefined();
    return line;
  };

  it('says what to change by hand after the same checks, and uses it when it has changed', async () => {
    await createAuthorityDirectory(kept(), 'cluster.local', clock.now());
    await createAuthorityDirectory(join(folder, 'made'), 'cluster.local', clock.now());
    const plane = await start({ kind: 'authority', directory: kept() });
    const [old = ''] = fingerprints(plane.rootPem);
    const add = await take('add');
    expect([add.kind, add.todo.join('\n')]).toEqual(['by-hand', expect.stringContaining('next-root-key.pem')]);
    expect(add.todo.slice(0, 2)).toEqual([
      'Make the next root: remora authority ./next --trust-domain cluster.local',
      `In ${kept()}, all at once:`,
    ]);
    put('next-root-key.pem', readFileSync(join(folder, 'made/root-key.pem')));
    put('next-root.pem', readFileSync(join(folder, 'made/root.pem')));
    expect(await lookAgain()).toMatchObject({ phase: 'added', issuing: old });
    const both = fingerprints(plane.rootPem);
    expect([both.length, written()]).toEqual([2, both]);

    expect((await take('switch')).kind).toBe('refused');
    await clock.advance(10 * minute);
    const change = await take('switch');
    expect(change.kind).toBe('by-hand');
    put('bridge.pem', `${change.todo.find((line) => line.startsWith('-----BEGIN'))}\n`);
    put('previous-root.pem', read('root.pem'));
    put('root-key.pem', read('next-root-key.pem'));
    put('root.pem', read('next-root.pem'));
    for (const name of ['next-root.pem', 'next-root-key.pem']) rmSync(join(kept(), name));
    expect(await lookAgain()).toMatchObject({ phase: 'switched', issuing: both[1] });
    expect(fingerprints(plane.rootPem)).toEqual(both);
    const rootPem = read('previous-root.pem');
    expect((await call({ ...plane, apiAddress: plane.apiAddress, rootPem }, paths.health)).status).toBe(200);

    expect((await take('remove')).todo.join()).toContain('previous-root.pem');
    for (const name of ['previous-root.pem', 'bridge.pem']) rmSync(join(kept(), name));
    expect(await lookAgain()).toMatchObject({ phase: 'steady' });
    expect(fingerprints(plane.rootPem)).toEqual([both[1]]);
  });

  it('stays with its roots when those of the files are bad, or issue without having been trusted before', async () => {
    await createAuthorityDirectory(kept(), 'cluster.local', clock.now());
    await createAuthorityDirectory(join(folder, 'made'), 'cluster.local', clock.now());
    const plane = await start({ kind: 'authority', directory: kept() });
    const before = plane.rootPem;
    const failed = 'The roots cannot be read again, those in use stay';
    put(
      'next-root.pem',
      createBridge(
        new X509Certificate(read('root.pem')),
        createRoot('cluster.local', clock.now()),
        clock.now(),
      ).toString(),
    );
    expect(await lookAgain(failed)).toMatchObject({
      why: expect.stringContaining('next-root.pem cannot be in a trust'),
    });
    expect((await status()).next.step).toBe('add');
    rmSync(join(kept(), 'next-root.pem'));
    put('root-key.pem', readFileSync(join(folder, 'made/root-key.pem')));
    expect(await lookAgain(failed)).toMatchObject({ why: expect.stringContaining('another key') });
    put('root.pem', readFileSync(join(folder, 'made/root.pem')));
    expect(await lookAgain(failed)).toMatchObject({ why: expect.stringContaining('no sidecar trusts yet') });
    expect(plane.rootPem).toBe(before);
  });
});

describe('the admin socket', () => {
  it('is for this user alone, and gone when the control plane is', async () => {
    const plane = await start();
    expect(statSync(socket).mode & 0o7777).toBe(0o600);
    expect(readdirSync(folder).filter((name) => name.startsWith('.admin-'))).toEqual([]);
    await plane.close();
    expect(existsSync(socket)).toBe(false);
  });

  it('takes the place of one that a killed control plane left, and never of one that answers', async () => {
    writeFileSync(socket, '');
    const plane = await start();
    const second = start({ kind: 'memory' });
    await expect(second).rejects.toThrow(/A control plane that runs already has .*admin\.sock/);
    expect((await status()).roots).toHaveLength(1);
    await plane.close();
  });

  it('refuses a path that is too long for a socket', async () => {
    socket = join(folder, 'x'.repeat(100), 'admin.sock');
    await expect(start()).rejects.toThrow(/bytes too long for a socket, expected a place of it with --admin-socket/);
  });

  it('answers what is no call with a problem, and a client that says nothing holds up nobody', async () => {
    await start();
    const silent = connect(socket);
    await expect(callAdmin(socket, '/other', rotationStatus)).rejects.toThrow(/could not do it: Expected one of/);
    await expect(callAdmin(socket, rotationPaths.step, stepReply, { step: 'burn' })).rejects.toThrow(/Expected/);
    expect((await status()).roots).toHaveLength(1);
    silent.destroy();
  });
});

describe('remora control-plane rotate-root', () => {
  async function command(...args: string[]) {
    let stdout = '';
    const output = new Writable({
      write(chunk: Buffer, _, done) {
        stdout += chunk.toString();
        done();
      },
    });
    const host = { args, stdout: output, stderr: output } as unknown as Host;
    const result = await rotateRoot(host).catch((error: unknown) => error as Error & { exitCode: number });
    const failed = typeof result === 'number' ? undefined : result;
    return { code: failed?.exitCode ?? result, stdout, message: failed?.message ?? '' };
  }
  const here = (...args: string[]) => command(...args, `--admin-socket=${socket}`);

  it('shows the roots, what comes next, and who stands in the way', async () => {
    const plane = await start();
    const [old = ''] = fingerprints(plane.rootPem);
    const shown = await here();
    expect(shown).toMatchObject({ code: 0, stdout: expect.stringContaining(`issuing  ${old.slice(0, 16)}`) });
    expect(shown.stdout).toMatch(/ {2}sidecars {2}most peers\n/);
    expect(shown.stdout).toMatch(/Next: add, nothing stands in its way\n$/);
    expect(await here('add')).toMatchObject({ code: 0, stdout: expect.stringContaining('trusted from now on') });
    await (await sidecar(plane)).renew();
    const refused = await here('switch');
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.message).toMatch(
      /^switch is refused because of one reason; --force does it all the same, and breaks these:\n {2}shop\/web-0 has not confirmed/,
    );
    expect((await here('status')).stdout).toMatch(/it is refused now, because of one reason:\n {2}shop\/web-0/);
    const forced = await here('switch', '--force');
    expect(forced).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('They refuse every certificate under it until'),
    });
    expect(forced.stdout).toContain('the key of the previous one is gone');
    // One name for it within one output, and no other one than the table has.
    for (const text of [refused.message, forced.stdout, (await here()).stdout]) expect(text).not.toContain('new root');
    expect((await command('--help')).stdout).toMatch(
      /--force +take the step although it breaks those whom the refusal/,
    );
  });

  it('prints JSON, with the same exit codes', async () => {
    const plane = await start();
    expect(JSON.parse((await here('--json')).stdout)).toMatchObject({ kept: 'memory', next: { step: 'add' } });
    const refused = await here('remove', '--json');
    expect([refused.code, JSON.parse(refused.stdout)]).toMatchObject([1, { kind: 'impossible' }]);
    const taken = await here('add', '--json');
    expect(JSON.parse(taken.stdout)).not.toHaveProperty('forced');
    await (await sidecar(plane)).renew();
    await here('switch', '--force');
    const forced = await here('remove', '--force', '--json');
    expect(JSON.parse(forced.stdout)).toMatchObject({ kind: 'done', forced: true });
  });

  it('waits until every sidecar trusts the next root, and until a step is refused no more', async () => {
    const plane = await start();
    const web = await sidecar(plane);
    await web.renew();
    const adding = here('add', '--wait=1h');
    await expect.poll(() => fingerprints(plane.rootPem).length).toBe(2);
    await web.reportFine();
    expect((await adding).code).toBe(0);
    expect((await here('switch')).code).toBe(0);
    const removing = here('remove', '--wait=1h');
    await web.renew();
    await web.reportFine();
    await clock.advance(10 * minute);
    expect((await removing).code).toBe(0);
    expect(fingerprints(plane.rootPem)).toHaveLength(1);
  });

  it('says after its wait that somebody still does not trust the next root', async () => {
    const plane = await start();
    await (await sidecar(plane)).renew();
    const waited = await here('add', '--wait=10ms');
    expect(waited).toMatchObject({ code: 1, stdout: expect.stringContaining('shop/web-0 has not confirmed') });
  });

  it('does not wait for what is to be added by hand, and never says that it is there', async () => {
    const kept = join(folder, 'kept');
    await createAuthorityDirectory(kept, 'cluster.local', clock.now());
    await start({ kind: 'authority', directory: kept });
    const byHand = expect.stringContaining('this is to be done by hand');
    expect(await here('add')).toMatchObject({ code: 0, stdout: byHand });
    expect(await here('add', '--wait=1h')).toMatchObject({ code: 1, stdout: byHand });
    expect(await here('add', '--wait=1h', '--json')).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('by-hand'),
    });
  });

  it('says after its wait that somebody has taken the next root back', async () => {
    const plane = await start();
    await (await sidecar(plane)).renew();
    const adding = here('add', '--wait=1h');
    await expect.poll(() => fingerprints(plane.rootPem).length).toBe(2);
    await take('abort');
    expect(await adding).toEqual({ code: 1, stdout: '', message: 'The next root was taken back meanwhile' });
  });

  it('says in one sentence that no control plane runs, and exits with 69', async () => {
    const none = (path: string) =>
      `No control plane answers at ${path}: see whether it runs and how its log ends, or name the socket of the one that runs`;
    expect(await here('add')).toEqual({ code: 69, stdout: '', message: none(socket) });
    writeFileSync(socket, '');
    expect(await here()).toMatchObject({ code: 69, message: none(socket) });
    const directory = join(folder, 'state');
    const answer = await command('status', `--state-dir=${directory}`);
    expect(answer).toMatchObject({ code: 69, message: none(adminSocketIn(directory)) });
  });

  it.each([
    [['burn'], /'burn' is no step, expected status, add, switch, remove, abort/],
    [['status', '--force'], /--force and --wait are for the steps/],
    [['--wait=1m'], /--force and --wait are for the steps/],
    [['add', '--force', '--wait=1m'], /one of --force and --wait/],
    [['add', '--wait=soon'], /--wait is 'soon'/],
    [['add', '--wait=8d'], /--wait is '8d'/],
  ])('refuses %j', async (args, expected) => {
    expect(await here(...args)).toMatchObject({ code: 2, message: expect.stringMatching(expected) });
  });

  it('needs to know which control plane', async () => {
    expect(await command('status')).toMatchObject({ code: 2, message: expect.stringContaining('one of --state-dir') });
  });
});
