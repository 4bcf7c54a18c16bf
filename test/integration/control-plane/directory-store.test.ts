import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import { openDirectoryStore } from '../../../src/control-plane/store/directory.ts';
import type { RegistryObjects } from '../../../src/control-plane/store/objects.ts';
import type { Store } from '../../../src/control-plane/store/store.ts';
import type { CapturedLog } from '../../support/captured-log.ts';
import { captureLog } from '../../support/captured-log.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

const settings = {
  pollIntervalMs: 5_000,
  debounceMs: 200,
  rootNamespace: 'istio-system',
  trustDomains: ['cluster.local'],
};
const broken = 'The registry is broken, its last good state stays';

const pod = (name: string) => `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}, namespace: shop}\nspec: {}\n`;
const podsOf = ({ pods }: RegistryObjects) => pods.map(({ metadata }) => metadata.name).sort();

let directory: string;
let clock: FakeClock;
let captured: CapturedLog;
let store: Store | undefined;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'remora-registry-'));
  clock = createFakeClock();
  captured = captureLog();
});
afterEach(async () => {
  await store?.close();
  store = undefined;
  rmSync(directory, { recursive: true, force: true });
});

const write = (name: string, text: string) => writeFileSync(join(directory, name), text);
const open = async (path = directory) => {
  store = await openDirectoryStore({ clock, log: captured.log }, { ...settings, path });
  return store;
};
/** The next state, found by the poll alone. */
const polled = async (from: Store) => {
  const changed = new Promise<RegistryObjects>((resolve) => from.subscribe(resolve));
  await clock.advance(settings.pollIntervalMs);
  return changed;
};
const problems = async (path = directory) => {
  const error: unknown = await open(path).catch((reason: unknown) => reason);
  expect(error).toMatchObject({ name: 'ConfigurationError', exitCode: 78 });
  return (error as { problems: readonly string[] }).problems;
};

describe('a registry directory', () => {
  it('is read whole at the start: every YAML file, no other, no hidden one', async () => {
    write('a.yaml', `${pod('a')}---\n${pod('b')}`);
    write('c.yml', pod('c'));
    write('notes.txt', 'not yaml: [');
    write('.d.yaml', 'not yaml: [');
    mkdirSync(join(directory, 'e.yaml'));
    expect(podsOf((await open()).current())).toEqual(['a', 'b', 'c']);
  });

  it('may be without an object at the start where it is optional: then the mesh is STRICT and refuses everybody', async () => {
    const opened = await openDirectoryStore(
      { clock, log: captured.log },
      { ...settings, path: directory, isOptional: true },
    );
    store = opened;
    const problem = expect.stringContaining('has no object yet');
    expect(opened.current()).toMatchObject({
      peerAuthentications: [{ namespace: 'istio-system', selector: undefined, mode: 'STRICT', problem }],
      authorizationPolicies: [{ namespace: 'istio-system', selector: undefined, policy: { action: 'DENY', problem } }],
    });
    write('a.yaml', pod('a'));
    expect(await polled(opened)).toMatchObject({ pods: [{}], peerAuthentications: [], authorizationPolicies: [] });
  });

  it('R20: is found changed by the poll when no watch event comes', async () => {
    write('a.yaml', pod('a'));
    const opened = await open();
    write('b.yaml', pod('b'));
    expect(podsOf(await polled(opened))).toEqual(['a', 'b']);
    rmSync(join(directory, 'a.yaml'));
    expect(podsOf(await polled(opened))).toEqual(['b']);
  });

  it('is read again soon after the kernel reports a change', async () => {
    write('b.yaml', pod('b'));
    const opened = await openDirectoryStore(
      { clock: systemClock, log: captured.log },
      { ...settings, path: directory, pollIntervalMs: 3_600_000, debounceMs: 1 },
    );
    store = opened;
    const changed = new Promise<RegistryObjects>((resolve) => opened.subscribe(resolve));
    write('a.yaml', pod('a'));
    expect(podsOf(await changed)).toEqual(['a', 'b']);
  });

  it('has a line in the log for a PeerAuthentication that is not in force', async () => {
    const peer = (name: string) =>
      `apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: ${name}, namespace: demo}\nspec: {}\n`;
    write('a.yaml', `${peer('z-strict')}---\n${peer('default')}`);
    await open();
    expect(captured.lines.flatMap(({ warning }) => warning ?? [])).toEqual([
      `${join(directory, 'a.yaml')}:1:1: PeerAuthentication demo/z-strict: is not in force: demo/default is as old, and the first by name`,
    ]);
  });

  it('is followed through the symlink swap of a ConfigMap volume', async () => {
    mkdirSync(join(directory, '..v1'));
    mkdirSync(join(directory, '..v2'));
    write('..v1/a.yaml', pod('a'));
    write('..v2/a.yaml', pod('b'));
    symlinkSync('..v1', join(directory, '..data'));
    symlinkSync('..data/a.yaml', join(directory, 'a.yaml'));
    const opened = await open();
    symlinkSync('..v2', join(directory, '..data.new'));
    renameSync(join(directory, '..data.new'), join(directory, '..data'));
    expect(podsOf(await polled(opened))).toEqual(['b']);
  });

  it('says at debug level which kinds it does not read', async () => {
    write('a.yaml', `${pod('a')}---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n`);
    await open();
    expect(await captured.next('The registry holds kinds that are not read')).toMatchObject({
      level: 'debug',
      kinds: ['apps/v1/Deployment'],
    });
  });
});

