import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CrlFileParts, CrlFiles } from '../../../src/agent/crl-files.ts';
import { startCrlFiles } from '../../../src/agent/crl-files.ts';
import { startFileIdentity } from '../../../src/agent/identity-sources/files.ts';
import { createPatientReader, patienceMs } from '../../../src/agent/patient-reader.ts';
import { readBoundedFile } from '../../../src/bounded-file.ts';
import { systemClock } from '../../../src/clock.ts';
import type { WatchFiles } from '../../../src/file-watch.ts';
import { readCertificate } from '../../../src/identity/certificate.ts';
import { crlLimits } from '../../../src/identity/crl.ts';
import type { CapturedLog } from '../../support/captured-log.ts';
import { captureLog } from '../../support/captured-log.ts';
import type { MadeCertificate } from '../../support/certificates.ts';
import { makeAuthority } from '../../support/certificates.ts';
import type { CrlSpec } from '../../support/crls.ts';
import { makeCrl } from '../../support/crls.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { bundlesOf, createTestAuthority, createTestIdentity, spiffeId } from '../../support/identities.ts';

const mesh = createTestAuthority('cluster.local');
const identity = createTestIdentity(mesh, { namespace: 'shop', serviceAccount: 'web' });
const [alice, bob] = ['alice', 'bob'].map((name) => mesh.issue({ id: `ns/shop/sa/${name}` }).certificate);
const second = 1000;
const hour = 3_600_000;
const refused = 'Revocation list cannot be used, or is out of date; those in force stay';

let directory: string;
let file: string;
let clock: FakeClock;
let captured: CapturedLog;
let crls: CrlFiles | undefined;
let change: () => void;
const watchByHand: WatchFiles = (_, onChange) => {
  change = onChange;
  return () => undefined;
};

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'remora-crls-'));
  file = join(directory, 'crl.pem');
  clock = createFakeClock(Math.floor(Date.now() / 1000) * 1000);
  captured = captureLog();
  crls = undefined;
});

afterEach(async () => {
  await crls?.close();
  await rm(directory, { recursive: true });
});

const crl = (revoked: readonly MadeCertificate[] = [], spec: Partial<CrlSpec> = {}) =>
  makeCrl({ issuer: mesh.root, revoked, ...spec }).pem;

async function start(
  settings: { crlFiles?: readonly string[]; staleCrl?: 'accept' | 'refuse' } = {},
  parts: Partial<CrlFileParts> = {},
): Promise<CrlFiles> {
  crls = startCrlFiles(
    { clock, log: captured.log, watch: watchByHand, readFile, ...parts },
    { crlFiles: [file], staleCrl: 'accept', pollIntervalMs: 10 * second, ...settings },
  );
  await crls.read;
  crls.judgeBy(identity);
  return crls;
}

const isRevoked = (certificate: MadeCertificate | undefined) => {
  const { serial, issuer } = readCertificate(certificate!.der);
  return crls!.current().whyRevoked({ spiffeId: identity.spiffeId, certificates: [{ serial, issuer }] }) !== undefined;
};
const problems = () => captured.lines.filter(({ msg }) => msg === refused).map(({ detail }) => String(detail));

/** A change that is told of, and the look that follows. */
async function replaced(text: string | Buffer): Promise<void> {
  await writeFile(file, text);
  await looked();
}

/** Without a deadline: its timer would be taken for that of the next look. */
const readFile = (path: string) => readBoundedFile(path, crlLimits.bytes);

/** Reading files takes real time, which the fake clock knows nothing of: the look is over when the next one is waited for. */
async function looked(): Promise<void> {
  change();
  await clock.advance(200);
  const settled = Promise.withResolvers<void>();
  const isIdle = () => {
    if (clock.pending > 0) settled.resolve();
    else setImmediate(isIdle);
  };
  isIdle();
  await settled.promise;
}

