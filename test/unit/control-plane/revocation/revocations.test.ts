import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { lookAtFiles } from '../../../../src/control-plane/file-looks.ts';
import type { RevocationBook, RevocationSettings } from '../../../../src/control-plane/revocation/revocations.ts';
import { openRevocations } from '../../../../src/control-plane/revocation/revocations.ts';
import { readCertificate } from '../../../../src/identity/certificate.ts';
import { createRevocations } from '../../../../src/identity/revocations.ts';
import type { CapturedLog } from '../../../support/captured-log.ts';
import { captureLog } from '../../../support/captured-log.ts';
import type { MadeCertificate } from '../../../support/certificates.ts';
import { makeAuthority, makeCertificate } from '../../../support/certificates.ts';
import type { CrlSpec } from '../../../support/crls.ts';
import { makeCrl } from '../../../support/crls.ts';
import type { FakeClock } from '../../../support/fake-clock.ts';
import { createFakeClock } from '../../../support/fake-clock.ts';
import { createTestAuthority } from '../../../support/identities.ts';

const hourMs = 3_600_000;
const web = 'spiffe://cluster.local/ns/shop/sa/web';
const when = '2026-11-22T10:00:00Z';
const own = createTestAuthority('cluster.local');
const partner = createTestAuthority('partner.example', { intermediates: 1 });
const nobody = createTestAuthority('nobody.example');
const bad = partner.issue({ id: 'ns/a/sa/bad', serial: Uint8Array.of(0, 0xba, 0xd0) }).certificate;
const worse = partner.issue({ id: 'ns/a/sa/worse', serial: Uint8Array.of(0x5e) }).certificate;
const nameOf = ({ der }: MadeCertificate) => readCertificate(der).subject;
const issuerName = nameOf(partner.issuer);

let folder: string;
let listFile: string;
let crlFile: string;
let clock: FakeClock;
let captured: CapturedLog;
let book: RevocationBook | undefined;
let published: Record<string, string>;
let watched: readonly string[];
let changes: number;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'remora-revocations-'));
  listFile = join(folder, 'revocations.json');
  crlFile = join(folder, 'partner.crl');
  clock = createFakeClock();
  captured = captureLog();
  published = { 'cluster.local': own.bundlePem, 'partner.example': partner.bundlePem };
});
afterEach(async () => {
  await book?.close();
  book = undefined;
  rmSync(folder, { recursive: true });
});

/** What a poll or a change would begin; resolves when it is over. */
let look: () => Promise<void>;
const heard = new Set<() => void>();
const publish = (roots: Record<string, string>) => {
  published = roots;
  for (const listener of heard) listener();
};
const bundles = {
  current: () => published,
  subscribe(listener: () => void) {
    heard.add(listener);
    return () => void heard.delete(listener);
  },
};
const open = async (settings: Partial<RevocationSettings> = {}) => {
  const lookAt: typeof lookAtFiles = (_, paths, next) => {
    look = next;
    watched = paths;
    return { close: async () => undefined };
  };
  const parts = { clock, log: captured.log, lookAt, bundles };
  book = await openRevocations(parts, { revocationsFile: listFile, crlFiles: [], staleCrl: 'accept', ...settings });
  changes = 0;
  book.subscribe(() => {
    changes += 1;
  });
  return book;
};
const openCrl = (staleCrl: RevocationSettings['staleCrl'] = 'accept') =>
  open({ revocationsFile: undefined, crlFiles: [crlFile], staleCrl });
const writeList = (value: object | string) =>
  writeFileSync(listFile, typeof value === 'string' ? value : JSON.stringify(value));
/** The intermediate signs, so its certificate stands beside the CRL. */
const writeCrl = (spec: Partial<CrlSpec> = {}, beside: string = partner.issuer.pem) =>
  writeFileSync(crlFile, makeCrl({ issuer: partner.issuer, revoked: [bad], ...spec }).pem + beside);
const errors = () => captured.lines.filter(({ level }) => level === 'error');

