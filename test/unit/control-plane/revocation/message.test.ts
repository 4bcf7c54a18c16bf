import { describe, expect, it } from 'vitest';
import { maxReplyBytes } from '../../../../src/control-api.ts';
import { listLimits } from '../../../../src/control-plane/revocation/list.ts';
import { bytesOf, maxStateBytes, unionOf } from '../../../../src/control-plane/revocation/message.ts';

const none = { certificates: [], identities: [] };
const web = 'spiffe://cluster.local/ns/shop/sa/web';
const serialsOf = (count: number) =>
  Array.from({ length: count }, (_, index) => `4${index.toString(16).toUpperCase().padStart(39, '0')}`);
const countIn = ({ certificates }: ReturnType<typeof unionOf>) =>
  certificates.reduce((sum, { serials }) => sum + serials.length, 0);

describe('what sidecars are told', () => {
  it('is the list of the operator and every CRL under the name of its issuer', () => {
    const list = { certificates: [{ serials: ['4A'] }], identities: [web] };
    const crls = [
      { issuer: 'aa', serials: ['01'] },
      { issuer: 'bb', serials: [] },
    ];
    expect(unionOf(list, crls, undefined)).toEqual({
      certificates: [{ serials: ['4A'] }, { issuer: 'aa', serials: ['01'] }],
      identities: [web],
    });
    expect(unionOf(none, [], 'a CRL is missing')).toEqual({ ...none, unknown: 'a CRL is missing' });
  });

  it('fits into a line of a stream to the last byte', () => {
    const crls = [{ issuer: 'aa', serials: serialsOf(6_071) }];
    const state = unionOf(none, crls, undefined);
    expect(state.unknown).toBeUndefined();
    expect(bytesOf(state)).toBeLessThanOrEqual(maxStateBytes);
    expect(bytesOf(state)).toBeGreaterThan(maxStateBytes - 100);
  });

  it('is not known when it does not fit: as much as fits, the list of the operator first, and nobody new is trusted', () => {
    const serials = serialsOf(2_900);
    const list = { certificates: [{ serials }], identities: [web] };
    expect(bytesOf(list)).toBeLessThanOrEqual(listLimits.pushedBytes);
    const crls = [
      { issuer: 'aa'.repeat(100), serials: serialsOf(100) },
      { issuer: 'bb', serials: serialsOf(100_000) },
      { issuer: 'cc', serials: ['01'] },
    ];
    const state = unionOf(list, crls, undefined);
    expect(state.unknown).toBe('more certificates are revoked (103001) than sidecars can be told of');
    expect(state.certificates.slice(0, 2)).toEqual([{ serials }, crls[0]]);
    expect(state.identities).toEqual([web]);
    expect(bytesOf(state)).toBeLessThanOrEqual(maxStateBytes);
    expect(bytesOf(state)).toBeGreaterThan(maxStateBytes - 100);
    expect(maxStateBytes).toBeLessThan(maxReplyBytes);
    expect(countIn(state)).toBeGreaterThan(3_000);
  });

  it('has room for the longest list and for why nothing is known', () => {
    const identities = Array.from({ length: 60 }, (_, index) => `${web}/${String(index).padStart(2_000, '0')}`);
    const state = unionOf({ certificates: [], identities }, [{ issuer: 'aa', serials: serialsOf(9_000) }], 'unknown');
    expect(state.identities).toEqual(identities);
    expect(bytesOf(state)).toBeLessThanOrEqual(maxStateBytes);
  });
});
