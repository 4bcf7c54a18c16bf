import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cidrSet, isGlobal } from '../../../src/addresses.ts';
import type { PolicyState } from '../../../src/control-api.ts';
import { isRegistered } from '../../../src/policy/registered.ts';

const policy = (...registered: NonNullable<PolicyState['registered']>): PolicyState => ({ mode: 'STRICT', registered });

describe('a registered destination', () => {
  it('is one in a range and on a port of it; a range without ports is about every port', () => {
    const some = policy({ cidr: '203.0.113.0/24', ports: [443] }, { cidr: '198.51.100.0/24', ports: [] });
    expect(isRegistered(some, { ip: '203.0.113.7', port: 443 })).toBe(true);
    expect(isRegistered(some, { ip: '203.0.113.7', port: 80 })).toBe(false);
    expect(isRegistered(some, { ip: '203.0.114.7', port: 443 })).toBe(false);
    expect(isRegistered(some, { ip: '198.51.100.7', port: 1 })).toBe(true);
    expect(isRegistered({ mode: 'STRICT' }, { ip: '203.0.113.7', port: 443 })).toBe(false);
  });

  it('is found in a wide range where a narrow one has another port', () => {
    const nested = policy({ cidr: '203.0.113.0/24', ports: [443] }, { cidr: '203.0.113.7/32', ports: [80] });
    expect(isRegistered(nested, { ip: '203.0.113.7', port: 443 })).toBe(true);
  });

  it.each(['127.0.0.1', '169.254.169.254', '::1', 'fe80::1', '224.0.0.1'])('L6: is never %s', (ip) => {
    const all = policy({ cidr: '0.0.0.0/0', ports: [] }, { cidr: '::/0', ports: [] });
    expect(isRegistered(all, { ip, port: 80 })).toBe(false);
    expect(isRegistered(all, { ip: '203.0.113.7', port: 80 })).toBe(true);
    expect(isRegistered(all, { ip: '2001:db8:1::1', port: 80 })).toBe(true);
  });

  it('is what looking through all ranges one by one finds', () => {
    const part = fc.constantFrom(0, 1, 128, 169, 254, 255);
    const ip = fc.tuple(part, part, part, part).map((parts) => parts.join('.'));
    const row = fc.record({
      cidr: fc.tuple(ip, fc.integer({ min: 0, max: 32 })).map(([base, length]) => `${base}/${length}`),
      ports: fc.subarray([80, 81]),
    });
    fc.assert(
      fc.property(fc.array(row, { maxLength: 20 }), ip, fc.constantFrom(80, 81, 82), (rows, destination, port) => {
        const isExpected = rows.some(
          ({ cidr, ports }) => cidrSet([cidr]).has(destination) && (ports.length === 0 || ports.includes(port)),
        );
        expect(isRegistered(policy(...rows), { ip: destination, port })).toBe(isExpected && isGlobal(destination));
      }),
      { numRuns: 500 },
    );
  });
});