const none = { certificates: [], identities: [] };
const ofPartner = (...serials: readonly string[]) => ({
  ...none,
  certificates: [{ trustDomain: 'partner.example', issuer: issuerName, serials }],
});

describe("the operator's list", () => {
  const first = { certificates: [{ serial: '4a:0b', when }], identities: [{ spiffeId: web, when }] };

  it('is in force from the beginning, and again after each change', async () => {
    writeList(first);
    const { current, isIdentityRevoked, revokedAt } = await open();
    expect([revokedAt(web), revokedAt(`${web}2`)]).toEqual([when, undefined]);
    expect(current()).toEqual({ certificates: [{ serials: ['4A0B'] }], identities: [web] });
    expect([isIdentityRevoked(web), isIdentityRevoked(`${web}2`)]).toEqual([true, false]);
    writeList({ identities: [] });
    await look();
    expect(current()).toEqual(none);
    expect([isIdentityRevoked(web), changes]).toEqual([false, 1]);
    expect(captured.lines).toMatchObject([
      { msg: 'Revocations read', path: listFile, certificates: 1, identities: 1, revoked: [web, 'serial 4A0B'] },
      { msg: 'Revocations read', certificates: 0, identities: 0, lifted: [web, 'serial 4A0B'] },
    ]);
    expect(captured.lines.map((line) => [line.lifted === undefined, line.revoked === undefined])).toEqual([
      [true, false],
      [false, true],
    ]);
  });

  it('is named in the log by what is new in it, twenty names a line', async () => {
    writeList(first);
    await open();
    const many = Array.from({ length: 22 }, (_, index) => ({ spiffeId: `${web}-${index}`, when }));
    writeList({ ...first, identities: [...first.identities, ...many] });
    await look();
    expect(captured.lines.at(-1)).toMatchObject({ identities: 23, moreRevoked: 2 });
    expect(captured.lines.at(-1)?.revoked).toEqual(many.slice(0, 20).map(({ spiffeId }) => spiffeId));
  });

  it('that says the same again changes nothing', async () => {
    writeList(first);
    const { current } = await open();
    const before = current();
    writeList(JSON.stringify(first, undefined, 4));
    await look();
    expect(current()).toBe(before);
    expect(changes).toBe(0);
  });

  it('revokes nothing while it is not there, and is taken when it comes', async () => {
    const { current } = await open();
    expect(current()).toEqual(none);
    expect(watched).toEqual([listFile]);
    writeList(first);
    await look();
    expect(current().identities).toEqual([web]);
  });

  it.each([
    ['is broken', () => writeList('{"certificates":[')],
    ['is empty', () => writeList('')],
    ['has an unknown field', () => writeList({ ...first, serials: [] })],
    ['is gone', () => rmSync(listFile)],
  ])('stays as it was while the file %s, and that is said once', async (_, spoil) => {
    writeList(first);
    const { current } = await open();
    const before = current();
    spoil();
    await look();
    await look();
    expect(current()).toBe(before);
    expect(errors()).toMatchObject([
      { msg: 'The revocations cannot be read, those in force stay', why: expect.stringContaining(listFile) },
    ]);
    writeList(first);
    await look();
    spoil();
    await look();
    expect(errors()).toHaveLength(2);
  });

  it('that is broken from the beginning is refused with its name', async () => {
    writeList({ serials: [] });
    await expect(open()).rejects.toMatchObject({ exitCode: 78, problems: [`${listFile}: serials is not known`] });
  });

  it('without any file nothing is looked at', async () => {
    watched = ['/untouched'];
    expect((await open({ revocationsFile: undefined })).current()).toEqual(none);
    expect(watched).toEqual(['/untouched']);
  });
});

