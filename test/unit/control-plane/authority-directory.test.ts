import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  createAuthorityDirectory,
  openAuthorityDirectory,
  readAuthorityDirectory,
} from '../../../src/control-plane/authority-directory.ts';
import { ecKey } from '../../support/certificates.ts';

/* A folder that `remora authority` made, and the same files as Kubernetes mounts them. */

const nowMs = Date.now();
const names = ['root-key.pem', 'root.pem', 'token-key.pem'];
let above: string;
let folder: string;
beforeEach(async () => {
  above = mkdtempSync(join(tmpdir(), 'remora-authority-'));
  folder = join(above, 'authority');
  await createAuthorityDirectory(folder, 'cluster.local', nowMs);
});
afterEach(() => rmSync(above, { recursive: true }));

const path = (name: string) => join(folder, name);
const modeOf = (file: string) => (statSync(file).mode & 0o7777).toString(8);
const contentOf = (at: string) => readdirSync(at).map((name) => [name, readFileSync(join(at, name), 'utf8')]);
const open = (trustDomain = 'cluster.local', atMs = nowMs) => openAuthorityDirectory(folder, trustDomain, atMs);
async function problems(trustDomain?: string, atMs?: number): Promise<readonly string[]> {
  const error: unknown = await open(trustDomain, atMs).catch((reason: unknown) => reason);
  expect(error).toMatchObject({ name: 'ConfigurationError', exitCode: 78 });
  return (error as { problems: readonly string[] }).problems;
}

/** A Secret as the kubelet mounts it with `defaultMode: 0440`: a sticky folder for everybody, files behind two links. */
function mount(): string {
  const mounted = join(above, 'mounted');
  const version = '..2026_03_02_09_15_04.3141592653';
  mkdirSync(join(mounted, version), { recursive: true });
  for (const name of names) {
    writeFileSync(join(mounted, version, name), readFileSync(path(name)));
    chmodSync(join(mounted, version, name), 0o440);
    symlinkSync(`..data/${name}`, join(mounted, name));
  }
  symlinkSync(version, join(mounted, '..data'));
  chmodSync(mounted, 0o1777);
  return mounted;
}

