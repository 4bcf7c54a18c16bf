import { spawnSync } from 'node:child_process';
import type { X509Certificate } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createBridge, createRoot } from '../../../src/control-plane/authority.ts';
import type { RootSet } from '../../../src/control-plane/root-set.ts';
import { fingerprintOf, phaseOf, trustedRoots } from '../../../src/control-plane/root-set.ts';
import { abortWrites, removeWrites, settleRoots } from '../../../src/control-plane/root-steps.ts';
import { openStateDirectory, readStateDirectory } from '../../../src/control-plane/state-directory.ts';
import { rotationWrites } from '../../support/rotation-states.ts';

/*
 * Goal: whenever a step of a rotation is cut short, the next start has the roots of before it or of after it: never one that
 * nobody trusts, never a trusted one too few.
 */
const node = resolve(import.meta.dirname, '../../../node_modules/.bin/node');
const killer = resolve(import.meta.dirname, '../../support/rotation-writes.ts');

let directory: string;
beforeEach(() => {
  directory = join(mkdtempSync(join(tmpdir(), 'remora-rotation-')), 'state');
});
afterEach(() => rmSync(join(directory, '..'), { recursive: true }));

const folder = () => join(directory, 'authority');
const open = () => openStateDirectory(directory, 'cluster.local', Date.now());
const files = () => readdirSync(folder()).sort();
const lasting = ['root-key.pem', 'root.pem', 'token-key.pem'];
const namesOf = (roots: RootSet) => trustedRoots(roots).map(fingerprintOf);
const id = (certificate: X509Certificate | undefined) => certificate && fingerprintOf(certificate);

async function take(step: string): Promise<RootSet> {
  for (const write of rotationWrites(step, folder(), await open())) await write();
  return open();
}

/** Takes a step in a process of its own, which is killed before the given write, and opens the directory again. */
async function takeKilled(step: string, killedBefore: number): Promise<RootSet> {
  const { signal, stderr } = spawnSync(node, [killer, directory, step, String(killedBefore)], { encoding: 'utf8' });
  expect([signal, stderr]).toEqual(['SIGKILL', '']);
  return open();
}

describe('a rotation on the files of a state directory', () => {
  it.each([
    ['remove', removeWrites, 'previous-root.pem'],
    ['abort', abortWrites, 'next-root.pem'],
  ] as const)('names the file that cannot be changed by %s', async (_, writesOf, name) => {
    await open();
    mkdirSync(join(folder(), name, 'in-the-way'), { recursive: true });
    const [first] = writesOf(folder());
    await expect(first?.()).rejects.toMatchObject({
      name: 'FailureError',
      message: expect.stringContaining(`Cannot write ${join(folder(), name)}: `),
    });
  });

  it('adds a root that is trusted and issues nothing, switches to it, and removes the old one', async () => {
    const old = id((await open()).root.certificate);
    const added = await take('add');
    const next = id(added.next?.certificate);
    expect([phaseOf(added), id(added.root.certificate), namesOf(added)]).toEqual(['added', old, [old, next]]);
    const switched = await take('switch');
    expect([phaseOf(switched), id(switched.root.certificate), namesOf(switched)]).toEqual([
      'switched',
      next,
      [old, next],
    ]);
    expect(switched.root.certificate.checkPrivateKey(switched.root.key)).toBe(true);
    expect(switched.bridge?.verify(switched.previous!.publicKey)).toBe(true);
    const removed = await take('remove');
    expect([phaseOf(removed), namesOf(removed), files()]).toEqual(['steady', [next], lasting]);
  });

  it('keeps every file to itself, and no key of the old root after the switch', async () => {
    const { root } = await open();
    await take('add');
    await take('switch');
    expect(files().map((name) => statSync(join(folder(), name)).mode & 0o777)).toEqual(files().map(() => 0o600));
    expect(files().filter((name) => name.endsWith('-key.pem'))).toEqual(['root-key.pem', 'token-key.pem']);
    expect((await open()).root.key.equals(root.key)).toBe(false);
  });

  it('drops the next root with its key when it is aborted', async () => {
    const before = namesOf(await open());
    await take('add');
    expect([namesOf(await take('abort')), files()]).toEqual([before, lasting]);
  });
});