describe('a CRL', () => {
  it('is in force under the name of its issuer, an intermediate that stands beside it', async () => {
    writeCrl({ revoked: [bad, worse] });
    const { current, facts } = await openCrl();
    expect(current()).toEqual(ofPartner('BAD0', '5E'));
    expect(facts()).toMatchObject({ certificates: 2, identities: 0, isUnknown: false, crls: [{ isStale: false }] });
    expect(errors()).toEqual([]);
  });

  it('says nothing about peers of another trust domain, whatever name their issuers have', async () => {
    writeCrl();
    const { whyRevoked } = createRevocations((await openCrl()).current());
    const certificates = [{ serial: 'BAD0', issuer: issuerName }];
    const why = (trustDomain: string) => whyRevoked({ spiffeId: { trustDomain, uri: 'spiffe://a/b' }, certificates });
    expect([why('partner.example'), why('cluster.local')]).toEqual([
      'the certificate BAD0 has been revoked',
      undefined,
    ]);
  });

  it('of a root of our own or of another trust domain, in DER', async () => {
    for (const { root, trustDomain } of [own, partner]) {
      writeFileSync(crlFile, makeCrl({ issuer: root, revoked: [worse] }).der);
      const { current, close } = await openCrl();
      expect(current().certificates).toEqual([{ trustDomain, issuer: nameOf(root), serials: ['5E'] }]);
      await close();
    }
  });

  it.each<[string, () => void]>([
    ['of a root that is not published', () => writeCrl({ issuer: nobody.root }, nobody.root.pem)],
    ['of an intermediate that is not beside it', () => writeCrl({}, '')],
    ['that another key has signed', () => writeCrl({ signer: nobody.root })],
    ['of an authority that another root vouches for', () => writeCrl({ issuer: nobody.root }, nobody.root.pem)],
    [
      'of a workload',
      () => {
        const workload = makeCertificate({ issuer: partner.issuer, subject: 'workload' });
        writeCrl({ issuer: workload }, partner.issuer.pem + workload.pem);
      },
    ],
    [
      'of an authority that may not sign certificates',
      () => {
        const other = makeAuthority({ issuer: partner.root, subject: 'crl only', keyUsage: ['cRLSign'] });
        const leaf = makeAuthority({ issuer: other, subject: 'below' });
        writeCrl({ issuer: leaf }, other.pem + leaf.pem);
      },
    ],
  ])('%s counts for nothing, and the log says so', async (_, write) => {
    write();
    expect((await openCrl()).current()).toEqual(none);
    expect(errors()).toMatchObject([
      {
        path: crlFile,
        why: expect.stringMatching(/partner\.crl: CRL 1, .* is not signed by an authority that a root vouches for$/),
      },
    ]);
    await look();
    expect(errors()).toHaveLength(1);
  });

  it('counts as soon as its root is published, and no longer waits for a change of the file', async () => {
    writeCrl();
    const all = published;
    published = { 'cluster.local': own.bundlePem };
    const { current } = await openCrl();
    expect(current()).toEqual(none);
    publish(all);
    expect(current()).toEqual(ofPartner('BAD0'));
    expect(changes).toBe(1);
  });

  it('counts for nothing new when all is closed', async () => {
    writeCrl();
    const all = published;
    published = { 'cluster.local': own.bundlePem };
    const { close, current } = await openCrl();
    await close();
    publish(all);
    expect(current()).toEqual(none);
  });

  it('is read again when it changes', async () => {
    writeCrl();
    const { current } = await openCrl();
    writeCrl({ revoked: [bad, worse], number: 2 });
    await look();
    expect(current()).toEqual(ofPartner('BAD0', '5E'));
    await look();
    expect(changes).toBe(1);
  });

  it.each<[string, Partial<CrlSpec>]>([
    ['an older number', { number: 1, thisUpdateMs: Date.now() }],
    ['an older date', { number: 'absent', thisUpdateMs: Date.now() - 2 * hourMs }],
  ])('that is rolled back to %s is not taken', async (_, older) => {
    writeCrl({ revoked: [bad, worse], number: 2 });
    const { current, facts } = await openCrl();
    writeCrl({ revoked: [], ...older });
    await look();
    await look();
    expect(current()).toEqual(ofPartner('BAD0', '5E'));
    expect(errors()).toMatchObject([{ why: expect.stringMatching(/is older than the one in force, of /) }]);
    expect(facts().crls).toMatchObject([{ file: crlFile, isStale: true }]);
  });

  it('that cannot be read keeps the last one in force; from the beginning it is refused', async () => {
    writeCrl();
    const { current, facts } = await openCrl('refuse');
    writeFileSync(crlFile, 'x');
    await look();
    await look();
    expect(current()).toEqual(ofPartner('BAD0'));
    expect(facts().crls).toMatchObject([{ isStale: true }]);
    expect(errors()).toHaveLength(1);
    await expect(openCrl()).rejects.toMatchObject({ exitCode: 78, message: expect.stringContaining(crlFile) });
    rmSync(crlFile);
    await look();
    expect(current()).toEqual(ofPartner('BAD0'));
  });
});

