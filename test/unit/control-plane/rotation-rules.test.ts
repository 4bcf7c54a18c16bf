import { describe, expect, it } from 'vitest';
import { createRoot } from '../../../src/control-plane/authority.ts';
import { selfSignCertificate } from '../../../src/control-plane/ca.ts';
import type { RootSet } from '../../../src/control-plane/root-set.ts';
import { fingerprintOf } from '../../../src/control-plane/root-set.ts';
import type { RotationStep } from '../../../src/control-plane/rotation-rules.ts';
import { impossibility, obstaclesTo, rotationSteps } from '../../../src/control-plane/rotation-rules.ts';
import type { Living, LivingSidecar } from '../../../src/control-plane/sidecar-book.ts';

const nowMs = Date.parse('2030-05-01T12:00:00Z');
const soonMs = nowMs + 60_000;
const [one, two] = [createRoot('cluster.local', nowMs), createRoot('cluster.local', nowMs)];
const [old, latest] = [fingerprintOf(one.certificate), fingerprintOf(two.certificate)];

const steady: RootSet = { root: one };
const added: RootSet = { root: one, next: two };
const switched: RootSet = { root: two, previous: one.certificate };

/** Has said all that both steps ask for, and needs the old root no more. */
const fine: LivingSidecar = {
  pod: 'shop/web-0',
  namespace: 'shop',
  podName: 'web-0',
  podUid: 'uid',
  serviceAccount: 'web',
  reportedAtMs: nowMs,
  certificates: new Map([[latest, soonMs]]),
  streams: 1,
  toldRoots: [old, latest],
  report: { issuedBy: latest, trustedRoots: [old, latest], controlPlaneRoots: [old, latest], peersByRoot: [] },
  callers: undefined,
};
const living = (...sidecars: LivingSidecar[]): Living => ({ sidecars, unnamedUntilMs: new Map(), unknownUntilMs: 0 });
const obstacles = (step: RotationStep, roots: RootSet, alive: Living) =>
  obstaclesTo(step, { roots, living: alive, nowMs });
const reporting = (report: LivingSidecar['report']): LivingSidecar => ({
  ...fine,
  report: { ...fine.report, ...report },
});

describe('the order of the steps', () => {
  const possible = (roots: RootSet) =>
    rotationSteps.filter((step) => impossibility(step, { roots, living: living(), nowMs }) === undefined);

  it('allows each step in its phase alone', () => {
    expect([possible(steady), possible(added), possible(switched)]).toEqual([['add'], ['switch', 'abort'], ['remove']]);
  });

  it('says what can be done instead', () => {
    const why = (step: RotationStep, roots: RootSet) => impossibility(step, { roots, living: living(), nowMs });
    expect(why('switch', steady)).toContain('begin one with `add`');
    expect(why('add', added)).toContain('`switch` to it, or `abort`');
    expect(why('add', switched)).toContain('`remove` the previous root');
  });

  const withNext = (notBeforeMs: number, notAfterMs: number): RootSet => {
    const { publicKey } = two.certificate;
    const names = [{ kind: 'uri', uri: 'spiffe://cluster.local' }] as const;
    const template = { usage: 'root', commonName: 'x', names, publicKey, notBeforeMs, notAfterMs } as const;
    return { root: one, next: { certificate: selfSignCertificate(template, two.key), key: two.key } };
  };

  it.each([
    ['is not valid yet', nowMs + 1000, nowMs + 2000, /valid from/],
    ['has ended', nowMs - 2000, nowMs - 1000, /ended at/],
    ['ends now', nowMs - 2000, nowMs, /ended at/],
  ])('does not switch to a root that %s, and can still abort', (_, notBeforeMs, notAfterMs, expected) => {
    const facts = { roots: withNext(notBeforeMs, notAfterMs), living: living(), nowMs };
    expect(impossibility('switch', facts)).toMatch(expected);
    expect(impossibility('abort', facts)).toBeUndefined();
  });

  it('switches to a root from its first moment on', () => {
    expect(possible(withNext(nowMs, nowMs + 1000))).toEqual(['switch', 'abort']);
  });

  it('has nobody in the way of a step that is not possible', () => {
    const lost = { ...living({ ...fine, report: undefined }), unknownUntilMs: soonMs };
    const pairs: [RotationStep, RootSet][] = [
      ['add', added],
      ['switch', steady],
      ['remove', added],
      ['abort', switched],
    ];
    for (const [step, roots] of pairs) expect(obstacles(step, roots, lost)).toEqual([]);
  });
});

describe('add', () => {
  it('breaks nobody', () => {
    const nobody = { ...fine, report: undefined };
    expect(obstacles('add', steady, { ...living(nobody), unknownUntilMs: soonMs })).toEqual([]);
  });
});

