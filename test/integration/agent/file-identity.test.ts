import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startFileIdentity } from '../../../src/agent/identity-sources/files.ts';
import type { IdentitySource } from '../../../src/agent/identity-sources/source.ts';
import type { ReadFile } from '../../../src/agent/patient-reader.ts';
import { createPatientReader, patienceMs } from '../../../src/agent/patient-reader.ts';
import { readBoundedFile } from '../../../src/bounded-file.ts';
import type { Clock } from '../../../src/clock.ts';
import { systemClock } from '../../../src/clock.ts';
import type { WatchFiles } from '../../../src/file-watch.ts';
import { watchFiles } from '../../../src/file-watch.ts';
import type { Identity } from '../../../src/identity/identity.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { createTestAuthority, spiffeId } from '../../support/identities.ts';
import type { FakeRevocationSource } from '../../support/revocation-source.ts';
import { createRevocationSource } from '../../support/revocation-source.ts';

const authority = createTestAuthority('cluster.local');
const second = 1000;

let directory: string;
let paths: { certificateFile: string; keyFile: string; bundleFile: string };
let partnerFile: string;
let clock: FakeClock;
let watched: readonly string[];
let change: () => void;
let events: string[];
let source: IdentitySource | undefined;
let revocations: FakeRevocationSource;

/** A watch whose events the test makes. */
const watchByHand: WatchFiles = (paths, onChange) => {
  watched = paths;
  change = onChange;
  return () => {
    change = () => undefined;
  };
};

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'remora-files-'));
  paths = {
    certificateFile: join(directory, 'tls.crt'),
    keyFile: join(directory, 'tls.key'),
    bundleFile: join(directory, 'ca.crt'),
  };
  partnerFile = join(directory, 'partner');
  clock = createFakeClock();
  events = [];
  revocations = createRevocationSource();
  source = undefined;
});

afterEach(async () => {
  await source?.close();
  await rm(directory, { recursive: true });
});

const issue = (name = 'web') => {
  const { chainPem, key } = authority.issue({ id: `ns/shop/sa/${name}` });
  return { chainPem, keyPem: key.export({ type: 'pkcs8', format: 'pem' }) as string };
};

async function write(folder: string, { chainPem, keyPem }: ReturnType<typeof issue>, bundlePem = authority.bundlePem) {
  await writeFile(join(folder, 'ca.crt'), bundlePem);
  await writeFile(join(folder, 'tls.key'), keyPem);
  await writeFile(join(folder, 'tls.crt'), chainPem);
}

interface StartParts {
  clock?: Clock;
  watch?: WatchFiles;
  signal?: AbortSignal;
  name?: string;
  isFederated?: boolean;
  readOfOthers?: ReadFile;
}

function start(parts: StartParts = {}) {
  const observer = {
    renewed: (identity: Identity) => void events.push(`renewed ${identity.generation}`),
    renewalFailed: (reason: string) => void events.push(reason),
    bundlesRefused: (error: Error) => void events.push(`bundles refused: ${error.message}`),
  };
  return startFileIdentity(
    {
      clock: parts.clock ?? clock,
      watch: parts.watch ?? watchByHand,
      revocations,
      observer,
      // Without a deadline: reading takes real time, which the fake clock knows nothing of.
      readOfOthers: parts.readOfOthers ?? ((path) => readBoundedFile(path, 1024 * 1024)),
    },
    {
      trustDomain: 'cluster.local',
      expected: spiffeId(`spiffe://cluster.local/ns/shop/sa/${parts.name ?? 'web'}`),
      ...paths,
      federatedBundles: parts.isFederated === true ? [{ trustDomain: 'partner.example', path: partnerFile }] : [],
      pollIntervalMs: 10 * second,
    },
    parts.signal ?? new AbortController().signal,
  );
}

/** Files are read by threads, which the fake clock knows nothing of. */
const told = (what: string) =>
  expect.poll(() => clock.advance(0).then(() => events.at(-1)), { interval: 1, timeout: 8000 }).toBe(what);

