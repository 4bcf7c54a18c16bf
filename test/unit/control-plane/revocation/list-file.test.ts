import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../../src/clock.ts';
import type { RevocationList } from '../../../../src/control-plane/revocation/list.ts';
import { listLimits } from '../../../../src/control-plane/revocation/list.ts';
import { changeRevocationFile, readRevocationFile } from '../../../../src/control-plane/revocation/list-file.ts';
import { tryLock } from '../../../../src/libc.ts';
import { createFakeClock } from '../../../support/fake-clock.ts';

const when = '2026-11-22T10:00:00.000Z';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'remora-revocations-'));
  path = join(folder, 'revocations.json');
});
afterEach(() => rmSync(folder, { recursive: true }));

const adding = (serial: string) => (list: RevocationList) => ({
  ...list,
  certificates: new Map([...list.certificates, [serial, { when }]]),
});
const add = (serial: string, at = path) => changeRevocationFile(systemClock, at, 0o600, adding(serial));
const descriptorsOf = (target: string) =>
  readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === target;
    } catch {
      return false;
    }
  }).length;
const serialsIn = async (at = path) => [...((await readRevocationFile(at))?.certificates.keys() ?? [])];

describe('a file of revocations', () => {
  it('that is not there is no list, and not an empty one', async () => {
    expect(await readRevocationFile(path)).toBeUndefined();
    symlinkSync('nowhere', path);
    expect(await readRevocationFile(path)).toBeUndefined();
  });

  it.each([
    ['', 'it is not JSON'],
    ['{"revoked":[]}', 'revoked is not known'],
    ['x'.repeat(listLimits.fileBytes + 1), 'is larger than 524288 bytes'],
  ])('that cannot be used is refused with its name and why: %.20j', async (text, why) => {
    writeFileSync(path, text);
    await expect(readRevocationFile(path)).rejects.toMatchObject({ exitCode: 78 });
    await expect(readRevocationFile(path)).rejects.toThrow(path);
    await expect(readRevocationFile(path)).rejects.toThrow(why);
  });

  it('that cannot be reached is refused, and not taken for one that is not there', async () => {
    symlinkSync('revocations.json', path);
    await expect(readRevocationFile(path)).rejects.toThrow(
      `${path} cannot be read (ELOOP), expected a file of revocations`,
    );
  });

  it('that everybody can write is refused', async () => {
    writeFileSync(path, '{}');
    chmodSync(path, 0o646);
    await expect(readRevocationFile(path)).rejects.toThrow(`${path} can be written by everybody (mode 0646)`);
  });
});

describe('a change of it', () => {
  it('makes the file with its mode, and leaves nothing else behind', async () => {
    await add('4A');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder)).toEqual(['revocations.json']);
    expect(await serialsIn()).toEqual(['4A']);
  });

  it('keeps the mode that the file has, and a link that leads to it', async () => {
    const target = join(folder, 'target.json');
    writeFileSync(target, '{}', { mode: 0o640 });
    symlinkSync('target.json', path);
    await add('4A');
    expect(statSync(target).mode & 0o777).toBe(0o640);
    expect(await serialsIn(target)).toEqual(['4A']);
    expect(readdirSync(folder).sort()).toEqual(['revocations.json', 'target.json']);
  });

  it('writes nothing when there is nothing to change', async () => {
    await add('4A');
    const { ino } = statSync(path);
    await changeRevocationFile(systemClock, path, 0o600, () => undefined);
    expect(statSync(path).ino).toBe(ino);
  });

  it('loses nothing of others at the same time', async () => {
    const serials = Array.from({ length: 30 }, (_, index) => (index + 16).toString(16).toUpperCase());
    await Promise.all(serials.map((serial) => add(serial)));
    expect((await serialsIn()).toSorted()).toEqual(serials.toSorted());
  });

  it('waits while somebody else is at it, and gives up after 10 s', async () => {
    const other = await open(folder, 'r');
    expect(tryLock(other.fd)).toBe(true);
    const clock = createFakeClock();
    const refused = expect(changeRevocationFile(clock, path, 0o600, adding('4A'))).rejects.toMatchObject({
      exitCode: 69,
      message: `Somebody else has been changing ${folder} for 10 s, expected an end of that`,
    });
    while (clock.pending === 0) await new Promise(setImmediate);
    await clock.advance(10_100);
    await refused;
    expect(descriptorsOf(folder)).toBe(1);
    const waiting = add('4B');
    await other.close();
    await waiting;
    expect(await serialsIn()).toEqual(['4B']);
  });

  it('never repairs a file that cannot be used', async () => {
    writeFileSync(path, '{"certificates":[');
    await expect(add('4A')).rejects.toMatchObject({ exitCode: 78 });
    expect(readFileSync(path, 'utf8')).toBe('{"certificates":[');
  });

  it('is refused when the list is full, and changes nothing', async () => {
    const most = new Map(Array.from({ length: 3_047 }, (_, index) => [`4${`${index}`.padStart(39, '0')}`, { when }]));
    await changeRevocationFile(systemClock, path, 0o600, (list) => ({ ...list, certificates: most }));
    await expect(add('4A'.repeat(20))).rejects.toMatchObject({
      exitCode: 1,
      message: expect.stringMatching(/^Cannot write .*: the list is full/),
    });
    expect(await serialsIn()).toHaveLength(most.size);
  });

  it('is refused where there is no folder for it', async () => {
    const none = join(folder, 'none');
    await expect(add('4A', join(none, 'revocations.json'))).rejects.toMatchObject({
      exitCode: 1,
      message: `Cannot write ${none}/revocations.json: the folder ${none} does not exist`,
    });
  });
});