describe('switch', () => {
  it('breaks nobody when every living sidecar has confirmed the next root', () => {
    expect(obstacles('switch', added, living(fine, { ...fine, pod: 'shop/web-1' }))).toEqual([]);
    expect(obstacles('switch', added, living())).toEqual([]);
  });

  it.each([
    ['has said nothing and was told', { report: undefined }, /web-0 .*trusts the next root, of which it was told/],
    ['has said nothing of roots', { report: {} }, /of which it was told/],
    ['trusts the old root alone', { report: { trustedRoots: [old] } }, /of which it was told/],
    ['was not told', { report: { trustedRoots: [old] }, toldRoots: [old] }, /is yet to be told/],
    ['has no stream', { report: undefined, toldRoots: undefined, streams: 0 }, /no stream on which to tell it/],
  ])('is refused while a sidecar %s', (_, change, expected) => {
    const [obstacle, ...more] = obstacles('switch', added, living(fine, { ...fine, ...change }));
    expect(`${obstacle?.who} ${obstacle?.why}`).toMatch(expected);
    expect(more).toEqual([]);
  });

  it('is refused while certificates from before the start are not known, and while somebody has no name in the book', () => {
    expect(obstacles('switch', added, { ...living(fine), unknownUntilMs: soonMs })).toMatchObject([
      { who: null, why: expect.stringMatching(/before this control plane started.*2030-05-01T12:01:00/) },
    ]);
    expect(obstacles('switch', added, { ...living(fine), unknownUntilMs: nowMs })).toEqual([]);
    expect(obstacles('switch', added, { ...living(fine), unnamedUntilMs: new Map([[old, soonMs]]) })).toMatchObject([
      { who: null, why: expect.stringContaining('More sidecars than can be kept by name') },
    ]);
  });
});

describe('remove', () => {
  it('breaks nobody when nobody needs the old root', () => {
    expect(obstacles('remove', switched, living(fine))).toEqual([]);
  });

  it.each<[string, LivingSidecar, RegExp]>([
    [
      'has a certificate under it',
      { ...fine, certificates: new Map([[old, soonMs]]) },
      /certificate under it until 2030/,
    ],
    ['says that its own certificate is under it', reporting({ issuedBy: old }), /its own certificate is under it/],
    ['meets a peer under it', reporting({ peersByRoot: [{ root: old, peers: 1 }] }), /reports 1 peer under it/],
    ['meets peers under it', reporting({ peersByRoot: [{ root: old, peers: 3 }] }), /reports 3 peers under it/],
    [
      'does not say whom it meets',
      reporting({ peersByRoot: undefined }),
      /has not said under which roots its peers are/,
    ],
    [
      'does not trust the issuing root',
      reporting({ trustedRoots: [old] }),
      /has not confirmed that it trusts the issuing root/,
    ],
    ['has a CA file that lags behind', reporting({ controlPlaneRoots: [old] }), /a CA file without the issuing root/],
    ['does not say what its CA file holds', reporting({ controlPlaneRoots: undefined }), /has not said by which roots/],
  ])('is refused while a sidecar %s', (_, sidecar, expected) => {
    const found = obstacles('remove', switched, living(fine, sidecar));
    expect(found).toMatchObject([{ who: 'shop/web-0', why: expect.stringMatching(expected) }]);
  });

  it('is refused while a sidecar has said nothing', () => {
    const found = obstacles('remove', switched, living({ ...fine, report: undefined }));
    expect(found.map(({ why }) => why)).toEqual([
      'has not confirmed that it trusts the issuing root, of which it was told',
      'has not said by which roots it trusts the control plane',
    ]);
  });

  it('is not disturbed by peers under the root that stays', () => {
    expect(obstacles('remove', switched, living(reporting({ peersByRoot: [{ root: latest, peers: 3 }] })))).toEqual([]);
  });

  it('is refused while a CRL that sidecars need is good by it alone', () => {
    const crlUnder = (root: string) => (root === old ? 'root.crl' : undefined);
    expect(obstaclesTo('remove', { roots: switched, living: living(fine), nowMs, crlUnder })).toEqual([
      { who: null, why: 'Without it nobody vouches for the CRL in root.crl, and sidecars would trust nobody new' },
    ]);
  });

  it('is refused while certificates are not known, and while somebody without a name has one under it', () => {
    expect(obstacles('remove', switched, { ...living(fine), unknownUntilMs: soonMs })).toHaveLength(1);
    const unnamed = (root: string) => ({ ...living(fine), unnamedUntilMs: new Map([[root, soonMs]]) });
    expect(obstacles('remove', switched, unnamed(old))).toHaveLength(1);
    expect(obstacles('remove', switched, unnamed(latest))).toEqual([]);
  });
});

describe('abort', () => {
  it('is refused when something chains to the next root', () => {
    const unused = reporting({ issuedBy: old });
    expect(obstacles('abort', added, living({ ...unused, certificates: new Map([[old, soonMs]]) }))).toEqual([]);
    expect(obstacles('abort', added, living(unused))).toMatchObject([
      { why: expect.stringContaining('certificate under it') },
    ]);
  });
});