describe('revocation lists in files', () => {
  it('are in force as soon as it is known who may sign them', async () => {
    await writeFile(file, crl([alice!]));
    crls = startCrlFiles(
      { clock, log: captured.log, watch: watchByHand },
      { crlFiles: [file], staleCrl: 'accept', pollIntervalMs: 10 * second },
    );
    await crls.read;
    expect(isRevoked(alice)).toBe(false);
    let told = 0;
    crls.subscribe(() => {
      told += 1;
    });
    crls.judgeBy(identity);
    expect(told).toBe(1);
    expect([isRevoked(alice), isRevoked(bob)]).toEqual([true, false]);
    crls.judgeBy(identity);
    expect(told).toBe(1);
  });

  it('are read again when they change, in DER as well, and each poll', async () => {
    await writeFile(file, crl([alice!]));
    await start();
    await replaced(makeCrl({ issuer: mesh.root, revoked: [alice!, bob!], number: 2 }).der);
    expect(isRevoked(bob)).toBe(true);
    await writeFile(file, crl([], { number: 3 }));
    const next = captured.next('Revocation lists in force');
    await clock.advance(10 * second);
    await next;
    expect(problems()).toEqual([]);
  });

  it('are of several files together', async () => {
    const other = join(directory, 'other.pem');
    const partner = makeAuthority({ subject: 'below', issuer: mesh.root });
    await writeFile(file, crl([alice!]));
    await writeFile(other, makeCrl({ issuer: partner, revoked: [bob!] }).pem + partner.pem);
    await start({ crlFiles: [file, other] });
    expect(isRevoked(alice)).toBe(true);
    expect(isRevoked(bob)).toBe(false);
    expect(captured.lines.at(-1)).toMatchObject({ lists: 2, revoked: 2 });
  });

  it.each<[string, () => string, RegExp]>([
    ['half of itself', () => crl([alice!, bob!], { number: 2 }).slice(0, -40), /crl\.pem: The CRLs cannot be read: /],
    [
      'one that another key signed',
      () => crl([], { number: 2, signer: makeAuthority() }),
      /is not signed by an authority/,
    ],
    ['an older one', () => crl([], { number: 0 }), /is older than the one in force/],
    ['nothing', () => '', /There is no CRL/],
  ])('stay in force when the file becomes %s, and one line says so', async (_, text, words) => {
    await writeFile(file, crl([alice!]));
    await start();
    await replaced(text());
    await looked();
    await looked();
    expect(isRevoked(alice)).toBe(true);
    expect(problems()).toEqual([expect.stringMatching(words)]);
    expect(problems()[0]).toContain(file);
    await replaced(crl([bob!], { number: 3 }));
    expect([isRevoked(alice), isRevoked(bob)]).toEqual([false, true]);
    expect(problems()).toHaveLength(1);
  });

  it('stay in force when the file is gone', async () => {
    await writeFile(file, crl([alice!]));
    await start({ staleCrl: 'refuse' });
    await rm(file);
    await looked();
    expect(isRevoked(alice)).toBe(true);
    expect(crls!.current().unknown).toBeUndefined();
    expect(problems()).toEqual([expect.stringMatching(/cannot be read \(ENOENT\)/)]);
  });

  it('are known as soon as a root that may sign them is', async () => {
    const other = createTestAuthority('cluster.local');
    const theirs = other.issue({ id: 'ns/shop/sa/x' }).certificate;
    await writeFile(file, makeCrl({ issuer: other.root, revoked: [theirs] }).pem);
    await start();
    expect(isRevoked(theirs)).toBe(false);
    expect(problems()).toHaveLength(1);
    crls!.judgeBy({ ...identity, bundles: bundlesOf({ ...mesh, bundlePem: mesh.bundlePem + other.bundlePem }) });
    expect(isRevoked(theirs)).toBe(true);
  });

  it('are replaced by a swap of symbolic links, as the kubelet makes it', async () => {
    for (const [folder, revoked, number] of [
      ['one', [alice!], 1],
      ['two', [bob!], 2],
    ] as const) {
      await mkdir(join(directory, folder));
      await writeFile(join(directory, folder, 'crl.pem'), crl(revoked, { number }));
    }
    await symlink('one', join(directory, '..data'));
    await symlink('..data/crl.pem', file);
    await start({}, { clock: systemClock, watch: (await import('../../../src/file-watch.ts')).watchFiles });
    expect(isRevoked(alice)).toBe(true);
    await captured.next('Revocation lists in force');
    const next = captured.next('Revocation lists in force');
    await symlink('two', join(directory, '..data_tmp'));
    await rename(join(directory, '..data_tmp'), join(directory, '..data'));
    await next;
    expect([isRevoked(alice), isRevoked(bob)]).toEqual([false, true]);
  });
});

it('a list on a disk that hangs keeps nobody from starting', async () => {
  const hung = createPatientReader(clock, crlLimits.bytes, () => new Promise(() => undefined));
  const starting = start({ staleCrl: 'refuse' }, { readFile: hung });
  await clock.advance(patienceMs);
  const { current } = await starting;
  expect(current().unknown).toBe(`it is not known who is revoked: ${file} cannot be read within ${patienceMs} ms`);
});

