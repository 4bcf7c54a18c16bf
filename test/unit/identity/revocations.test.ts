import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { RevocablePeer, RevocationLists } from '../../../src/identity/revocations.ts';
import { createRevocations, joinRevocations, noRevocations } from '../../../src/identity/revocations.ts';
import { spiffeId } from '../../support/identities.ts';

const id = spiffeId('spiffe://a/ns/n/sa/s');
const peer: RevocablePeer = {
  spiffeId: id,
  certificates: [
    { serial: '0A', issuer: 'aa' },
    { serial: '0B', issuer: 'bb' },
  ],
};
const why = (lists: Partial<RevocationLists>, of = peer) =>
  createRevocations({ certificates: [], identities: [], ...lists }).whyRevoked(of);

describe('createRevocations', () => {
  it('knows nothing against anybody when the lists are empty', () => {
    expect(why({})).toBeUndefined();
    expect(noRevocations.whyRevoked(peer)).toBeUndefined();
    expect(noRevocations.unknown).toBeUndefined();
    expect(noRevocations.whyRevoked({ ...peer, certificates: [{ serial: '', issuer: '' }] })).toBeUndefined();
  });

  it('C28: finds any certificate of the path by its serial and its issuer', () => {
    expect(why({ certificates: [{ issuer: 'aa', serials: ['0A'] }] })).toBe('the certificate 0A has been revoked');
    expect(why({ certificates: [{ issuer: 'bb', serials: ['0C', '0B'] }] })).toBe(
      'the certificate 0B has been revoked',
    );
  });

  it('C28: leaves the same serial of another issuer alone, unless the list has no issuer', () => {
    expect(why({ certificates: [{ issuer: 'bb', serials: ['0A'] }] })).toBeUndefined();
    expect(why({ certificates: [{ issuer: 'aa', serials: ['0a', 'A', '00A'] }] })).toBeUndefined();
    expect(why({ certificates: [{ serials: ['0A'] }] })).toBe('the certificate 0A has been revoked');
  });

  it('C28: finds an identity byte for byte, whatever its certificates are', () => {
    expect(why({ identities: [id.uri] }, { ...peer, certificates: [] })).toBe(
      'the identity spiffe://a/ns/n/sa/s has been revoked',
    );
    expect(why({ identities: [`${id.uri}2`, 'spiffe://a/ns/n/sa/S', 'spiffe://a'] })).toBeUndefined();
  });

  it('counts each certificate and each identity once', () => {
    const one = createRevocations({
      certificates: [{ issuer: 'aa', serials: ['0A', '0B', '0A'] }, { serials: ['0A'] }],
      identities: [id.uri, id.uri],
    });
    expect(one.counts).toEqual({ certificates: 3, identities: 1 });
    expect(joinRevocations(one, noRevocations, one).counts).toEqual({ certificates: 6, identities: 2 });
    expect(joinRevocations().counts).toEqual({ certificates: 0, identities: 0 });
  });

  it('carries on what cannot be known', () => {
    expect(createRevocations({ certificates: [], identities: [], unknown: 'late' }).unknown).toBe('late');
  });

  it('agrees with a search through the lists, entry by entry', () => {
    const serial = fc.constantFrom('0A', '0B', '0C', '1');
    const issuer = fc.constantFrom('aa', 'bb', 'cc');
    const lists = fc.record({
      certificates: fc.array(fc.record({ issuer: fc.option(issuer, { nil: undefined }), serials: fc.array(serial) }), {
        maxLength: 3,
      }),
      identities: fc.subarray(['spiffe://a/b', 'spiffe://a/c']),
    });
    const peers = fc.record({
      spiffeId: fc.constantFrom('spiffe://a/b', 'spiffe://a/d').map(spiffeId),
      certificates: fc.array(fc.record({ serial, issuer }), { maxLength: 3 }),
    });
    fc.assert(
      fc.property(lists, peers, ({ certificates, identities }, one) => {
        const isListed =
          identities.includes(one.spiffeId.uri) ||
          one.certificates.some((certificate) =>
            certificates.some(
              (list) =>
                (list.issuer === undefined || list.issuer === certificate.issuer) &&
                list.serials.includes(certificate.serial),
            ),
          );
        expect(createRevocations({ certificates, identities }).whyRevoked(one) !== undefined).toBe(isListed);
      }),
    );
  });
});

describe('joinRevocations', () => {
  const leaf = createRevocations({ certificates: [{ serials: ['0A'] }], identities: [] });
  const late = createRevocations({ certificates: [], identities: [], unknown: 'late' });

  it('C28: revokes what any source revokes, and does not know what any does not', () => {
    expect(joinRevocations(noRevocations, leaf).whyRevoked(peer)).toBe('the certificate 0A has been revoked');
    expect(joinRevocations(leaf, noRevocations).whyRevoked(peer)).toBe('the certificate 0A has been revoked');
    expect(joinRevocations(noRevocations, late).unknown).toBe('late');
    expect(joinRevocations(late, leaf).unknown).toBe('late');
  });

  it('knows nothing when no source does', () => {
    expect(joinRevocations().whyRevoked(peer)).toBeUndefined();
    expect(joinRevocations(noRevocations, noRevocations).whyRevoked(peer)).toBeUndefined();
    expect(joinRevocations(noRevocations, leaf).unknown).toBeUndefined();
  });
});