describe('a directory that changes', () => {
  const service =
    'apiVersion: v1\nkind: Service\nmetadata: {name: api, namespace: shop}\nspec: {clusterIP: 10.96.0.10}\n';
  const changes = () => captured.lines.filter(({ msg }) => msg !== 'Registry read');

  it('names in the log what changed; the first read is counts alone', async () => {
    write('a.yaml', pod('a'));
    write('service.yaml', service);
    const opened = await open();
    expect(captured.lines).toMatchObject([{ msg: 'Registry read', pods: 1, services: 1 }]);
    write('b.yaml', pod('b'));
    await polled(opened);
    expect(changes()).toMatchObject([{ level: 'info', msg: 'Registry changed', kind: 'Pod', added: ['shop/b'] }]);
    rmSync(join(directory, 'service.yaml'));
    await polled(opened);
    const gone = ['shop/api (10.96.0.10)'];
    expect(changes().slice(1)).toMatchObject([
      { level: 'info', msg: 'Registry changed', kind: 'Service', removed: gone },
      { level: 'warn', msg: 'Services are gone from the registry', services: gone },
    ]);
  });

  it('says nothing of what stayed', async () => {
    write('a.yaml', pod('a'));
    const opened = await open();
    write('a.yaml', `# The same again.\n${pod('a')}`);
    await polled(opened);
    expect(changes()).toEqual([]);
  });
});

describe('a directory that breaks while it is used', () => {
  it('G6: goes on with policy that cannot be followed, and logs each problem once, with its place', async () => {
    const policy = (name: string, spec: string) =>
      `apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: ${name}}\nspec: ${spec}\n`;
    const logged = () => captured.lines.flatMap(({ problem }) => (problem === undefined ? [] : [`${problem}`]));
    write('a.yaml', policy('a', '{mtls: {mode: STRIKT}}'));
    const opened = await open();
    expect(opened.current().peerAuthentications).toMatchObject([{ name: 'a', mode: 'STRICT' }]);
    const first = `${join(directory, 'a.yaml')}:4:21: PeerAuthentication default/a: spec.mtls.mode is "STRIKT", `;
    expect(logged()).toEqual([expect.stringContaining(first)]);
    write('b.yaml', policy('b', '{mtsl: {}}'));
    expect((await polled(opened)).peerAuthentications).toHaveLength(2);
    const second = `${join(directory, 'b.yaml')}:4:8: PeerAuthentication default/b: spec.mtsl is not known, `;
    expect(logged()).toEqual([expect.stringContaining(first), expect.stringContaining(second)]);
  });

  it('G1: keeps the last good state of every file, and says once where it is broken', async () => {
    write('a.yaml', pod('a'));
    write('b.yaml', pod('b'));
    const opened = await open();
    write('a.yaml', pod('a2'));
    write('b.yaml', `${pod('b')}kind: Pod\n`);
    await clock.advance(settings.pollIntervalMs);
    expect(await captured.next(broken)).toMatchObject({
      level: 'error',
      file: join(directory, 'b.yaml'),
      line: 5,
      column: 1,
      why: 'Map keys must be unique',
    });
    expect(podsOf(opened.current())).toEqual(['a', 'b']);
    for (let polls = 0; polls < 5; polls++) await clock.advance(settings.pollIntervalMs);
    write('b.yaml', pod('b2'));
    expect(podsOf(await polled(opened))).toEqual(['a2', 'b2']);
    expect(captured.lines.filter(({ msg }) => msg === broken)).toHaveLength(1);
  });

  it('R21: takes a file that was cut to nothing, as an editor does before it writes, for broken', async () => {
    write('a.yaml', pod('a'));
    const opened = await open();
    truncateSync(join(directory, 'a.yaml'));
    await clock.advance(settings.pollIntervalMs);
    expect(await captured.next(broken)).toMatchObject({ why: 'the file is empty' });
    expect(podsOf(opened.current())).toEqual(['a']);
  });

  it('keeps its last good state when the whole directory is gone, and recovers', async () => {
    write('a.yaml', pod('a'));
    const opened = await open();
    renameSync(directory, `${directory}.away`);
    await clock.advance(settings.pollIntervalMs);
    expect(await captured.next('The registry cannot be read, its last good state stays')).toMatchObject({
      why: expect.stringContaining('ENOENT'),
    });
    expect(podsOf(opened.current())).toEqual(['a']);
    renameSync(`${directory}.away`, directory);
    write('b.yaml', pod('b'));
    expect(podsOf(await polled(opened))).toEqual(['a', 'b']);
  });

  it.each([
    ['no file', []],
    ['no object that is read', ['# later', 'apiVersion: v1\nkind: List\nitems: []\n']],
  ])('keeps its last good state while it has %s, and says so once', async (_, contents) => {
    write('a.yaml', pod('a'));
    const opened = await open();
    rmSync(join(directory, 'a.yaml'));
    for (const [index, text] of contents.entries()) write(`${index}.yaml`, text);
    for (let polls = 0; polls < 3; polls++) await clock.advance(settings.pollIntervalMs);
    const said = 'The registry cannot be read, its last good state stays';
    expect(await captured.next(said)).toMatchObject({ why: expect.stringContaining('has no object, expected') });
    expect(podsOf(opened.current())).toEqual(['a']);
    write('a.yaml', pod('b'));
    const podsAtNextPoll = async () => {
      await clock.advance(settings.pollIntervalMs);
      return podsOf(opened.current());
    };
    await expect.poll(podsAtNextPoll, { timeout: 20_000 }).toEqual(['b']);
    expect(captured.lines.filter(({ msg }) => msg === said)).toHaveLength(1);
  });

  it('G22: reads a burst of changes once', async () => {
    write('a.yaml', pod('a'));
    const opened = await open();
    for (let index = 0; index < 100; index++) write('a.yaml', pod(`a${index}`));
    await polled(opened);
    const reads = captured.lines.filter(({ msg }) => msg === 'Registry read');
    expect(reads).toHaveLength(2);
    expect(podsOf(opened.current())).toEqual(['a99']);
  });
});

