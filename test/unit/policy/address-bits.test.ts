import { isIPv6 } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalIp, cidrSet, isCidr } from '../../../src/addresses.ts';
import { addressBits, blockBits } from '../../../src/policy/address-bits.ts';

const ip = fc.oneof(fc.ipV4(), fc.ipV6());
const block = fc.tuple(ip, fc.nat(140)).map(([address, length]) => `${address}/${length}`);

/** Addresses and blocks with something wrong. */
const nearly = fc
  .tuple(
    fc.oneof(ip, block),
    fc.nat(40),
    fc.constantFrom('', ':', '.', '/', '0', 'g', '%', ' ', '::', '1.2.3.4', '00000', '\n'),
  )
  .map(([text, at, more]) => text.slice(0, at) + more + text.slice(at + 1));

describe('the bits of addresses', () => {
  it('are a prefix of those of every address within a block', () => {
    expect(addressBits('10.0.0.7')).toBe('400001010000000000000000000000111');
    expect(addressBits('::1')).toBe(`6${'0'.repeat(127)}1`);
    expect(blockBits('10.255.0.0/7')).toBe('40000101');
    expect(blockBits('0.0.0.0/0')).toBe('4');
    expect(blockBits('2001:db8::7/20')).toBe('600100000000000010000');
    expect(blockBits('::1.2.3.4')).toBe(addressBits('::102:304'));
  });

  it('are there for what an address or a CIDR is, and for nothing else', () => {
    fc.assert(
      fc.property(fc.oneof(ip, block, nearly), (text) => {
        expect(blockBits(text) !== undefined, JSON.stringify(text)).toBe(isCidr(text));
      }),
      { numRuns: 5000 },
    );
  });

  it('say what the ranges of the operating system say', () => {
    fc.assert(
      fc.property(block.filter(isCidr), ip, fc.boolean(), (range, other, isSameStart) => {
        const own = range.slice(0, range.indexOf('/'));
        const address = canonicalIp(isSameStart ? own : other) ?? '';
        // A mapped address is not one of IPv6 any more.
        fc.pre(isIPv6(address) === isIPv6(isSameStart ? own : other));
        const isWithin = addressBits(address)?.startsWith(blockBits(range) ?? 'x');
        expect(isWithin).toBe(cidrSet([range]).has(address));
      }),
      { numRuns: 3000 },
    );
  });
});
