import { isIPv6 } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalIp, cidrSet } from '../../../src/addresses.ts';
import { addressBits } from '../../../src/policy/address-bits.ts';
import { isCidr } from '../../../src/prefix-table.ts';

const ip = fc.oneof(fc.ipV4(), fc.ipV6());
const block = fc
  .tuple(ip, fc.nat(128))
  .map(([address, length]) => `${address}/${length}`)
  .filter(isCidr);

describe('the bits of addresses', () => {
  it('begin with those of every block around them', () => {
    expect(addressBits('10.0.0.7')).toBe('400001010000000000000000000000111');
    expect(addressBits('::1')).toBe(`6${'0'.repeat(127)}1`);
    expect(addressBits('10.255.0.0/7')).toBe('40000101');
    expect(addressBits('0.0.0.0/0')).toBe('4');
    expect(addressBits('2001:db8::7/20')).toBe('600100000000000010000');
  });

  it.each(['', 'ten', '10.0.0', '10.0.0.0/33', '10.0.0.0/', '::/129', '::1%eth0', '10.0.0.0/8/8'])(
    'are not there for %j',
    (text) => {
      expect(addressBits(text)).toBeUndefined();
    },
  );

  it('say what the ranges of the operating system say', () => {
    fc.assert(
      fc.property(block, ip, fc.boolean(), (range, other, isSameStart) => {
        const text = isSameStart ? range.slice(0, range.indexOf('/')) : other;
        const address = canonicalIp(text) ?? '';
        // A mapped address is not one of IPv6 any more.
        fc.pre(isIPv6(address) === isIPv6(text));
        const isWithin = addressBits(address)?.startsWith(addressBits(range) ?? 'x');
        expect(isWithin).toBe(cidrSet([range]).has(address));
      }),
      { numRuns: 3000 },
    );
  });
});
