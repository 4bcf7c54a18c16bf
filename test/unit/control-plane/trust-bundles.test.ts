import { chmodSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { maxReplyBytes } from '../../../src/control-api.ts';
import type { TrustBundleBook } from '../../../src/control-plane/trust-bundles.ts';
import { openTrustBundles, pushedBundleLimits } from '../../../src/control-plane/trust-bundles.ts';
import { ConfigurationError } from '../../../src/errors.ts';
import type { CapturedLog } from '../../support/captured-log.ts';
import { captureLog } from '../../support/captured-log.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { createTestAuthority } from '../../support/identities.ts';

/* Files of other trust domains beside an authority that the test changes; files are real, time and events are the test's. */

const ours = createTestAuthority('cluster.local');
const [a, nextA, b] = ['a', 'a', 'b'].map((name, index) =>
  createTestAuthority(`${name}.example`, { root: { subject: `${name} ${index}` } }),
) as [typeof ours, typeof ours, typeof ours];
const second = 1000;

let directory: string;
let clock: FakeClock;
let captured: CapturedLog;
let book: TrustBundleBook | undefined;
let changes: number;
let change: () => void;
let rootPem: string;
let replaceRoots: () => void;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'remora-bundles-'));
  clock = createFakeClock();
  captured = captureLog();
  book = undefined;
  changes = 0;
  rootPem = ours.bundlePem;
});
afterEach(async () => {
  await book?.close();
  rmSync(directory, { recursive: true });
});

const pathOf = (name: string) => join(directory, `${name}.pem`);
/** One rename, as whoever is careful replaces a file. */
function put(name: string, text: string): void {
  writeFileSync(`${pathOf(name)}.new`, text);
  renameSync(`${pathOf(name)}.new`, pathOf(name));
}
async function open(...names: readonly string[]): Promise<TrustBundleBook> {
  const authority = {
    trustDomain: 'cluster.local',
    get rootPem() {
      return rootPem;
    },
    subscribe(listener: () => void) {
      replaceRoots = listener;
      return () => undefined;
    },
  };
  const watch = (_: readonly string[], onChange: () => void) => {
    change = onChange;
    return () => undefined;
  };
  const files = names.map((name) => ({ trustDomain: `${name}.example`, path: pathOf(name) }));
  book = await openTrustBundles({ clock, log: captured.log, authority, watch }, files);
  book.subscribe(() => {
    changes += 1;
  });
  return book;
}
/** Files are read by threads, which the fake clock knows nothing of. */
const becomes = (bundles: object) =>
  expect.poll(() => clock.advance(0).then(() => book?.current()), { interval: 1, timeout: 8000 }).toEqual(bundles);
const look = () => {
  change();
  return clock.advance(second);
};
const told = (msg: string, count = 1) =>
  expect
    .poll(() => clock.advance(0).then(() => captured.lines.filter((line) => line.msg === msg).length), {
      interval: 1,
      timeout: 8000,
    })
    .toBe(count);
/** Looks that find nothing to tell; what is told of `b` afterwards shows that they are over. */
async function quietLooks(): Promise<void> {
  for (let i = 0; i < 3; i++) await quietLook(5 * second);
}
async function quietLook(ms: number): Promise<void> {
  await clock.advance(ms);
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setTimeout(resolve, 1));
}
const own = { 'cluster.local': ours.bundlePem };
const refused = 'A trust bundle cannot be used, the last good one stays';
const withdrawn = 'A trust domain is not trusted, there is no root in its bundle';

it('is our own roots alone without files', async () => {
  expect((await open()).current()).toEqual(own);
  expect(captured.lines).toEqual([]);
});

it('B6: follows the file of each trust domain, and tells of its roots', async () => {
  put('a', a.bundlePem);
  put('b', JSON.stringify({ keys: [{ kty: 'EC', use: 'x509-svid', x5c: [b.root.der.toString('base64')] }] }));
  await open('a', 'b');
  expect(book?.current()).toEqual({ ...own, 'a.example': a.bundlePem, 'b.example': b.bundlePem });
  put('a', `the next one is coming\n${a.bundlePem}${nextA.bundlePem}`);
  await look();
  await becomes({ ...own, 'a.example': `${a.bundlePem}${nextA.bundlePem}`, 'b.example': b.bundlePem });
  put('a', nextA.bundlePem);
  await clock.advance(5 * second);
  await becomes({ ...own, 'a.example': nextA.bundlePem, 'b.example': b.bundlePem });
  expect(changes).toBe(2);
  const read = captured.lines.filter(({ msg }) => msg === 'Trust bundle read');
  expect(read.map(({ trustDomain }) => trustDomain)).toEqual(['a.example', 'b.example', 'a.example', 'a.example']);
  expect(read.at(2)?.roots).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/), expect.any(String)]);
});