/** A poll that finds nothing to tell; a file that is read later shows that it is over. */
async function quietPoll() {
  await clock.advance(10 * second);
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setTimeout(resolve, 1));
  await clock.advance(0);
}

async function started() {
  await write(directory, issue());
  source = await start();
  return source;
}

describe('an identity in files', () => {
  it('is there at once when the files are good', async () => {
    await started();
    expect(source?.current().spiffeId.uri).toBe('spiffe://cluster.local/ns/shop/sa/web');
    expect(source?.renewal()).toEqual({ nextAttemptMs: undefined, lastFailure: undefined, clockSkewMs: undefined });
  });

  it('is waited for until the files are there', async () => {
    const starting = start();
    await told('bad_pem');
    await write(directory, issue());
    await clock.advance(10 * second);
    source = await starting;
    expect(events).toEqual(['bad_pem', 'renewed 1']);
  });

  it('is no longer waited for when the signal is aborted', async () => {
    const controller = new AbortController();
    const starting = start({ signal: controller.signal });
    await told('bad_pem');
    const settled = expect(starting).rejects.toThrow('stopping');
    controller.abort(new Error('stopping'));
    await settled;
    expect(clock.pending).toBe(0);
  });

  it('follows the files with a new generation each', async () => {
    await started();
    const seen: number[] = [];
    source?.subscribe(({ generation }) => seen.push(generation));
    for (const expected of ['renewed 2', 'renewed 3']) {
      await write(directory, issue());
      change();
      await clock.advance(second);
      await told(expected);
    }
    expect(seen).toEqual([2, 3]);
  });

  it('takes a key in any PEM form, and a chain that holds its root', async () => {
    const { chainPem, key } = authority.issue({ id: 'ns/shop/sa/web' });
    const keyPem = key.export({ type: 'sec1', format: 'pem' }) as string;
    await write(directory, { chainPem: chainPem + authority.bundlePem, keyPem });
    source = await start();
    expect(source.current().chain).toHaveLength(1);
  });
});

describe('R20: a watch that misses an event', () => {
  it('R20: is made good by the poll', async () => {
    await started();
    await write(directory, issue());
    await clock.advance(10 * second);
    await told('renewed 2');
  });

  it('R20: and so is a folder that cannot be watched at all', async () => {
    const stop = watchFiles([join(directory, 'nowhere', 'tls.crt')], () => undefined);
    stop();
  });
});

describe('R21: files that are half written', () => {
  const cases: [string, string, () => Promise<void>][] = [
    ['half of the certificate', 'bad_pem', () => writeFile(paths.certificateFile, issue().chainPem.slice(0, 300))],
    ['an empty certificate', 'bad_pem', () => writeFile(paths.certificateFile, '')],
    ['half of the key', 'bad_pem', () => writeFile(paths.keyFile, issue().keyPem.slice(0, 100))],
    ['a new key beside the old certificate', 'key_mismatch', () => writeFile(paths.keyFile, issue().keyPem)],
    ['a new certificate beside the old key', 'key_mismatch', () => writeFile(paths.certificateFile, issue().chainPem)],
    ['an empty bundle', 'bundle_empty', () => writeFile(paths.bundleFile, '')],
    [
      'a bundle that vouches for another',
      'chain_invalid',
      () => writeFile(paths.bundleFile, createTestAuthority('cluster.local').bundlePem),
    ],
    ['a certificate for another identity', 'wrong_identity', () => write(directory, issue('admin'))],
    ['no key at all', 'bad_pem', () => rm(paths.keyFile)],
    ['1 MiB and a byte of key', 'bad_pem', () => writeFile(paths.keyFile, Buffer.alloc(1024 ** 2 + 1, 0x20))],
    [
      'a pipe in the place of the key',
      'bad_pem',
      async () => {
        await rm(paths.keyFile);
        execFileSync('mkfifo', [paths.keyFile]);
      },
    ],
  ];

  it.each(cases)('R21: %s is %s and keeps the old; what comes then is used', async (_, reason, arrange) => {
    await started();
    const inUse = source?.current();
    await arrange();
    change();
    await clock.advance(second);
    await told(reason);
    expect(source?.current() === inUse).toBe(true);
    expect(source?.renewal().lastFailure?.reason).toBe(reason);
    await rm(paths.keyFile, { force: true });
    await write(directory, issue());
    change();
    await clock.advance(second);
    await told('renewed 2');
    expect(source?.renewal().lastFailure).toBeUndefined();
  });

  it('R21: are told of once, not at each poll', async () => {
    await started();
    await writeFile(paths.keyFile, issue().keyPem);
    change();
    await clock.advance(second);
    await told('key_mismatch');
    for (let i = 0; i < 5; i++) await quietPoll();
    expect(events).toEqual(['renewed 1', 'key_mismatch']);
  });

  it('R21: and put back as they were are no failure any more, and no new generation', async () => {
    const first = issue();
    await write(directory, first);
    source = await start();
    await writeFile(paths.keyFile, issue().keyPem);
    change();
    await clock.advance(second);
    await told('key_mismatch');
    await writeFile(paths.keyFile, first.keyPem);
    change();
    await clock.advance(second);
    await expect.poll(() => source?.renewal().lastFailure).toBeUndefined();
    expect(events).toEqual(['renewed 1', 'key_mismatch']);
  });
});

