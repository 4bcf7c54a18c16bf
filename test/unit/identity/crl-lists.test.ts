import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readCertificate } from '../../../src/identity/certificate.ts';
import type { Crl } from '../../../src/identity/crl.ts';
import { parseCrls, readCrlFile } from '../../../src/identity/crl.ts';
import type { CrlInForce, CrlsInForce } from '../../../src/identity/crl-lists.ts';
import { takeCrls, whyListed } from '../../../src/identity/crl-lists.ts';
import type { RevocablePeer } from '../../../src/identity/revocations.ts';
import { parseTrustBundles } from '../../../src/identity/trust-bundle.ts';
import type { MadeCertificate } from '../../support/certificates.ts';
import { makeAuthority, makeCertificate, nameConstraints } from '../../support/certificates.ts';
import type { CrlSpec } from '../../support/crls.ts';
import { issuingDistributionPoint, makeCrl } from '../../support/crls.ts';
import { context } from '../../support/der-writer.ts';
import { bundlesOf, createTestAuthority } from '../../support/identities.ts';

const mesh = createTestAuthority('cluster.local', { intermediates: 1 });
const partner = createTestAuthority('partner.example');
const leaf = mesh.issue({ id: 'ns/shop/sa/web' }).certificate;
const rootLeaf = makeCertificate({ issuer: mesh.root });
const none: CrlsInForce = new Map();
const minute = 60_000;

const trust = (overrides: Partial<Parameters<typeof takeCrls>[2]> = {}) => ({
  bundles: bundlesOf(mesh, partner),
  ownChain: [readCertificate(mesh.issuer.der)],
  nowMs: Date.now(),
  ...overrides,
});
const fileOf = (spec: CrlSpec, ...certificates: MadeCertificate[]) =>
  readCrlFile(Buffer.from([makeCrl(spec).pem, ...certificates.map(({ pem }) => pem)].join('')));
const peerOf = (certificate: MadeCertificate, trustDomain = 'cluster.local'): RevocablePeer => {
  const { serial, issuer } = readCertificate(certificate.der);
  return {
    spiffeId: { uri: `spiffe://${trustDomain}/ns/shop/sa/web`, trustDomain },
    certificates: [{ serial, issuer }],
  };
};
const serialsOf = (inForce: CrlsInForce) => [...inForce.values()].map(({ crl }) => [...crl.serials]);