describe('remora authority', () => {
  it('makes three files for its owner alone', async () => {
    expect(modeOf(folder)).toBe('700');
    expect(readdirSync(folder).map((name) => [name, modeOf(path(name))])).toEqual(names.map((name) => [name, '600']));
    expect(readdirSync(above)).toEqual(['authority']);
    expect((await open()).root.certificate.ca).toBe(true);
  });

  it('takes the place of an empty folder', async () => {
    const empty = join(above, 'empty');
    mkdirSync(empty, { mode: 0o755 });
    await createAuthorityDirectory(`${empty}/`, 'cluster.local', nowMs);
    expect([modeOf(empty), readdirSync(empty)]).toEqual(['700', names]);
  });

  it('leaves what is there as it is, also when it is something else', async () => {
    const before = contentOf(folder);
    await expect(createAuthorityDirectory(folder, 'cluster.local', nowMs)).rejects.toMatchObject({
      message: `${folder} is not an empty folder, expected a new one: an authority is never overwritten`,
      exitCode: 1,
    });
    expect(contentOf(folder)).toEqual(before);
    const file = join(above, 'file');
    writeFileSync(file, 'mine');
    await expect(createAuthorityDirectory(file, 'cluster.local', nowMs)).rejects.toThrow('is not an empty folder');
    expect(readFileSync(file, 'utf8')).toBe('mine');
    expect(readdirSync(above)).toEqual(['authority', 'file']);
  });

  it('is the authority of one of two who make it at the same time', async () => {
    const both = join(above, 'both');
    const made = await Promise.allSettled([
      createAuthorityDirectory(both, 'cluster.local', nowMs),
      createAuthorityDirectory(both, 'cluster.local', nowMs),
    ]);
    expect(made.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(made.find(({ status }) => status === 'rejected')).toMatchObject({ reason: { name: 'FailureError' } });
    await openAuthorityDirectory(both, 'cluster.local', nowMs);
    expect(readdirSync(above)).toEqual(['authority', 'both']);
  });

  it('leaves nothing where it cannot write', async () => {
    const nowhere = join(above, 'missing/authority');
    await expect(createAuthorityDirectory(nowhere, 'cluster.local', nowMs)).rejects.toThrow(
      `${join(above, 'missing')} is not a folder, expected one to make authority in`,
    );
    expect(existsSync(join(above, 'missing'))).toBe(false);
  });

  it('takes no symbolic link for a folder', async () => {
    const link = join(above, 'link');
    symlinkSync('elsewhere', link);
    await expect(createAuthorityDirectory(link, 'cluster.local', nowMs)).rejects.toThrow('is a symbolic link');
  });
});

describe('A mounted authority', () => {
  it('is read through its links, out of a folder that everybody may write and nobody may change', async () => {
    const mounted = mount();
    const before = readdirSync(mounted);
    const [given, own] = [await openAuthorityDirectory(mounted, 'cluster.local', nowMs), await open()];
    expect(given.root.certificate.fingerprint256).toBe(own.root.certificate.fingerprint256);
    expect((await readAuthorityDirectory(mounted)).tokenKey.equals(own.tokenKey)).toBe(true);
    expect(readdirSync(mounted)).toEqual(before);
  });

  it('may belong to another user and group', async ({ skip }) => {
    if (process.getuid?.() !== 0) skip('needs root');
    for (const name of names) chownSync(path(name), 65_534, 1337);
    for (const name of names) chmodSync(path(name), 0o440);
    await open();
  });

  it('is refused when everybody can read a key, and its root may be read', async () => {
    for (const name of names) chmodSync(path(name), 0o644);
    const expected = 'expected a file that remora authority made, for this user or its group alone';
    expect(await problems()).toEqual([
      `${path('root-key.pem')} can be read by everybody (mode 0644), ${expected}`,
      `${path('token-key.pem')} can be read by everybody (mode 0644), ${expected}`,
    ]);
    for (const name of names) chmodSync(path(name), name === 'root.pem' ? 0o444 : 0o440);
    await open();
  });

  it.each(names)('is refused when everybody can write %s', async (name) => {
    chmodSync(path(name), 0o602);
    expect(await problems()).toEqual([
      expect.stringContaining(`${path(name)} can be written by everybody (mode 0602), expected`),
    ]);
  });

  it('is refused in a folder where everybody can replace its files', async () => {
    chmodSync(folder, 0o777);
    expect(await problems()).toEqual([`${folder} can be written by everybody (mode 0777), expected 0700`]);
  });

  it('is refused with a sentence for each file that is missing', async () => {
    for (const name of names) rmSync(path(name));
    expect(await problems()).toEqual(
      names.map((name) => expect.stringContaining(`${path(name)} cannot be read (ENOENT), expected a file that`)),
    );
  });

  it('is refused when it is not there, or no folder', async () => {
    rmSync(folder, { recursive: true });
    expect(await problems()).toEqual([
      `${folder} cannot be read (ENOENT), expected the folder that remora authority makes`,
    ]);
    writeFileSync(folder, '');
    expect(await problems()).toEqual([`${folder} is not a folder, expected one`]);
  });

  it.each<[string, (name: string) => void, string]>([
    ['a folder', (name) => mkdirSync(path(name)), 'is not a regular file'],
    ['larger than a key can be', (name) => writeFileSync(path(name), 'x'.repeat(70_000), { mode: 0o600 }), 'is larger'],
    ['no PEM', (name) => writeFileSync(path(name), 'secret', { mode: 0o600 }), 'holds no private key in PEM'],
  ])('is refused when a key is %s', async (_, make, why) => {
    rmSync(path('root-key.pem'));
    make('root-key.pem');
    const found = await problems();
    expect(found).toEqual([expect.stringContaining(`${path('root-key.pem')} ${why}`)]);
    expect(found.join()).not.toContain('secret');
  });

  it('is refused when its root is of another key', async () => {
    writeFileSync(path('root-key.pem'), ecKey().export({ type: 'pkcs8', format: 'pem' }));
    expect(await problems()).toEqual([`${path('root.pem')} was made for another key than the one beside it`]);
  });

  it('is refused when two keys changed places', async () => {
    renameSync(path('root-key.pem'), path('swap'));
    renameSync(path('token-key.pem'), path('root-key.pem'));
    renameSync(path('swap'), path('token-key.pem'));
    expect(await problems()).toEqual([`${path('root.pem')} was made for another key than the one beside it`]);
  });

  it('is refused for another trust domain, and when it has expired', async () => {
    expect(await problems('other.example')).toEqual([expect.stringContaining("expected the trust domain 'spiffe://o")]);
    expect(await problems('cluster.local', nowMs + 3651 * 86_400_000)).toEqual([
      expect.stringContaining('root.pem expired at '),
    ]);
  });
});