describe('the bundle of another trust domain', () => {
  const partner = createTestAuthority('partner.example');
  const next = createTestAuthority('partner.example', { root: { subject: 'next root of the partner' } });
  const documentOf = (...roots: readonly (typeof partner)[]) =>
    JSON.stringify({
      keys: roots.map(({ root }) => ({ kty: 'EC', use: 'x509-svid', x5c: [root.der.toString('base64')] })),
    });
  const rootsOf = (domain = 'partner.example') =>
    source
      ?.current()
      .bundles.domains.get(domain)
      ?.map(({ pem }) => pem);
  /** A change of the partner's file, and the look after it. */
  async function replace(text: string | undefined): Promise<void> {
    if (text === undefined) await rm(partnerFile);
    else await writeFile(partnerFile, text);
    change();
    await clock.advance(second);
  }
  const startedWith = async (text: string) => {
    await write(directory, issue());
    await writeFile(partnerFile, text);
    source = await start({ isFederated: true });
  };

  it('is trusted beside our own, and never for it', async () => {
    await startedWith(partner.bundlePem);
    expect(watched).toEqual([...Object.values(paths), partnerFile]);
    expect(rootsOf()).toEqual([partner.bundlePem]);
    expect(rootsOf('cluster.local')).toEqual([authority.bundlePem]);
  });

  it('B6: makes a new generation without a new certificate when it changes, in either form', async () => {
    await startedWith(partner.bundlePem);
    const before = source?.current();
    await replace(documentOf(partner, next));
    await told('renewed 2');
    expect(rootsOf()).toEqual([partner.bundlePem, next.bundlePem]);
    expect(source?.current()).toMatchObject({ chainPem: before?.chainPem, notAfterMs: before?.notAfterMs });
    await replace(next.bundlePem);
    await told('renewed 3');
    expect(rootsOf()).toEqual([next.bundlePem]);
  });

  it('on a disk that hangs delays our own certificate by as long as it is waited for, and no longer', async () => {
    await write(directory, issue());
    let isHung = false;
    const readOfOthers = createPatientReader(clock, 1024 * 1024, (path, maxBytes) =>
      isHung ? new Promise(() => undefined) : readBoundedFile(path, maxBytes),
    );
    await writeFile(partnerFile, partner.bundlePem);
    source = await start({ isFederated: true, readOfOthers });
    for (const [generation, why] of [
      [2, `cannot be read within ${patienceMs} ms`],
      [3, 'hangs'],
    ] as const) {
      isHung = true;
      await write(directory, issue());
      await expect
        .poll(() => {
          change();
          return clock.advance(patienceMs).then(() => events.at(-1));
        })
        .toBe(`renewed ${generation}`);
      expect(events.at(-2)).toBe(`bundles refused: ${partnerFile} ${why}`);
      expect(rootsOf()).toEqual([partner.bundlePem]);
    }
  });

  it('makes no new generation when it says the same in another form', async () => {
    await startedWith(partner.bundlePem);
    await replace(documentOf(partner));
    await quietPoll();
    expect(events).toEqual(['renewed 1']);
  });

  it('B12: that publishes no root is trusted no more', async () => {
    await startedWith(documentOf(partner));
    await replace('{"keys":[]}');
    await told('renewed 2');
    expect([...(source?.current().bundles.domains.keys() ?? [])]).toEqual(['cluster.local']);
  });

  it.each([
    ['is empty', ''],
    ['is broken', '{"keys":'],
    ['is missing', undefined],
    ['has our own root', authority.bundlePem],
  ])('B2: that %s keeps the one in use, is told of once, and does not keep a renewal away', async (_, bad) => {
    await startedWith(partner.bundlePem);
    await replace(bad);
    await expect.poll(() => clock.advance(0).then(() => events.at(-1))).toContain(`bundles refused: ${partnerFile}`);
    const renewed = issue();
    await write(directory, renewed);
    change();
    await clock.advance(second);
    await told('renewed 2');
    expect(source?.current().chainPem).toBe(renewed.chainPem);
    expect(source?.renewal().lastFailure).toBeUndefined();
    expect(rootsOf()).toEqual([partner.bundlePem]);
    for (let i = 0; i < 3; i++) await quietPoll();
    expect(events).toHaveLength(3);
    await replace(next.bundlePem);
    await told('renewed 3');
    expect(rootsOf()).toEqual([next.bundlePem]);
  });

  it('is waited for at the start', async () => {
    await write(directory, issue());
    const starting = start({ isFederated: true });
    await told('bad_pem');
    await writeFile(partnerFile, partner.bundlePem);
    await clock.advance(10 * second);
    source = await starting;
    expect(events).toEqual(['bad_pem', 'renewed 1']);
  });

  it('B12: of ourselves may be a bundle document, which must publish a root', async () => {
    await write(directory, issue(), documentOf(authority));
    source = await start();
    expect(rootsOf('cluster.local')).toEqual([authority.bundlePem]);
    await writeFile(paths.bundleFile, '{"keys":[]}');
    change();
    await clock.advance(second);
    await told('bundle_empty');
    expect(rootsOf('cluster.local')).toEqual([authority.bundlePem]);
  });
});