describe('takeCrls', () => {
  it('takes a list that a root signed', () => {
    const { inForce, problems, keys } = takeCrls(none, fileOf({ issuer: mesh.root, revoked: [rootLeaf] }), trust());
    expect(problems).toEqual([]);
    expect(keys).toEqual([...inForce.keys()]);
    expect(whyListed(inForce)(peerOf(rootLeaf))).toMatch(/is on the revocation list of its issuer/);
    expect(whyListed(inForce)(peerOf(leaf))).toBeUndefined();
  });

  it.each<[string, () => { inForce: CrlsInForce }]>([
    ['of our own chain', () => takeCrls(none, fileOf({ issuer: mesh.issuer, revoked: [leaf] }), trust())],
    [
      'whose certificate is in the file',
      () => takeCrls(none, fileOf({ issuer: mesh.issuer, revoked: [leaf] }, mesh.issuer), trust({ ownChain: [] })),
    ],
  ])('takes a list that an intermediate signed %s', (_, take) => {
    expect(whyListed(take().inForce)(peerOf(leaf))).toBeDefined();
  });

  it('takes a list of an intermediate below another one that is in the file as well', () => {
    const deep = createTestAuthority('cluster.local', { intermediates: 2 });
    const middle = makeAuthority({ subject: 'middle', issuer: deep.root });
    const low = makeAuthority({ subject: 'low', issuer: middle });
    const one = makeCertificate({ issuer: low });
    const file = fileOf({ issuer: low, revoked: [one] }, low, middle);
    const taken = takeCrls(none, file, trust({ bundles: bundlesOf(deep), ownChain: [] }));
    expect(whyListed(taken.inForce)(peerOf(one))).toBeDefined();
    const without = takeCrls(none, fileOf({ issuer: low }, low), trust({ bundles: bundlesOf(deep), ownChain: [] }));
    expect(without.problems).toEqual([expect.stringMatching(/not signed by an authority/)]);
  });

  it('takes a list that one of several roots of a trust domain signed', () => {
    const roots = `${mesh.bundlePem}${makeAuthority({ subject: 'next' }).pem}`;
    const bundles = parseTrustBundles({ 'cluster.local': roots });
    const { inForce, problems } = takeCrls(none, fileOf({ issuer: mesh.root }), trust({ bundles }));
    expect([inForce.size, problems]).toEqual([1, []]);
  });

  it.each([
    ['cluster.local', 1],
    ['partner.example', 0],
  ])('goes by what an authority may name: one for %s puts %i list of the mesh into force', (host, lists) => {
    const extensions = [nameConstraints({ permitted: [host] })];
    const middle = makeAuthority({ subject: 'middle', issuer: mesh.root, extensions });
    const low = makeAuthority({ subject: 'low', issuer: middle });
    const { inForce } = takeCrls(none, fileOf({ issuer: low }, low, middle), trust({ ownChain: [] }));
    expect(inForce.size).toBe(lists);
  });

  const stranger = makeAuthority({ subject: 'root of cluster.local' });
  const pretender = makeCertificate({
    subject: 'intermediate 0 of cluster.local',
    issuer: mesh.root,
    keyUsage: ['keyCertSign', 'cRLSign'],
  });
  const signsNoCertificates = makeAuthority({ subject: 'lists', issuer: mesh.root, keyUsage: ['cRLSign'] });
  const signsNoLists = makeAuthority({ subject: 'certificates', issuer: mesh.root, keyUsage: ['keyCertSign'] });
  const saysNothing = makeAuthority({ subject: 'nothing', issuer: mesh.root, keyUsage: 'absent' });
  const weak = makeAuthority({ subject: 'weak', issuer: mesh.root, digest: 'sha1' });
  const odd = makeAuthority({
    subject: 'odd',
    issuer: mesh.root,
    extensions: [{ oid: '1.2.3', critical: true, value: Buffer.of(5, 0) }],
  });
  it.each<[string, ReturnType<typeof fileOf>]>([
    ['one signed whose certificate has a weak signature', fileOf({ issuer: weak, revoked: [leaf] }, weak)],
    ['one signed whose certificate has an unknown critical extension', fileOf({ issuer: odd, revoked: [leaf] }, odd)],
    ['nobody knows', fileOf({ issuer: stranger, revoked: [leaf] }, stranger)],
    ['another key signed in the name of the root', fileOf({ issuer: mesh.root, signer: stranger, revoked: [leaf] })],
    ['a workload signed', fileOf({ issuer: leaf, revoked: [leaf] }, leaf)],
    ['one signed who is no authority', fileOf({ issuer: pretender, revoked: [leaf] }, pretender)],
    ['one signed who may not issue', fileOf({ issuer: signsNoCertificates, revoked: [leaf] }, signsNoCertificates)],
    ['one signed who does not say what it may do', fileOf({ issuer: saysNothing, revoked: [leaf] }, saysNothing)],
    ['one signed who may not sign lists', fileOf({ issuer: signsNoLists, revoked: [leaf] }, signsNoLists)],
  ])('revokes nobody by a list that %s, and says so', (_, file) => {
    const { inForce, problems, keys } = takeCrls(none, file, trust({ ownChain: [] }));
    expect(inForce.size).toBe(0);
    expect(keys).toBeUndefined();
    expect(problems).toEqual([
      expect.stringMatching(/^CRL 1, of \S+, is not signed by an authority that a root vouches for$/),
    ]);
  });

  it('asks eight authorities of one name for a list, our own before those beside it and of roots the newest, and no more', () => {
    const namesakes = (count: number) =>
      Array.from({ length: count }, () => makeAuthority({ subject: 'same', issuer: mesh.root }));
    const signer = makeAuthority({ subject: 'same', issuer: mesh.root });
    const isTaken = (others: MadeCertificate[], own: MadeCertificate[] = []) =>
      takeCrls(
        none,
        fileOf({ issuer: signer }, ...others),
        trust({ ownChain: own.map(({ der }) => readCertificate(der)) }),
      ).inForce.size === 1;
    expect(isTaken([...namesakes(7), signer])).toBe(true);
    expect(isTaken([...namesakes(8), signer])).toBe(false);
    expect(isTaken(namesakes(20), [signer])).toBe(true);
    const roots = Array.from({ length: 9 }, () => makeAuthority({ subject: 'same root' }));
    const bundles = parseTrustBundles({ 'cluster.local': roots.map(({ pem }) => pem).join('') });
    const isTakenOf = (issuer: MadeCertificate) =>
      takeCrls(none, fileOf({ issuer }), trust({ bundles })).inForce.size === 1;
    expect(roots.map(isTakenOf)).toEqual([false, ...Array(8).fill(true)]);
  });

  it('asks whoever has the name of the list, however many others there are', () => {
    const others = Array.from({ length: 8 }, (_, index) => makeAuthority({ subject: `other ${index}` }));
    const signer = makeAuthority({ subject: 'signer', issuer: mesh.root });
    const bundles = parseTrustBundles({ 'cluster.local': [mesh.root, ...others].map(({ pem }) => pem).join('') });
    const isTaken = (issuer: MadeCertificate, ...beside: MadeCertificate[]) =>
      takeCrls(none, fileOf({ issuer }, ...beside), trust({ bundles, ownChain: [] })).inForce.size === 1;
    expect(isTaken(mesh.root)).toBe(true);
    expect(isTaken(signer, ...others, signer)).toBe(true);
  });

  it('keeps trust domains apart: an authority that has the name of another one revokes its own certificates only', () => {
    const twin = makeAuthority({ subject: 'intermediate 0 of cluster.local', issuer: partner.root });
    const { inForce } = takeCrls(none, fileOf({ issuer: twin, revoked: [leaf] }, twin), trust());
    expect(inForce.size).toBe(1);
    expect(whyListed(inForce)(peerOf(leaf))).toBeUndefined();
    expect(whyListed(inForce)(peerOf(leaf, 'partner.example'))).toBeDefined();
  });

  it('puts a newer list in the place of an older one, and lifts what it does not name', () => {
    const first = takeCrls(none, fileOf({ issuer: mesh.root, revoked: [rootLeaf], number: 1 }), trust());
    const second = takeCrls(first.inForce, fileOf({ issuer: mesh.root, number: 2 }), trust());
    expect(second.problems).toEqual([]);
    expect(whyListed(second.inForce)(peerOf(rootLeaf))).toBeUndefined();
  });

  it.each<[string, Partial<CrlSpec>, Partial<CrlSpec>]>([
    ['number', { number: 5, thisUpdateMs: 0 }, { number: 4, thisUpdateMs: minute }],
    ['date, where it has no number', { thisUpdateMs: minute }, { number: 'absent', thisUpdateMs: 0 }],
    ['date, where the one in force has no number', { number: 'absent', thisUpdateMs: minute }, { thisUpdateMs: 0 }],
    ['date, where both have the same number', { number: 5, thisUpdateMs: minute }, { number: 5, thisUpdateMs: 0 }],
  ])('does not go back to a list that is older by its %s', (_, newer, older) => {
    const first = takeCrls(none, fileOf({ issuer: mesh.root, revoked: [rootLeaf], ...newer }), trust());
    const second = takeCrls(first.inForce, fileOf({ issuer: mesh.root, ...older }), trust());
    expect(second.problems).toEqual([expect.stringMatching(/is older than the one in force, of \S+$/)]);
    expect(second.keys).toEqual(first.keys);
    expect(whyListed(second.inForce)(peerOf(rootLeaf))).toBeDefined();
  });

  it.each<[string, Partial<CrlSpec>, Partial<CrlSpec>]>([
    ['is newer by its date, where both have the same number', { thisUpdateMs: 0 }, { thisUpdateMs: minute }],
    ['has the number and the date of the one in force', { thisUpdateMs: minute }, { thisUpdateMs: minute }],
    ['is the first with a number, and newer', { number: 'absent', thisUpdateMs: 0 }, { thisUpdateMs: minute }],
  ])('takes a list that %s', (_, before, after) => {
    const first = takeCrls(none, fileOf({ issuer: mesh.root, ...before }), trust());
    const file = fileOf({ issuer: mesh.root, revoked: [rootLeaf], ...after });
    const second = takeCrls(first.inForce, file, trust());
    expect(second.problems).toEqual([]);
    expect(whyListed(second.inForce)(peerOf(rootLeaf))).toBeDefined();
  });

  it('goes by the number alone where both have one, since the clock of an authority may have been set', () => {
    const first = takeCrls(none, fileOf({ issuer: mesh.root, number: 1, thisUpdateMs: minute }), trust());
    const second = takeCrls(
      first.inForce,
      fileOf({ issuer: mesh.root, revoked: [rootLeaf], number: 2, thisUpdateMs: 0 }),
      trust(),
    );
    expect(whyListed(second.inForce)(peerOf(rootLeaf))).toBeDefined();
  });

  it('keeps a list in force that its file no longer holds, and the lists of other distribution points', () => {
    const point = (text: string) => [
      issuingDistributionPoint(context(0, true, context(0, true, context(6, false, Buffer.from(text))))),
    ];
    let { inForce } = takeCrls(
      none,
      fileOf({ issuer: mesh.root, revoked: [rootLeaf], extensions: point('a') }),
      trust(),
    );
    ({ inForce } = takeCrls(inForce, fileOf({ issuer: mesh.root, number: 2, extensions: point('b') }), trust()));
    expect(inForce.size).toBe(2);
    expect(whyListed(inForce)(peerOf(rootLeaf))).toBeDefined();
  });

  it('takes the good lists of a file beside one that it refuses', () => {
    const file = readCrlFile(
      Buffer.from(makeCrl({ issuer: stranger }).pem + makeCrl({ issuer: mesh.root, revoked: [rootLeaf] }).pem),
    );
    const { inForce, problems } = takeCrls(none, file, trust());
    expect(problems).toHaveLength(1);
    expect(serialsOf(inForce)).toEqual([[readCertificate(rootLeaf.der).serial]]);
  });
});