describe('a list that is missing or out of date', () => {
  it('C29: leaves everybody trusted who is on no list, when stale lists are accepted', async () => {
    await start({ staleCrl: 'accept' });
    expect(crls!.current().unknown).toBeUndefined();
    expect(problems()).toEqual([expect.stringMatching(/ENOENT/)]);
    await replaced(crl([alice!], { nextUpdateMs: clock.now() + hour }));
    await clock.advance(2 * hour);
    expect(crls!.current().unknown).toBeUndefined();
    expect([isRevoked(alice), isRevoked(bob)]).toEqual([true, false]);
  });

  it('C29: leaves nobody new trusted when they are refused, from the last instant on until a newer one is there', async () => {
    await start({ staleCrl: 'refuse' });
    expect(crls!.current().unknown).toMatch(/^it is not known who is revoked: .*crl\.pem cannot be read \(ENOENT\)$/);
    const endMs = clock.now() + hour;
    await replaced(crl([alice!], { nextUpdateMs: endMs }));
    expect(crls!.current().unknown).toBeUndefined();
    clock.stepWall(endMs - 1 - clock.now());
    expect(crls!.current().unknown).toBeUndefined();
    clock.stepWall(1);
    expect(crls!.current().unknown).toMatch(/crl\.pem: a newer list was due at /);
    await looked();
    expect(problems().at(-1)).toMatch(/a newer list was due at /);
    await replaced(crl([alice!], { number: 2, nextUpdateMs: endMs + hour }));
    expect(crls!.current().unknown).toBeUndefined();
  });

  it('C29: is one that nobody signed who may, too', async () => {
    await writeFile(file, crl([], { signer: makeAuthority() }));
    await start({ staleCrl: 'refuse' });
    expect(crls!.current().unknown).toMatch(/is not signed by an authority that a root vouches for$/);
  });

  it('C29: is not one that is no longer in its file: an authority that is gone makes no new ones', async () => {
    const old = makeAuthority({ subject: 'old', issuer: mesh.root });
    const theirs = makeCrl({ issuer: old, nextUpdateMs: clock.now() + hour }).pem + old.pem;
    await writeFile(file, crl([], { nextUpdateMs: clock.now() + 3 * hour }) + theirs);
    await start({ staleCrl: 'refuse' });
    await replaced(crl([], { number: 2, nextUpdateMs: clock.now() + 3 * hour }));
    clock.stepWall(2 * hour);
    expect(crls!.current().unknown).toBeUndefined();
  });

  it('C29: is none at all where the list names no end', async () => {
    await writeFile(file, crl([], { nextUpdateMs: 'absent' }));
    await start({ staleCrl: 'refuse' });
    clock.stepWall(1000 * hour);
    expect(crls!.current().unknown).toBeUndefined();
  });
});

describe('our own certificate in files', () => {
  it('is over when a list names it, and is replaced by the next one in the files', async () => {
    const paths = {
      certificateFile: join(directory, 'tls.crt'),
      keyFile: join(directory, 'tls.key'),
      bundleFile: join(directory, 'ca.crt'),
    };
    const issue = async () => {
      const { certificate, chainPem, key } = mesh.issue({ id: 'ns/shop/sa/web' });
      await writeFile(paths.bundleFile, mesh.bundlePem);
      await writeFile(paths.keyFile, key.export({ type: 'pkcs8', format: 'pem' }));
      await writeFile(paths.certificateFile, chainPem);
      return certificate;
    };
    const first = await issue();
    await writeFile(file, crl());
    await start();
    const failures: string[] = [];
    let onFailure: (message: string) => void = () => undefined;
    const observer = {
      renewed: () => undefined,
      renewalFailed(_: string, { message }: Error) {
        failures.push(message);
        onFailure(message);
      },
      bundlesRefused: () => undefined,
    };
    const source = await startFileIdentity(
      { clock: systemClock, revocations: crls!, observer },
      {
        ...paths,
        trustDomain: 'cluster.local',
        expected: spiffeId('spiffe://cluster.local/ns/shop/sa/web'),
        federatedBundles: [],
        pollIntervalMs: 100,
      },
      new AbortController().signal,
    );
    try {
      await replaced(crl([first], { number: 2 }));
      expect(source.current().notAfterMs).toBeLessThanOrEqual(Date.now());
      expect(source.renewal().lastFailure?.message).toMatch(/on the revocation list of its issuer/);
      expect(failures).toEqual([expect.stringMatching(/^No peer accepts the certificate: /)]);
      const next = new Promise((resolve) => source.subscribe(resolve));
      const second = await issue();
      await next;
      expect(source.current().notAfterMs).toBeGreaterThan(Date.now());
      const third = mesh.issue({ id: 'ns/shop/sa/web' });
      await replaced(crl([first, second, third.certificate], { number: 3 }));
      const { serial } = readCertificate(third.certificate.der);
      const refusedNext = new Promise<void>((resolve) => {
        onFailure = (message) => message.includes(serial) && resolve();
      });
      await writeFile(paths.keyFile, third.key.export({ type: 'pkcs8', format: 'pem' }));
      await writeFile(paths.certificateFile, third.chainPem);
      await refusedNext;
      expect(failures.at(-1)).toMatch(/^No peer accepts the certificate: /);
      expect(source.current().notAfterMs).toBeLessThanOrEqual(Date.now());
    } finally {
      await source.close();
    }
  });
});
