import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  lockStateDirectory,
  openStateDirectory,
  readStateDirectory,
} from '../../../src/control-plane/state-directory.ts';
import { ecKey, makeAuthority, makeCertificate, rsaKey } from '../../support/certificates.ts';

const nowMs = Date.now();
let directory: string;
beforeEach(() => {
  directory = join(mkdtempSync(join(tmpdir(), 'remora-state-')), 'state');
});
afterEach(() => rmSync(join(directory, '..'), { recursive: true }));

const open = (trustDomain = 'cluster.local', atMs = nowMs) => openStateDirectory(directory, trustDomain, atMs);
const path = (name: string) => join(directory, 'authority', name);
const modeOf = (file: string) => (statSync(file).mode & 0o777).toString(8);
const pemOf = (key: ReturnType<typeof ecKey>) => key.export({ type: 'pkcs8', format: 'pem' });

/** The problems of the next start. */
async function problems(trustDomain?: string, atMs?: number): Promise<readonly string[]> {
  const error: unknown = await open(trustDomain, atMs).catch((reason: unknown) => reason);
  expect(error).toMatchObject({ name: 'ConfigurationError', exitCode: 78 });
  return (error as { problems: readonly string[] }).problems;
}

it('keeps root and token key for the next run', async () => {
  const first = await open();
  const second = await open();
  expect(second.root.certificate.fingerprint256).toBe(first.root.certificate.fingerprint256);
  expect(second.root.key.equals(first.root.key)).toBe(true);
  expect((await readStateDirectory(directory)).tokenKey.equals(first.tokenKey)).toBe(true);
});

it('makes folders with mode 0700 and files with mode 0600', async () => {
  await open();
  expect([modeOf(directory), modeOf(path(''))]).toEqual(['700', '700']);
  expect(readdirSync(path('')).map((name) => [name, modeOf(path(name))])).toEqual([
    ['root-key.pem', '600'],
    ['root.pem', '600'],
    ['token-key.pem', '600'],
  ]);
});

it('R22: begins anew after a start that was killed while it wrote, and removes what that left', async () => {
  mkdirSync(join(directory, '.authority-killed'), { recursive: true });
  writeFileSync(join(directory, '.authority-killed', 'root-key.pem'), 'half of a k');
  await open();
  expect(readdirSync(directory)).toEqual(['authority']);
});

it('is of one control plane at a time, from before its keys are there', async () => {
  const lock = () => lockStateDirectory(directory, 'cluster.local', nowMs);
  const first = await lock();
  await expect(lock()).rejects.toMatchObject({
    name: 'FailureError',
    message: `A control plane that runs already has ${path('')}, expected one for each state directory`,
  });
  await open();
  await first.close();
  await (await lock()).close();
});

it('gives two control planes that start at the same time one authority', async () => {
  const keys = await Promise.all([open(), open(), open(), open()]);
  expect(new Set(keys.map(({ root }) => root.certificate.fingerprint256)).size).toBe(1);
});

describe('refuses to start', () => {
  beforeEach(async () => void (await open()));

  it.each(['root-key.pem', 'token-key.pem'])('when others can read %s', async (name) => {
    chmodSync(path(name), 0o640);
    expect(await problems()).toEqual([`${path(name)} can be read by others (mode 0640), expected 0600`]);
  });

  it('when others can write the folder', async () => {
    chmodSync(path(''), 0o777);
    expect(await problems()).toEqual([
      `${join(directory, 'authority')} can be written by others (mode 0777), expected 0700`,
    ]);
  });

  it.each(['root-key.pem', 'root.pem', 'token-key.pem'])('when %s is missing', async (name) => {
    rmSync(path(name));
    expect(await problems()).toEqual([expect.stringContaining(`${path(name)} is missing, restore it, or move`)]);
  });

  it('when every file is broken, and names each without quoting it', async () => {
    for (const name of ['root-key.pem', 'root.pem', 'token-key.pem']) {
      writeFileSync(path(name), readFileSync(path(name), 'utf8').slice(0, 100));
    }
    expect(await problems()).toEqual([
      `${path('root-key.pem')} holds no private key in PEM`,
      `${path('root.pem')} holds no certificate in PEM`,
      `${path('token-key.pem')} holds no private key in PEM`,
    ]);
  });

  it.each(['root-key.pem', 'token-key.pem'])('G1: when %s is empty', async (name) => {
    writeFileSync(path(name), '');
    expect(await problems()).toEqual([`${path(name)} holds no private key in PEM`]);
  });

  it('when key and certificate are not a pair', async () => {
    writeFileSync(path('root-key.pem'), pemOf(ecKey()));
    expect(await problems()).toEqual([`${path('root.pem')} was made for another key than the one beside it`]);
  });

  it.each([
    ['an RSA key', rsaKey()],
    ['a P-384 key', ecKey('P-384')],
  ])('with %s', async (_, key) => {
    writeFileSync(path('token-key.pem'), pemOf(key));
    expect(await problems()).toEqual([`${path('token-key.pem')} is not a P-256 key`]);
    writeFileSync(path('token-key.pem'), pemOf(ecKey()));
    writeFileSync(path('root-key.pem'), pemOf(key));
    expect(await problems()).toEqual([`The key of ${path('root.pem')} is not a P-256 key`]);
  });

  it('for another trust domain than that of its root', async () => {
    expect(await problems('other.example')).toEqual([
      `${path('root.pem')} is for 'URI:spiffe://cluster.local', expected the trust domain 'spiffe://other.example'`,
    ]);
  });

  it('S25: when its root names a workload instead of a trust domain', async () => {
    const { pem, key } = makeAuthority({ sans: [{ uri: 'spiffe://cluster.local/ns/a/sa/b' }] });
    writeFileSync(path('root.pem'), pem);
    writeFileSync(path('root-key.pem'), pemOf(key));
    expect(await problems()).toEqual([expect.stringContaining('expected the trust domain')]);
  });

  it('when its root is no authority', async () => {
    const { pem, key } = makeCertificate({ sans: [{ uri: 'spiffe://cluster.local' }] });
    writeFileSync(path('root.pem'), pem);
    writeFileSync(path('root-key.pem'), pemOf(key));
    expect(await problems()).toEqual([`${path('root.pem')} is not the certificate of an authority, expected CA:TRUE`]);
  });

  it('when its root has expired', async () => {
    expect(await problems(undefined, nowMs + 3651 * 86_400_000)).toEqual([expect.stringContaining('expired at')]);
  });
});

it('refuses to read a state directory that never was one', async () => {
  await expect(readStateDirectory(directory)).rejects.toThrow(`${join(directory, 'authority')} does not exist`);
});
