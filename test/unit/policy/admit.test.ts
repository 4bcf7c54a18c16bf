import { describe, expect, it } from 'vitest';
import type { Destination, Endpoint } from '../../../src/control-api.ts';
import { DeniedError } from '../../../src/errors.ts';
import type { OutboundRules, Resolution } from '../../../src/policy/admit.ts';
import { admit, admitDeclared } from '../../../src/policy/admit.ts';

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
          key: '10.0.0.7:8080 spiffe://cluster.local/ns/shop/sa/api',
        },
      ],
    });
  });

  it('sends a connection to an endpoint that takes mutual TLS on its own port there, also above the floor of the pod', () => {
    const { endpoints } = admit(original, known([endpoint({ transport: 'direct' })]), {
      ...rules,
      minimum: 'mutual_tls',
    });
    expect(endpoints).toEqual([
      {
        transport: 'direct',
        address: { ip: '10.0.0.7', port: 8080 },
        spiffeId: 'spiffe://cluster.local/ns/shop/sa/api',
        key: '10.0.0.7:8080 spiffe://cluster.local/ns/shop/sa/api directly',
      },
    ]);
  });

  it('sends a connection to an endpoint that is declared plaintext in plaintext', () => {
    const { endpoints } = admit(original, known([endpoint({ transport: 'plaintext', spiffeId: '' })]), rules);
    expect(endpoints).toMatchObject([{ transport: 'plaintext', address: { ip: '10.0.0.7', port: 8080 } }]);
  });

  it.each(['hbone', 'direct', 'plaintext'] as const)(
    "goes through its own tunnel port for the pod's own endpoint, also if its transport is %s",
    (transport) => {
      const { endpoints } = admit(original, known([endpoint({ address: '10.0.0.1:8080', transport })]), rules);
      expect(endpoints).toMatchObject([
        { transport: 'hbone', address: { ip: '10.0.0.1', port: 8080 }, spiffeId: self.spiffeId() },
      ]);
    },
  );

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

  it('uses endpoints that are terminating no longer when one that stays becomes ready', () => {
    const leaving = endpoint({ terminating: true });
    const staying = endpoint({ address: '10.0.0.8:1', ready: false });
    const ipsOf = (endpoints: Endpoint[]) =>
      admit(original, known(endpoints), rules).endpoints.map(({ address }) => address.ip);
    expect(ipsOf([leaving, staying])).toEqual(['10.0.0.7']);
    expect(ipsOf([leaving, { ...staying, ready: true }])).toEqual(['10.0.0.8']);
  });

  it('names an endpoint by its address and identity, so that another identity at the same address is another one', () => {
    const keyOf = (over: Partial<Endpoint>) => admit(original, known([endpoint(over)]), rules).endpoints[0]?.key;
    const keys = [
      keyOf({}),
      keyOf({ spiffeId: 'spiffe://cluster.local/ns/shop/sa/other' }),
      keyOf({ address: '10.0.0.8:8080' }),
      keyOf({ transport: 'plaintext', spiffeId: '' }),
      admitDeclared({ ip: '10.0.0.7', port: 8080 }, original, 'spiffe://cluster.local/ns/shop/sa/api').endpoints[0]
        ?.key,
    ];
    expect(new Set(keys).size).toBe(keys.length);
    expect(keyOf({})).toBe(keys[0]);
  });

  it('hands on how long connections belong together, when the Service says so', () => {
    expect(admit(original, known([endpoint()]), rules).affinity).toBe(undefined);
    expect(admit(original, known([endpoint()], { affinitySeconds: 10_800 }), rules).affinity).toEqual({
      destination: '10.96.0.10:80',
      idleMs: 10_800_000,
    });
  });

  describe('asked again about the same answer of the registry', () => {
    const pair = [endpoint(), endpoint({ address: '10.0.0.8:8080', transport: 'plaintext', spiffeId: '' })];

    it('gives the same permit, without looking at each endpoint anew', () => {
      const resolution = known(pair);
      expect(admit(original, resolution, rules)).toBe(admit(original, resolution, rules));
      expect(admit(original, known(pair), rules)).not.toBe(admit(original, resolution, rules));
    });

    it('keeps to other rules when there are others', () => {
      const resolution = known(pair);
      expect(admit(original, resolution, rules).endpoints).toHaveLength(2);
      expect(admit(original, resolution, { ...rules, minimum: 'mutual_tls' }).endpoints).toHaveLength(1);
    });

    it("sees that an address has become the pod's own, and what the pod's identity is by then", () => {
      const resolution = known(pair);
      let own = 'none';
      let spiffeId = 'spiffe://cluster.local/ns/shop/sa/first';
      const changing = { ...rules, self: { isOwnAddress: (ip: string) => ip === own, spiffeId: () => spiffeId } };
      const second = () => admit(original, resolution, changing).endpoints[1];
      expect(second()).toMatchObject({ transport: 'plaintext' });
      own = '10.0.0.8';
      expect(second()).toMatchObject({ transport: 'hbone', spiffeId });
      spiffeId = 'spiffe://cluster.local/ns/shop/sa/second';
      expect(second()).toMatchObject({ transport: 'hbone', spiffeId });
      own = 'none';
      expect(second()).toMatchObject({ transport: 'plaintext' });
    });
  });

  it.each<[string, Resolution, Partial<OutboundRules>, string]>([
    ['a service without a ready endpoint', known([endpoint({ ready: false })]), {}, 'no_endpoint'],
    ['a service without endpoints', known([]), {}, 'no_endpoint'],
    ['an address outside without a policy', { kind: 'no_policy' }, {}, 'policy_unavailable'],
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

  it('says which ServiceEntry has no endpoint, and why', () => {
    const broken = known([], { service: undefined, entry: 'shop/db', problem: 'spec.ports is missing' });
    expect(() => admit(original, broken, rules)).toThrow(
      '10.96.0.10:80 (ServiceEntry shop/db) has no ready endpoint: spec.ports is missing',
    );
  });

  it('passes what is outside the mesh networks through to where it was going', () => {
    expect(admit(original, { kind: 'outside' }, rules).endpoints).toMatchObject([
      { transport: 'plaintext', address: original },
    ]);
  });
});
