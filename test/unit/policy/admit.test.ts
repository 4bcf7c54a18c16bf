import { describe, expect, it } from 'vitest';
import type { Destination, Endpoint } from '../../../src/control-api.ts';
import { DeniedError } from '../../../src/errors.ts';
import type { OutboundRules, Resolution } from '../../../src/policy/admit.ts';
import { admit } from '../../../src/policy/admit.ts';

const original = { ip: '10.96.0.10', port: 80 };
const self = {
  isOwnAddress: (ip: string) => ip === '10.0.0.1',
  spiffeId: () => 'spiffe://cluster.local/ns/shop/sa/self',
};
const rules: OutboundRules = { policy: 'ALLOW_ANY', minimum: 'plaintext', self };

const endpoint = (over: Partial<Endpoint> = {}): Endpoint => ({
  address: '10.0.0.7:8080',
  spiffeId: 'spiffe://cluster.local/ns/shop/sa/api',
  transport: 'hbone',
  ready: true,
  terminating: false,
  ...over,
});
const known = (endpoints: Endpoint[], over: Partial<Destination> = {}): Resolution => ({
  kind: 'known',
  destination: { address: '10.96.0.10:80', service: 'api.shop', endpoints, ttlSeconds: 30, known: true, ...over },
});
const reasonOf = (resolution: Resolution, over: Partial<OutboundRules> = {}) => {
  try {
    admit(original, resolution, { ...rules, ...over });
    return 'permitted';
  } catch (error) {
    if (error instanceof DeniedError) return error.reason;
    throw error;
  }
};

describe('admit', () => {
  it('sends a connection to an endpoint with a sidecar through its tunnel, expecting its identity', () => {
    expect(admit(original, known([endpoint()]), rules)).toEqual({
      service: 'api.shop',
      endpoints: [
        {
          transport: 'hbone',
          address: { ip: '10.0.0.7', port: 8080 },
          spiffeId: 'spiffe://cluster.local/ns/shop/sa/api',
        },
      ],
    });
  });

  it('sends a connection to an endpoint that is declared plaintext in plaintext', () => {
    const { endpoints } = admit(original, known([endpoint({ transport: 'plaintext', spiffeId: '' })]), rules);
    expect(endpoints).toEqual([{ transport: 'plaintext', address: { ip: '10.0.0.7', port: 8080 } }]);
  });

  it("goes through its own tunnel port for the pod's own endpoint, whatever its transport", () => {
    const { endpoints } = admit(
      original,
      known([endpoint({ address: '10.0.0.1:8080', transport: 'plaintext' })]),
      rules,
    );
    expect(endpoints).toEqual([
      { transport: 'hbone', address: { ip: '10.0.0.1', port: 8080 }, spiffeId: self.spiffeId() },
    ]);
  });

  it('leaves out endpoints that are not ready or are terminating', () => {
    const { endpoints } = admit(
      original,
      known([
        endpoint({ address: '10.0.0.7:1', ready: false }),
        endpoint({ address: '10.0.0.8:1', terminating: true }),
        endpoint({ address: '10.0.0.9:1' }),
      ]),
      rules,
    );
    expect(endpoints.map(({ address }) => address.ip)).toEqual(['10.0.0.9']);
  });

  it('falls back to endpoints that are terminating but still serve when no other is ready', () => {
    const leaving = [endpoint({ terminating: true }), endpoint({ address: '10.0.0.8:1', ready: false })];
    expect(admit(original, known(leaving), rules).endpoints.map(({ address }) => address.ip)).toEqual(['10.0.0.7']);
  });

  it.each<[string, Resolution, Partial<OutboundRules>, string]>([
    ['a service without a ready endpoint', known([endpoint({ ready: false })]), {}, 'no_endpoint'],
    ['a service without endpoints', known([]), {}, 'no_endpoint'],
    ['an endpoint whose transport is not spoken', known([endpoint({ transport: 'direct' })]), {}, 'no_endpoint'],
    ['an endpoint whose address is none', known([endpoint({ address: 'api:80' })]), {}, 'no_endpoint'],
    [
      'a plaintext endpoint above the floor of the pod',
      known([endpoint({ transport: 'plaintext' })]),
      { minimum: 'mutual_tls' },
      'mtls_required',
    ],
    ['an address that the registry does not know', { kind: 'unknown' }, {}, 'unknown_destination'],
    ['an address while nobody answers', { kind: 'unavailable', why: 'down' }, {}, 'control_plane_unavailable'],
    ['an address outside under REGISTRY_ONLY', { kind: 'outside' }, { policy: 'REGISTRY_ONLY' }, 'unknown_destination'],
    ['an address outside above the floor of the pod', { kind: 'outside' }, { minimum: 'mutual_tls' }, 'mtls_required'],
  ])('refuses %s', (_name, resolution, over, reason) => {
    expect(reasonOf(resolution, over)).toBe(reason);
  });

  it('never falls back to plaintext for a destination that has a sidecar', () => {
    const { endpoints } = admit(original, known([endpoint({ ready: true })]), { ...rules, minimum: 'plaintext' });
    expect(endpoints.every(({ transport }) => transport === 'hbone')).toBe(true);
    expect(
      reasonOf(known([endpoint({ ready: false }), endpoint({ transport: 'plaintext' })]), { minimum: 'mutual_tls' }),
    ).toBe('mtls_required');
  });

  it('passes what is outside the mesh networks through to where it was going', () => {
    expect(admit(original, { kind: 'outside' }, rules).endpoints).toEqual([
      { transport: 'plaintext', address: original },
    ]);
  });
});
