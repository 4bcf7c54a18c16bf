import { describe, expect, it } from 'vitest';
import type { Certificate } from '../../../src/identity/certificate.ts';
import { findTrustPath } from '../../../src/identity/trust-path.ts';
import { spiffeId } from '../../support/identities.ts';
import type { Facts } from './facts.ts';
import { authority, certificate, hourMs, now } from './facts.ts';

const id = spiffeId('spiffe://a/ns/n/sa/s');
const root = authority({ key: 'root', signer: 'root' });
const leaf = certificate({ key: 'leaf', signer: 'i1' });
/** Two intermediates between the leaf and the root; the upper one first in its name. */
const upper = (facts: Partial<Facts> = {}) => authority({ key: 'i2', signer: 'root', ...facts });
const lower = (facts: Partial<Facts> = {}) => authority({ key: 'i1', signer: 'i2', ...facts });

function search(intermediates: readonly Certificate[], anchors: readonly Certificate[] = [root]): string {
  const found = findTrustPath({ leaf, id, intermediates, anchors, nowMs: now });
  return found.kind === 'path' ? found.path.map(({ publicKey }) => publicKey).join(' ') : found.reason;
}

describe('findTrustPath', () => {
  it('C8: finds the path whatever the order, the duplicates and the strangers', () => {
    const [stranger, one, two] = [authority({ key: 'x', signer: 'x' }), lower(), upper()];
    expect(search([one, two])).toBe('leaf i1 i2 root');
    expect(search([two, one])).toBe('leaf i1 i2 root');
    expect(search([stranger, two, two, one, one, stranger, root])).toBe('leaf i1 i2 root');
  });

  it('C7: refuses a chain without an intermediate as untrusted', () => {
    expect(search([upper()])).toBe('untrusted');
    expect(search([])).toBe('untrusted');
  });

  it('C8: goes around an expired intermediate when another with the same key is valid', () => {
    expect(search([lower({ notAfterMs: now }), lower(), upper()])).toBe('leaf i1 i2 root');
  });

  it.each([
    ['C5: an expired intermediate', { notAfterMs: now }, 'expired'],
    ['C5: an intermediate of tomorrow', { notBeforeMs: now + 1 }, 'not_yet_valid'],
    ['C10: an intermediate that is no authority', { isAuthority: false }, 'untrusted'],
    [
      'C10: an intermediate that may not sign',
      { keyUsage: { digitalSignature: true, keyCertSign: false, crlSign: true } },
      'untrusted',
    ],
    ['C10: an intermediate without key usage', { keyUsage: undefined }, 'untrusted'],
    ['C13: an intermediate for another purpose', { purposes: ['1.3.6.1.5.5.7.3.3'] }, 'bad_purpose'],
    [
      'C15: an intermediate with a critical extension that is not understood',
      { unknownCritical: '1.2.3' },
      'critical_extension',
    ],
    ['C21: an intermediate with a weak key', { weakKey: 'weak' }, 'untrusted'],
    ['C21: an intermediate with a weak signature', { weakSignature: 'weak' }, 'untrusted'],
    [
      'C17: an intermediate that may name others only',
      { nameConstraints: { permittedHosts: ['b'], excludedHosts: [] } },
      'name_constraint',
    ],
  ])('%s: refused, wherever in the path it is', (_, facts, reason) => {
    expect(search([lower(facts), upper()])).toBe(reason);
    expect(search([lower(), upper(facts)])).toBe(reason);
  });

  it.each([
    ['C6: expired', { notAfterMs: now }, 'expired'],
    ['C12: with a path length', { pathLength: 1 }, 'path_length'],
    [
      'C17: with a name constraint',
      { nameConstraints: { permittedHosts: undefined, excludedHosts: ['a'] } },
      'name_constraint',
    ],
  ])('a root is held to the same: %s', (_, facts, reason) => {
    expect(search([lower(), upper()], [authority({ key: 'root', signer: 'root', ...facts })])).toBe(reason);
  });

  it('accepts a root without key usage and with a weak signature of its own, since it is trusted for its key', () => {
    const old = authority({ key: 'root', signer: 'root', keyUsage: undefined, weakSignature: 'SHA-1' });
    expect(search([lower(), upper()], [old])).toBe('leaf i1 i2 root');
  });

  it('refuses a root whose key usage does not let it sign', () => {
    const keyUsage = { digitalSignature: true, keyCertSign: false, crlSign: false };
    expect(search([lower(), upper()], [authority({ key: 'root', signer: 'root', keyUsage })])).toBe('untrusted');
  });

  it('C12: counts the intermediates below, and among them not those that are self-issued', () => {
    expect(search([lower({ pathLength: 0 }), upper({ pathLength: 1 })])).toBe('leaf i1 i2 root');
    expect(search([lower(), upper({ pathLength: 0 })])).toBe('path_length');
    const rollover = lower({ key: 'i1', signer: 'i1 old', subject: 'i', issuer: 'i' });
    const old = authority({ key: 'i1 old', signer: 'root', subject: 'i', pathLength: 0 });
    const below = certificate({ key: 'leaf', signer: 'i1', issuer: 'i' });
    const found = findTrustPath({ leaf: below, id, intermediates: [rollover, old], anchors: [root], nowMs: now });
    expect(found.kind).toBe('path');
  });

  it('C12: prefers the shorter of two paths, so that a detour does not fail a path length', () => {
    const detour = authority({ key: 'd', signer: 'i2' });
    const lowerByDetour = lower({ signer: 'd' });
    expect(search([lowerByDetour, detour, lower(), upper({ pathLength: 1 })])).toBe('leaf i1 i2 root');
  });

  it('C12: prefers the path with fewer intermediates that count, also when it has more certificates', () => {
    // From the leaf's issuer N to M either by way of P, or through a rollover of N that is self-issued twice.
    const named = (subject: string, issuer: string, key: string, signer: string) =>
      authority({ key, signer, subject, issuer });
    const byP = [named('N', 'P', 'n', 'p'), named('P', 'M', 'p', 'm')];
    const byRollover = [named('N', 'N', 'n', 'n2'), named('N', 'N', 'n2', 'n3'), named('N', 'M', 'n3', 'm')];
    const m = named('M', 'root', 'm', 'root');
    const below = certificate({ key: 'leaf', signer: 'n', issuer: 'N' });
    const strict = authority({ key: 'root', signer: 'root', pathLength: 2 });
    const intermediates = [...byP, ...byRollover, m];
    expect(findTrustPath({ leaf: below, id, intermediates, anchors: [strict], nowMs: now }).kind).toBe('path');
    expect(findTrustPath({ leaf: below, id, intermediates: [...byP, m], anchors: [strict], nowMs: now })).toMatchObject(
      {
        reason: 'path_length',
      },
    );
  });

  it('C17: matches a host with itself, and one with a leading dot with what is below it', () => {
    const permit = (...hosts: string[]) =>
      search([lower({ nameConstraints: { permittedHosts: hosts, excludedHosts: [] } }), upper()]);
    const exclude = (...hosts: string[]) =>
      search([lower({ nameConstraints: { permittedHosts: undefined, excludedHosts: hosts } }), upper()]);
    const accepted = 'leaf i1 i2 root';
    expect(permit('a')).toBe(accepted);
    expect(permit('b', 'A')).toBe(accepted);
    for (const host of ['', '.a', 'b', 'aa', 'x.a', '.']) expect(permit(host)).toBe('name_constraint');
    expect(exclude('b', '.a', 'aa')).toBe(accepted);
    for (const host of ['a', 'A', '']) expect(exclude(host)).toBe('name_constraint');
    const search2 = (hosts: string[], trustDomain = 'east.a') =>
      findTrustPath({
        leaf,
        id: { ...id, trustDomain },
        intermediates: [lower({ nameConstraints: { permittedHosts: hosts, excludedHosts: [] } }), upper()],
        anchors: [root],
        nowMs: now,
      }).kind;
    expect(search2(['.a'])).toBe('path');
    expect(search2(['a'])).toBe('refused');
    expect(search2(['.east.a'])).toBe('refused');
    expect(search2(['.a'], '.a')).toBe('refused');
  });

  it('takes the root that lasts longest among those that vouch', () => {
    const soon = authority({ key: 'root', signer: 'root', notAfterMs: now + 1 });
    const later = authority({ key: 'root', signer: 'root', notAfterMs: now + 9 * hourMs });
    for (const anchors of [
      [soon, later],
      [later, soon],
    ]) {
      const found = findTrustPath({ leaf, id, intermediates: [lower(), upper()], anchors, nowMs: now });
      expect(found.kind === 'path' && found.path.at(-1)).toBe(later);
    }
  });

  it('C8: ends with certificates that vouch for each other in a circle', () => {
    const circle = [authority({ key: 'i1', signer: 'i2' }), authority({ key: 'i2', signer: 'i1' })];
    expect(search(circle)).toBe('untrusted');
  });

  it('C8: gives up on many certificates of one name as chain_too_long, after a bounded number of signatures', () => {
    let checked = 0;
    const knot = Array.from({ length: 20 }, () => {
      const one = authority({ key: 'k', signer: 'k' });
      const isSignedBy = () => {
        checked += 1;
        return true;
      };
      return { ...one, isSignedBy };
    });
    const below = certificate({ key: 'leaf', signer: 'k' });
    const found = findTrustPath({ leaf: below, id, intermediates: knot, anchors: [root], nowMs: now });
    expect(found).toMatchObject({ kind: 'refused', reason: 'chain_too_long' });
    expect(checked).toBeLessThanOrEqual(32);
  });

  it('C22: never checks a signature with a weak key, since a huge one makes that expensive', () => {
    let checked = 0;
    const isSignedBy = () => {
      checked += 1;
      return true;
    };
    const child = { ...leaf, isSignedBy };
    const huge = lower({ weakKey: 'its RSA key has 16384 bits' });
    expect(findTrustPath({ leaf: child, id, intermediates: [huge], anchors: [root], nowMs: now })).toMatchObject({
      reason: 'untrusted',
      why: 'an issuer is too weak: its RSA key has 16384 bits',
    });
    expect(checked).toBe(0);
  });

  it('C8: accepts what the thirty-second signature shows, and asks for no thirty-third', () => {
    const namesakes = (count: number) =>
      Array.from({ length: count }, () => authority({ key: 'other', signer: 'x', subject: 'i1' }));
    expect(search([...namesakes(30), lower({ signer: 'root' })])).toBe('leaf i1 root');
    expect(search([...namesakes(31), lower({ signer: 'root' })])).toBe('chain_too_long');
  });

  it('C8: asks no certificate twice who issued it, and none whether it issued one on the way to it', () => {
    let checked = 0;
    const counting = (one: Certificate): Certificate => ({
      ...one,
      isSignedBy: (issuer) => {
        checked += 1;
        return one.isSignedBy(issuer);
      },
    });
    const below = counting(certificate({ key: 'leaf', signer: 'n' }));
    const twins = [1, 2].map(() => counting(authority({ key: 'n', signer: 'm' })));
    const m = counting(authority({ key: 'm', signer: 'n' }));
    const namesake = authority({ key: 'x', signer: 'x', subject: 'n' });
    const intermediates = [...twins, m, namesake];
    const found = findTrustPath({ leaf: below, id, intermediates, anchors: [root], nowMs: now });
    expect(found.kind).toBe('refused');
    // The leaf by both twins and their namesake, each twin by m, and m, which was reached from both, once by the namesake.
    expect(checked).toBe(6);
  });

  it.each([
    ['begins in 1 ms', { notBeforeMs: now + 1 }, 'a certificate in the chain begins in 1 ms'],
    ['ended 5 ms ago', { notAfterMs: now - 5 }, 'a certificate in the chain ended 5 ms ago'],
    ['allows fewer', { pathLength: 0 }, 'an issuer allows 0 intermediates below it, there are 1'],
    ['may not name us', { nameConstraints: { permittedHosts: [], excludedHosts: [] } }, 'an issuer may not name a'],
    ['is weakly signed', { weakSignature: 'it is signed with MD5' }, 'an issuer is too weak: it is signed with MD5'],
    ['is unknown', { unknownCritical: '1.2.3' }, 'the critical extension 1.2.3 is not understood'],
    ['has no name', { subject: '' }, 'no root of a vouches for the certificate'],
  ])('says in words that an issuer %s', (_, facts, why) => {
    const found = findTrustPath({ leaf, id, intermediates: [lower(), upper(facts)], anchors: [root], nowMs: now });
    expect(found).toMatchObject({ kind: 'refused', why });
  });

  it('C30: takes a namesake only when both say the same of its key, or one says nothing', () => {
    const named = (subjectKeyId?: string, authorityKeyId?: string) => {
      const below = certificate({ key: 'leaf', signer: 'root', authorityKeyId });
      const anchors = [authority({ key: 'root', signer: 'root', subjectKeyId })];
      return findTrustPath({ leaf: below, id, intermediates: [], anchors, nowMs: now }).kind;
    };
    expect([named('k', 'k'), named('k'), named(undefined, 'k'), named()]).toEqual(['path', 'path', 'path', 'path']);
    expect(named('k', 'other')).toBe('refused');
  });
});