describe('the decision', () => {
  const serial = fc
    .uint8Array({ minLength: 1, maxLength: 3 })
    .map((bytes) => Buffer.from(bytes).toString('hex').toUpperCase());
  const issuer = fc.constantFrom('aa', 'bb', 'aabb');
  const domain = fc.constantFrom('a.example', 'b.example');
  const listed = fc.record({
    trustDomain: domain,
    issuer,
    point: fc.constantFrom('', 'cc'),
    serials: fc.array(serial),
  });
  const inForceOf = (lists: readonly { trustDomain: string; issuer: string; point: string; serials: string[] }[]) =>
    new Map<string, CrlInForce>(
      lists.map((list) => [
        `${list.trustDomain} ${list.issuer} ${list.point}`,
        {
          trustDomain: list.trustDomain,
          crl: { issuer: list.issuer, serials: new Set(list.serials) } as unknown as Crl,
        },
      ]),
    );
  const uniqueLists = fc.uniqueArray(listed, {
    selector: (list) => `${list.trustDomain} ${list.issuer} ${list.point}`,
    maxLength: 6,
  });

  it('is: some certificate of the path is on some list of its own issuer in its own trust domain', () => {
    const chain = fc.array(fc.record({ serial, issuer }), { maxLength: 4 });
    fc.assert(
      fc.property(uniqueLists, chain, domain, fc.nat(), (lists, certificates, trustDomain, pick) => {
        const known = lists.flatMap((list) => list.serials.map((one) => ({ serial: one, issuer: list.issuer })));
        const path =
          known.length === 0 || pick % 2 === 0 ? certificates : [...certificates, known[pick % known.length]!];
        const expected = path.some((one) =>
          lists.some(
            (list) =>
              list.trustDomain === trustDomain && list.issuer === one.issuer && list.serials.includes(one.serial),
          ),
        );
        const peer = { spiffeId: { uri: `spiffe://${trustDomain}/x`, trustDomain }, certificates: path };
        return (whyListed(inForceOf(lists))(peer) !== undefined) === expected;
      }),
      { numRuns: 500 },
    );
  });

  it('never takes a list back: whatever comes in whatever order, the highest number of each authority is in force', () => {
    const other = createTestAuthority('cluster.local', { intermediates: 0 });
    const authorities = [mesh.root, mesh.issuer, other.root];
    const made = authorities.map((authority) =>
      [1, 2, 3].map((number) => parseCrls(makeCrl({ issuer: authority, number }).der)[0]!),
    );
    const choice = fc.record({ authority: fc.nat(2), number: fc.nat(2) });
    fc.assert(
      fc.property(fc.array(fc.array(choice, { maxLength: 3 }), { maxLength: 6 }), (files) => {
        let inForce = none;
        const highest = new Map<number, number>();
        for (const choices of files) {
          const crls = choices.map(({ authority, number }) => made[authority]![number]!);
          ({ inForce } = takeCrls(inForce, { crls, certificates: [] }, trust()));
          for (const { authority, number } of choices)
            if (authority !== 2) highest.set(authority, Math.max(highest.get(authority) ?? 0, number + 1));
        }
        const numbers = [...inForce.values()].map(({ crl }) => Number(crl.number)).sort();
        return JSON.stringify(numbers) === JSON.stringify([...highest.values()].sort());
      }),
      { numRuns: 60 },
    );
  });
});
