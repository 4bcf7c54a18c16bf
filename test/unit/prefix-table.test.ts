import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalIp, cidrSet } from '../../src/addresses.ts';
import type { AddressRange } from '../../src/prefix-table.ts';
import { createPrefixTable, formatRange, holdsRange, mergeRanges, parseRange } from '../../src/prefix-table.ts';

const range = (text: string) => parseRange(text) as AddressRange;

/** Few values for each part, so that ranges meet. */
const part = fc.constantFrom(0, 1, 2, 127, 128, 255);
const v4 = fc.tuple(part, part, part, part).map((parts) => parts.join('.'));
const group = fc.constantFrom('0', '1', '7fff', '8000', 'ffff');
const v6 = fc
  .tuple(...Array.from({ length: 7 }, () => group))
  .map((groups) => canonicalIp(['2001', ...groups].join(':')) ?? '');
const cidr = fc.oneof(
  fc.tuple(v4, fc.integer({ min: 0, max: 32 })).map(([ip, length]) => `${ip}/${length}`),
  fc.tuple(v6, fc.integer({ min: 0, max: 128 })).map(([ip, length]) => `${ip}/${length}`),
  v4,
  v6,
);

describe('a table of ranges', () => {
  it('finds every range that holds an address, the longest first, as one look after the other does', () => {
    fc.assert(
      fc.property(fc.array(cidr, { maxLength: 40 }), fc.oneof(v4, v6), (cidrs, ip) => {
        const table = createPrefixTable(cidrs.map((one, index) => [range(one), { index, one }]));
        const expected = cidrs
          .map((one, index) => ({ index, one }))
          .filter(({ one }) => cidrSet([one]).has(ip))
          .sort((a, b) => range(b.one).length - range(a.one).length || a.index - b.index);
        expect([...table.matches(ip)]).toEqual(expected);
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ['0.0.0.0/0', '203.0.113.7', true],
    ['::/0', '203.0.113.7', false],
    ['0.0.0.0/0', '2001:db8::1', false],
    ['203.0.113.7', '203.0.113.7', true],
    ['203.0.113.200/25', '203.0.113.129', true],
    ['203.0.113.200/25', '203.0.113.127', false],
    ['2001:db8::1:2:3:4', '2001:db8::1:2:3:4', true],
    ['64:ff9b::1.2.3.4/120', '64:ff9b::102:3ff', true],
    ['64:ff9b::1.2.3.4/120', '64:ff9b::102:4ff', false],
  ])('says whether %s holds %s', (cidrText, ip, isIn) => {
    expect([...createPrefixTable([[range(cidrText), 'it']]).matches(ip)]).toEqual(isIn ? ['it'] : []);
  });
});

describe('a range', () => {
  it.each([
    ['10.1.2.3/8', '10.0.0.0/8'],
    ['10.1.2.3', '10.1.2.3/32'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['::/0', '::/0'],
    ['2001:DB8:0:0::1/32', '2001:db8::/32'],
  ])('is written %s and called %s', (written, called) => {
    expect(formatRange(range(written))).toBe(called);
  });

  it.each([
    '',
    'example.com',
    '10.0.0.0/33',
    '10.0.0/8',
    '10.0.0.0/08',
    '10.0.0.0/',
    '10.0.0.0/8/8',
    'fe80::1%eth0',
    '::/129',
    '/8',
  ])('is not %s', (text) => {
    expect(parseRange(text)).toBe(undefined);
  });
});

describe('merged ranges', () => {
  it('hold the same addresses as all of them, without one that another holds, and without two halves', () => {
    fc.assert(
      fc.property(fc.array(cidr, { maxLength: 40 }), fc.array(fc.oneof(v4, v6), { maxLength: 20 }), (cidrs, ips) => {
        const merged = mergeRanges(cidrs.map(range));
        const texts = merged.map(formatRange);
        for (const ip of ips) expect(cidrSet(texts).has(ip)).toBe(cidrSet(cidrs).has(ip));
        for (const one of merged)
          for (const other of merged) {
            expect(one !== other && holdsRange(one, other)).toBe(false);
            const half = { ...one, prefix: one.prefix ^ 1n };
            expect(one.length > 0 && formatRange(half) === formatRange(other)).toBe(false);
          }
      }),
      { numRuns: 300 },
    );
  });
});
