import { describe, expect, test } from 'vitest';
import { inspectInterfaces } from '../../../src/redirect/delivery-address.ts';

const v6 = (address: string, internal = false) => ({
  address,
  family: 'IPv6' as const,
  internal,
  netmask: '',
  mac: '',
  cidr: null,
  scopeid: 0,
});
const v4 = (address: string) => ({
  address,
  family: 'IPv4' as const,
  internal: false,
  netmask: '',
  mac: '',
  cidr: null,
});

describe('whether IPv6 has to be delivered from ::6', () => {
  test.each([
    ['a pod without IPv6', { lo: [v6('::1', true)], eth0: [v4('10.0.0.7')] }, false, false],
    ['a pod without any network', {}, false, false],
    ['a pod with a link-local address alone', { eth0: [v6('fe80::1')] }, false, false],
    ['a pod with a global address', { eth0: [v6('2001:db8::7')] }, true, false],
    ['a pod with a unique local address', { eth0: [v6('fd77::7')] }, true, false],
    ['a pod that has ::6 already', { lo: [v6('::1', true), v6('::6', true)], eth0: [v6('fd77::7')] }, true, true],
    ['a pod where ::6 is all that is left', { lo: [v6('::6', true)] }, false, true],
    ['a global address on loopback itself', { lo: [v6('2001:db8::7', true)] }, false, false],
  ])('%s', (_, interfaces, hasGlobalV6, hasDelivery) => {
    expect(inspectInterfaces(interfaces)).toEqual({ hasGlobalV6, hasDelivery });
  });
});
