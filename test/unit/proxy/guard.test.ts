import { describe, expect, it } from 'vitest';
import { DeniedError } from '../../../src/errors.ts';
import { reservedInbound, sidecarPorts } from '../../../src/ports.ts';
import type { InboundGuard } from '../../../src/proxy/inbound/guard.ts';
import { createDeclaredGuard, createPodAddresses, createPodGuard } from '../../../src/proxy/inbound/guard.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

const verdict = (guard: InboundGuard, ip: string, port = 8080) => {
  try {
    return guard.check({ ip, port });
  } catch (error) {
    if (error instanceof DeniedError) return error.reason;
    throw error;
  }
};

describe('the guard of a captured pod', () => {
  const own = new Set(['10.0.0.7', 'fd00::7', '127.0.0.1', '::1', '::6', 'fe80::1', '169.254.1.1', '0.0.0.0', '::']);
  const guard = createPodGuard(own, reservedInbound(sidecarPorts));

  it('lets the global addresses of the pod pass', () => {
    expect(verdict(guard, '10.0.0.7')).toEqual({ ip: '10.0.0.7', port: 8080 });
    expect(verdict(guard, 'fd00::7')).toEqual({ ip: 'fd00::7', port: 8080 });
  });

  it.each([
    '127.0.0.1',
    '127.1.2.3',
    '::1',
    '::6',
    '::',
    '0.0.0.0',
    'fe80::1',
    '169.254.1.1',
    '169.254.169.254',
    '224.0.0.1',
    'ff02::1',
  ])('L4: refuses %s, even if an interface of the pod has it', (ip) => {
    expect(verdict(guard, ip)).toBe('not_this_pod');
  });

  it.each(['10.0.0.8', '8.8.8.8', 'fd00::8'])('refuses %s, which is another host: a sidecar is no relay', (ip) => {
    expect(verdict(guard, ip)).toBe('not_this_pod');
  });

  it.each(Object.values(sidecarPorts))('L2: refuses port %i of the sidecar', (port) => {
    expect(verdict(guard, '10.0.0.7', port)).toBe('reserved_port');
  });
});

describe('the guard without capture', () => {
  const guard = createDeclaredGuard([{ ip: '127.0.0.1', port: 5432 }]);

  it('delivers a declared port to its declared address, whatever address the peer knows this host by', () => {
    expect(verdict(guard, '192.168.1.9', 5432)).toEqual({ ip: '127.0.0.1', port: 5432 });
  });

  it('refuses every other port', () => {
    expect(verdict(guard, '127.0.0.1', 5433)).toBe('not_this_pod');
  });
});

describe('the addresses of the pod', () => {
  it('are those of its interfaces, without loopback', () => {
    const addresses = createPodAddresses(createFakeClock());
    expect(addresses.has('127.0.0.1')).toBe(false);
    expect(addresses.has('::1')).toBe(false);
  });

  it('lists the addresses that it has', () => {
    const addresses = createPodAddresses(createFakeClock());
    expect(addresses.all().every((ip) => addresses.has(ip))).toBe(true);
    expect(addresses.all()).not.toContain('127.0.0.1');
  });
});