describe('a directory that cannot be used from the start', () => {
  it.each([
    ['an empty file', '', '1:1: the file is empty'],
    ['a byte order mark', `\uFEFF${pod('a')}`, '1:1: NUL or a byte order mark is not text'],
    ['text that is not UTF-8', Buffer.from([0x61, 0xff]), '1:1: The encoded data was not valid for encoding utf-8'],
    ['more than 1 MiB', '#'.repeat(1024 * 1024 + 1), '1:1: 1048577 bytes are more than 1048576'],
  ])('G1: is refused with the place of the problem: %s', async (_, contents, problem) => {
    writeFileSync(join(directory, 'a.yaml'), contents);
    expect(await problems()).toEqual([`${join(directory, 'a.yaml')}:${problem}`]);
  });

  it('G1: is refused when it has no object that is read', async () => {
    const problem = `The registry ${directory} has no object, expected at least one in its *.yaml, *.yml and *.json files`;
    expect(await problems()).toEqual([problem]);
    write('a.yaml', '# later');
    expect(await problems()).toEqual([problem]);
  });

  it('G1: is refused when it is missing', async () => {
    const missing = join(directory, 'missing');
    expect(await problems(missing)).toEqual([expect.stringContaining(`Cannot read the registry ${missing}: ENOENT`)]);
  });

  it('is refused with every problem at once', async () => {
    write('a.yaml', 'a: [');
    write('b.yaml', pod('B'));
    write('c.yaml', pod('c'));
    write('d.yaml', pod('c'));
    write('e.yaml', 'apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n');
    write('f.yaml', 'apiVersion: v1\nkind: Node\nmetadata: {name: n1, namespace: shop}\n');
    expect(await problems()).toEqual([
      expect.stringMatching(/a\.yaml:1:5: /),
      expect.stringMatching(/b\.yaml:3:18: v1\/Pod: metadata\.name "B" is not a DNS name/),
      `${join(directory, 'd.yaml')}:1:1: v1/Pod shop/c is already in ${join(directory, 'c.yaml')}`,
      `${join(directory, 'f.yaml')}:1:1: v1/Node n1 is already in ${join(directory, 'e.yaml')}`,
    ]);
  });

  it('is refused with too many files', async () => {
    for (let index = 0; index <= 1000; index++) write(`${index}.yaml`, '# nothing\n');
    expect(await problems()).toEqual([expect.stringContaining('more than 1000 files stand beside it')]);
  });
});
