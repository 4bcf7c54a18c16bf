import { describe, expect, it } from 'vitest';
import { createBridge, createRoot } from '../../../src/control-plane/authority.ts';
import type { RootSet } from '../../../src/control-plane/root-set.ts';
import {
  fingerprintOf,
  isSameCertificate,
  isSameRootSet,
  phaseOf,
  trustedRoots,
} from '../../../src/control-plane/root-set.ts';

const nowMs = Date.parse('2030-05-01T12:00:00Z');
const [one, two, three] = [1, 2, 3].map(() => createRoot('cluster.local', nowMs)) as [Root, Root, Root];
type Root = ReturnType<typeof createRoot>;
const bridge = createBridge(two.certificate, one, nowMs);

const steady: RootSet = { root: one };
const added: RootSet = { root: one, next: two };
const switched: RootSet = { root: two, previous: one.certificate, bridge };

describe('a set of roots', () => {
  it('has a phase by the root that is there beside the issuing one', () => {
    expect([steady, added, switched].map(phaseOf)).toEqual(['steady', 'added', 'switched']);
  });

  it('trusts each of them, in an order that a switch leaves as it is', () => {
    expect(trustedRoots(steady)).toEqual([one.certificate]);
    expect(trustedRoots(added)).toEqual([one.certificate, two.certificate]);
    expect(trustedRoots(switched)).toEqual([one.certificate, two.certificate]);
  });

  it('names a root by its SHA-256 in lower case', () => {
    expect(fingerprintOf(one.certificate)).toMatch(/^[0-9a-f]{64}$/);
    expect(fingerprintOf(one.certificate)).not.toBe(fingerprintOf(two.certificate));
  });
});

describe('the same certificate', () => {
  it('is one that is there twice', () => {
    const { certificate } = one;
    expect(isSameCertificate(certificate, certificate)).toBe(true);
    expect(isSameCertificate(certificate, two.certificate)).toBe(false);
    expect(isSameCertificate(certificate, undefined)).toBe(false);
    expect(isSameCertificate(undefined, certificate)).toBe(false);
    expect(isSameCertificate(undefined, undefined)).toBe(false);
  });
});

describe('the same set of roots', () => {
  it('holds the same certificates', () => {
    for (const roots of [steady, added, switched]) expect(isSameRootSet(roots, { ...roots })).toBe(true);
  });

  it.each<[string, RootSet, RootSet]>([
    ['issuing root', steady, { root: two }],
    ['next root', added, { root: one, next: three }],
    ['previous root', switched, { ...switched, previous: three.certificate }],
    ['bridge', switched, { ...switched, bridge: createBridge(two.certificate, one, nowMs) }],
    ['number of roots', steady, added],
    ['number of bridges', switched, { ...switched, bridge: undefined }],
    ['places', { root: one, next: two }, { root: one, previous: two.certificate }],
    ['key of the next root', added, { root: one, next: { certificate: two.certificate } }],
  ])('has no other %s', (_, roots, other) => {
    expect(isSameRootSet(roots, other)).toBe(false);
    expect(isSameRootSet(other, roots)).toBe(false);
  });

  it('is the same without the key of its next root, when that is kept elsewhere', () => {
    const roots: RootSet = { root: one, next: { certificate: two.certificate } };
    expect(isSameRootSet(roots, { ...roots })).toBe(true);
  });
});
