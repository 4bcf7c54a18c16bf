import { describe, expect, it } from 'vitest';
import { createNodeAddresses } from '../../../../src/agent/callers/node-addresses.ts';
import { createFakeClock } from '../../../support/fake-clock.ts';

const v4 = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	0101F40A	0003	0	0	0	00000000	0	0	0
eth0	00000000	0901F40A	0003	0	0	0	00000080	0	0	0
eth0	0001F40A	00000000	0001	0	0	0	00FFFFFF	0	0	0
eth0	0002F40A	0201F40A	0003	0	0	0	00FFFFFF	0	0	0
`;
const v6 = `fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000002 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000003 00000000 00000003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
`;
const files: Readonly<Record<string, string>> = { '/proc/net/route': v4, '/proc/net/ipv6_route': v6 };

describe('the addresses of the node', () => {
  it('are the gateways of the default routes, IPv4 and IPv6, and what the settings name', () => {
    const nodes = createNodeAddresses(createFakeClock(), '192.0.2.7', (path) => files[path] ?? '');
    expect(['10.244.1.1', 'fd00::1', '192.0.2.7'].map(nodes.has)).toEqual([true, true, true]);
    expect(['10.244.1.2', '10.244.1.9', '0.0.0.0', '::', 'fd00::'].map(nodes.has)).toEqual(Array(5).fill(false));
  });

  it('are none where the kernel has no such table, or one that cannot be read', () => {
    const without = createNodeAddresses(createFakeClock(), undefined, () => '');
    const strange = createNodeAddresses(createFakeClock(), undefined, () => 'a\tb\nx 00000000 zz 1 1 1 1 00000000\n');
    expect(without.has('10.244.1.1')).toBe(false);
    expect(strange.has('10.244.1.1')).toBe(false);
  });

  it('are read once a minute at most, and after that again', async () => {
    const clock = createFakeClock();
    let reads = 0;
    const nodes = createNodeAddresses(clock, undefined, () => {
      reads += 1;
      return '';
    });
    for (let n = 0; n < 10; n += 1) nodes.has('10.0.0.1');
    expect(reads).toBe(2);
    await clock.advance(60_000);
    nodes.has('10.0.0.1');
    expect(reads).toBe(4);
  });
});