describe('C29: a CRL', () => {
  const due = () => clock.now() + hourMs;

  it('that is missing means that nothing is known, by default', async () => {
    const { current, facts } = await openCrl();
    expect(current()).toEqual(none);
    expect(facts()).toMatchObject({ isUnknown: false, crls: [{ nextUpdateMs: undefined, isStale: true }] });
    expect(errors()).toMatchObject([{ why: `${crlFile}: it cannot be read (ENOENT)`, staleCrl: 'accept' }]);
  });

  it('that is missing is pushed as unknown where the operator chose so, until it is there', async () => {
    const { current, facts } = await openCrl('refuse');
    expect(current()).toEqual({
      ...none,
      unknown: `a CRL of the control plane is missing or out of date (${crlFile}: it cannot be read (ENOENT))`,
    });
    expect(facts().isUnknown).toBe(true);
    writeCrl();
    await look();
    expect(current()).toEqual(ofPartner('BAD0'));
    expect(facts()).toMatchObject({ isUnknown: false, crls: [{ isStale: false }] });
  });

  it('that is out of date stays in force, and is said to be stale', async () => {
    const nextUpdateMs = Math.floor(due() / 1000) * 1000;
    writeCrl({ nextUpdateMs });
    const { current, facts } = await openCrl();
    const before = current();
    expect(facts().crls).toEqual([{ file: crlFile, nextUpdateMs, isStale: false }]);
    await clock.advance(hourMs);
    await look();
    expect(current()).toBe(before);
    expect(facts().crls).toMatchObject([{ isStale: true }]);
    expect(errors()).toMatchObject([{ why: expect.stringContaining('a newer CRL was due at ') }]);
  });

  it('that is out of date is pushed as unknown as well where the operator chose so, with what is known of it', async () => {
    writeCrl({ nextUpdateMs: due() });
    const { current } = await openCrl('refuse');
    await clock.advance(hourMs - 2_000);
    await look();
    expect(current()).toEqual(ofPartner('BAD0'));
    await clock.advance(2_000);
    await look();
    expect(current()).toEqual({ ...ofPartner('BAD0'), unknown: expect.stringContaining('a newer CRL was due at ') });
    writeCrl({ nextUpdateMs: due(), number: 2 });
    await look();
    expect(current()).toEqual(ofPartner('BAD0'));
    expect(changes).toBe(2);
  });

  it('without an end never gets old', async () => {
    writeCrl({ nextUpdateMs: 'absent' });
    const { current, facts } = await openCrl('refuse');
    await clock.advance(10_000 * hourMs);
    await look();
    expect(current()).toEqual(ofPartner('BAD0'));
    expect(facts().crls).toEqual([{ file: crlFile, nextUpdateMs: undefined, isStale: false }]);
  });

  it('that nobody trusted has signed is as good as missing, also beside one that is', async () => {
    writeCrl({}, partner.issuer.pem + makeCrl({ issuer: nobody.root }).pem);
    const { current, facts } = await openCrl('refuse');
    expect(facts().crls).toEqual([{ file: crlFile, nextUpdateMs: expect.any(Number), isStale: true }]);
    expect(current()).toMatchObject({
      ...ofPartner('BAD0'),
      unknown: expect.stringMatching(/CRL 2, .* is not signed by an authority/),
    });
  });
});