describe('R22: a step that is killed', () => {
  it.each([
    [0, 'steady'],
    [1, 'steady'],
    [2, 'added'],
  ])('add, before write %i, is %s at the next start and can be taken again', async (killedBefore, phase) => {
    const old = id((await open()).root.certificate);
    const roots = await takeKilled('add', killedBefore);
    expect([phaseOf(roots), id(roots.root.certificate)]).toEqual([phase, old]);
    expect(files()).toEqual(phase === 'steady' ? lasting : [...lasting, 'next-root-key.pem', 'next-root.pem'].sort());
    expect(phaseOf(phase === 'steady' ? await take('add') : roots)).toBe('added');
  });

  it.each([
    [0, 'added'],
    [1, 'added'],
    [2, 'added'],
    [3, 'switched'],
    [4, 'switched'],
  ])('switch, before write %i, is %s at the next start, and both roots are trusted', async (killedBefore, phase) => {
    const before = id((await open()).root.certificate);
    const next = id((await take('add')).next?.certificate);
    const roots = await takeKilled('switch', killedBefore);
    expect([phaseOf(roots), namesOf(roots)]).toEqual([phase, [before, next]]);
    expect(id(roots.root.certificate)).toBe(phase === 'added' ? before : next);
    expect(roots.root.certificate.checkPrivateKey(roots.root.key)).toBe(true);
    expect(roots.bridge === undefined).toBe(phase === 'added');
    const added = [...lasting, 'next-root-key.pem', 'next-root.pem'];
    const switched = [...lasting, 'previous-root.pem', 'bridge.pem'];
    expect(files()).toEqual((phase === 'added' ? added : switched).sort());
    expect(namesOf(phase === 'added' ? await take('switch') : roots)).toEqual([before, next]);
  });

  it.each([
    ['remove', 0, 'switched'],
    ['remove', 1, 'steady'],
    ['remove', 2, 'steady'],
    ['abort', 0, 'added'],
    ['abort', 1, 'steady'],
    ['abort', 2, 'steady'],
  ])('%s, before write %i, is %s at the next start', async (step, killedBefore, phase) => {
    await open();
    await take('add');
    if (step === 'remove') await take('switch');
    const issuing = id((await open()).root.certificate);
    const roots = await takeKilled(step, killedBefore);
    expect([phaseOf(roots), id(roots.root.certificate)]).toEqual([phase, issuing]);
    if (phase === 'steady') expect([files(), namesOf(roots)]).toEqual([lasting, [issuing]]);
    expect(phaseOf(phase === 'steady' ? roots : await take(step))).toBe('steady');
  });

  it('in the middle of a file leaves nothing of it', async () => {
    await open();
    writeFileSync(join(folder(), 'next-root-key.pem.0a1b2c3d4e5f.new'), 'half of a k', { mode: 0o600 });
    await open();
    expect(files()).toEqual(lasting);
  });
});

it('reads a folder whose key was switched and whose certificates were not, and the order of the files changes nothing', async () => {
  const before = id((await open()).root.certificate);
  const added = await take('add');
  const writes = rotationWrites('switch', folder(), added);
  for (const write of writes.slice(0, 3)) await write();
  const read = await readStateDirectory(directory);
  expect([id(read.root.certificate), id(read.previous)]).toEqual([id(added.next?.certificate), before]);
  await settleRoots(folder());
  expect(namesOf(await readStateDirectory(directory))).toEqual(namesOf(read));
});

it('refuses three roots, and a next root whose key is another', async () => {
  await open();
  await take('add');
  const key = join(folder(), 'next-root-key.pem');
  writeFileSync(key, (await open()).root.key.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  await expect(open()).rejects.toThrow(/next-root\.pem was made for another key/);
  const other = mkdtempSync(join(tmpdir(), 'remora-other-'));
  const { root } = await openStateDirectory(join(other, 'state'), 'cluster.local', Date.now());
  rmSync(other, { recursive: true });
  writeFileSync(join(folder(), 'previous-root.pem'), root.certificate.toString(), { mode: 0o600 });
  await expect(open()).rejects.toThrow(/holds three roots/);
});

it('shows no bridge that is for another root, or that another root has signed', async () => {
  const { root: old } = await open();
  const next = (await take('add')).next!;
  await take('switch');
  const [other, nowMs] = [createRoot('cluster.local', Date.now()), Date.now()];
  const bridges = [createBridge(other.certificate, old, nowMs), createBridge(next.certificate, other, nowMs)];
  for (const bridge of bridges) {
    writeFileSync(join(folder(), 'bridge.pem'), bridge.toString());
    expect((await open()).bridge).toBeUndefined();
  }
  const good = createBridge(next.certificate, old, nowMs);
  writeFileSync(join(folder(), 'bridge.pem'), good.toString());
  expect((await open()).bridge?.raw.equals(good.raw)).toBe(true);
});