it.each([
  ['is empty', '', 'holds no certificate'],
  ['is half of a file', a.bundlePem.slice(0, 200), 'no end'],
  ['is no bundle document', '{"keys":{}}', 'not a SPIFFE bundle document'],
  ['has our own root', ours.bundlePem, 'same subject'],
  ['has the root of another trust domain', b.bundlePem, 'same subject'],
  ['has a private key', ours.root.key.export({ type: 'pkcs8', format: 'pem' }).toString(), 'a private key'],
  ['is too large for a line', a.bundlePem + ' '.repeat(1024 * 1024), 'larger than'],
])('B2: keeps the last good bundle while a file %s, says so once, and takes the others', async (_, bad, why) => {
  put('a', a.bundlePem);
  put('b', b.bundlePem);
  await open('a', 'b');
  put('a', bad);
  await look();
  await told(refused);
  await quietLooks();
  expect(captured.lines.filter(({ msg }) => msg === refused)).toEqual([
    expect.objectContaining({ level: 'error', trustDomain: 'a.example', why: expect.stringContaining(pathOf('a')) }),
  ]);
  expect(captured.lines.at(-1)?.why).toContain(why);
  expect(captured.text()).not.toContain('PRIVATE');
  expect(book?.current()).toEqual({ ...own, 'a.example': a.bundlePem, 'b.example': b.bundlePem });
  put('a', nextA.bundlePem);
  await look();
  await becomes({ ...own, 'a.example': nextA.bundlePem, 'b.example': b.bundlePem });
  put('a', bad);
  await look();
  await told(refused, 2);
});

it('B12: trusts nobody of a trust domain whose document publishes no root, also at the start', async () => {
  put('a', '{"keys":[]}');
  expect((await open('a')).current()).toEqual(own);
  expect(captured.lines).toMatchObject([{ level: 'warn', msg: withdrawn, trustDomain: 'a.example' }]);
  put('a', a.bundlePem);
  await look();
  await becomes({ ...own, 'a.example': a.bundlePem });
  put('a', '{"keys":[]}');
  await look();
  await becomes(own);
});

it('P14: trusts a trust domain no more whose file is gone for a poll, and keeps it while the file is only being replaced', async () => {
  put('a', a.bundlePem);
  await open('a');
  rmSync(pathOf('a'));
  await look();
  await quietLook(4 * second);
  expect(book?.current()).toEqual({ ...own, 'a.example': a.bundlePem });
  put('a', `${a.bundlePem}${nextA.bundlePem}`);
  await look();
  const both = { ...own, 'a.example': `${a.bundlePem}${nextA.bundlePem}` };
  await becomes(both);
  await quietLook(5 * second);
  rmSync(pathOf('a'));
  await look();
  await quietLook(second);
  expect(book?.current()).toEqual(both);
  // Each look is a poll later than the one before, however long the threads take.
  await expect.poll(() => quietLook(5 * second).then(() => book?.current()), { timeout: 8000 }).toEqual(own);
  await told(withdrawn);
  expect(captured.lines.filter(({ level }) => level === 'error')).toEqual([]);
  put('a', a.bundlePem);
  await look();
  await becomes({ ...own, 'a.example': a.bundlePem });
});

it('follows the roots of our own authority', async () => {
  put('a', a.bundlePem);
  await open('a');
  const next = createTestAuthority('cluster.local', { root: { subject: 'next' } });
  rootPem = `${ours.bundlePem}${next.bundlePem}`;
  replaceRoots();
  expect(book?.current()).toEqual({ 'cluster.local': rootPem, 'a.example': a.bundlePem });
  expect(changes).toBe(1);
  const before = book?.current();
  replaceRoots();
  expect(book?.current() === before).toBe(true);
  expect(changes).toBe(1);
});

it('does not start with a bundle that is bad, and says of each why', async () => {
  put('a', 'x');
  put('b', b.bundlePem);
  chmodSync(pathOf('b'), 0o666);
  const error = await open('a', 'b', 'c').then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ConfigurationError);
  expect((error as ConfigurationError).problems).toEqual([
    `--trust-bundle=a.example=${pathOf('a')}: The trust bundle of a.example holds no certificate`,
    `--trust-bundle=b.example=${pathOf('b')} can be written by everybody (mode 0666)`,
    `--trust-bundle=c.example=${pathOf('c')} cannot be read (ENOENT)`,
  ]);
});

it('B5: pushes no more than fits into a line of the stream', () => {
  const pem = `${'-'.repeat(63)}\n`.repeat(pushedBundleLimits.characters / 64);
  expect(JSON.stringify({ 'a.example': pem }).length).toBeLessThan(maxReplyBytes * 0.8);
});