describe('K13: a certificate that is not valid yet', () => {
  it('K13: is waited for, and used when its time has come', async () => {
    const { chainPem, key } = authority.issue({
      id: 'ns/shop/sa/web',
      notBeforeMs: clock.now() + 60 * second,
      notAfterMs: clock.now() + 3_600_000,
    });
    await write(directory, { chainPem, keyPem: key.export({ type: 'pkcs8', format: 'pem' }) as string });
    const starting = start();
    await told('not_yet_valid');
    await clock.advance(61 * second);
    await clock.advance(10 * second);
    await expect.poll(() => clock.advance(10 * second).then(() => events.at(-1))).toBe('renewed 1');
    source = await starting;
  });
});

describe('with the file system of this machine', () => {
  const renewed = (generation: number) =>
    expect.poll(() => events.at(-1), { timeout: 8000 }).toBe(`renewed ${generation}`);

  it('sees files that are replaced by renaming', async () => {
    await write(directory, issue());
    source = await start({ clock: systemClock, watch: watchFiles });
    const staging = join(directory, 'staging');
    await mkdir(staging);
    await write(staging, issue());
    for (const name of ['tls.key', 'tls.crt']) await rename(join(staging, name), join(directory, name));
    await renewed(2);
  });

  it('R9: sees the symlink of a Kubernetes volume that is swapped', async () => {
    const put = async (name: string) => {
      await mkdir(join(directory, name));
      await write(join(directory, name), issue());
      await symlink(name, join(directory, '..new'));
      await rename(join(directory, '..new'), join(directory, '..data'));
    };
    await put('..1');
    for (const name of ['tls.key', 'tls.crt', 'ca.crt']) await symlink(join('..data', name), join(directory, name));
    source = await start({ clock: systemClock, watch: watchFiles });
    await put('..2');
    await renewed(2);
  });
});
