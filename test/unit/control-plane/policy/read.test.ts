import { describe, expect, it } from 'vitest';
import { policyReader, unreadFinding } from '../../../../src/control-plane/policy/read.ts';
import { closed, problemsOf } from '../../../../src/control-plane/policy/schema.ts';

describe('what is read of Istio', () => {
  it.each([
    ['security.istio.io/v1', 'PeerAuthentication', true],
    ['security.istio.io/v1beta1', 'AuthorizationPolicy', true],
    ['security.istio.io/v7', 'AuthorizationPolicy', true],
    ['security.istio.io', 'PeerAuthentication', true],
    ['security.istio.io/v1', 'RequestAuthentication', false],
    ['networking.istio.io/v1', 'ServiceEntry', true],
    ['networking.istio.io/v1beta1', 'ServiceEntry', true],
    ['networking.istio.io/v1alpha3', 'ServiceEntry', true],
    ['networking.istio.io/v2', 'ServiceEntry', false],
    ['networking.istio.io/v1', 'PeerAuthentication', false],
    ['policy.linkerd.io/v1', 'AuthorizationPolicy', false],
    ['__proto__/v1', 'AuthorizationPolicy', false],
  ])('%s %s: %s', (apiVersion, kind, isRead) => {
    expect(policyReader(apiVersion, kind) !== undefined).toBe(isRead);
  });

  it.each<[string, unknown, string]>([
    ['no metadata', {}, 'metadata is missing'],
    ['no name', { metadata: {} }, 'metadata.name is missing'],
    ['a name that is none', { metadata: { name: 'A b' } }, 'metadata.name is "A b", expected a DNS name'],
    [
      'a namespace that is a number',
      { metadata: { name: 'a', namespace: 7 } },
      'metadata.namespace is 7, expected string',
    ],
  ])('is nothing with %s', (_, object, why) => {
    const whole = { apiVersion: 'security.istio.io/v1', kind: 'PeerAuthentication', ...(object as object) };
    expect(policyReader('security.istio.io/v1', 'PeerAuthentication')?.(whole)).toMatchObject({
      entry: undefined,
      findings: [{ severity: 'problem', why }],
    });
  });
});

describe('what is not read', () => {
  it.each([
    [
      'security.istio.io/v1',
      'RequestAuthentication',
      'warning',
      'kind is RequestAuthentication, which is not read and has no effect here',
    ],
    ['networking.istio.io/v1', 'Sidecar', 'warning', 'kind is Sidecar, which is not read and has no effect here'],
    [
      'security.istio.io/v1',
      'AuthorisationPolicy',
      'problem',
      'kind is AuthorisationPolicy, which is no kind of security.istio.io, did you mean AuthorizationPolicy?',
    ],
    [
      'networking.istio.io/v2',
      'ServiceEntry',
      'problem',
      'apiVersion is networking.istio.io/v2, expected one of networking.istio.io/v1, networking.istio.io/v1beta1, networking.istio.io/v1alpha3',
    ],
    [
      'policy.linkerd.io/v1beta3',
      'AuthorizationPolicy',
      'warning',
      'apiVersion is policy.linkerd.io/v1beta3, which is not read and has no effect here, expected security.istio.io/v1',
    ],
  ])('%s %s is a %s', (apiVersion, kind, severity, why) => {
    expect(unreadFinding(apiVersion, kind)).toMatchObject({ severity, why });
  });

  it('says nothing of what has nothing to do with policy', () => {
    expect(unreadFinding('apps/v1', 'Deployment')).toBeUndefined();
    expect(unreadFinding('constructor/v1', 'toString')).toBeUndefined();
  });
});

describe('all that is to say of an object is told at once', () => {
  it.each<[string, string, unknown, readonly string[]]>([
    [
      'security.istio.io/v1',
      'AuthorizationPolicy',
      {
        action: 'DENY',
        provider: { nam: 'x' },
        rules: [{ from: [{ source: { principals: ['spiffe://a'], ipBlocks: ['10.0.0.0/99'] } }] }],
      },
      [
        'problem spec.provider.nam is not known, did you mean name?',
        'problem spec.rules[0].from[0].source.ipBlocks[0] is "10.0.0.0/99", expected an IP address or a CIDR',
        'problem spec.provider is given, expected it with the action CUSTOM alone',
        'warning spec.rules[0].from[0].source.principals[0] begins with spiffe://, which no principal does here, so that it matches nobody',
      ],
    ],
    [
      'security.istio.io/v1',
      'PeerAuthentication',
      { mtsl: {}, portLevelMtls: { 80: { mode: 'STRICT' } } },
      [
        'problem spec.mtsl is not known, did you mean mtls?',
        'problem spec.portLevelMtls is given without a selector, expected one with labels',
      ],
    ],
    [
      'networking.istio.io/v1',
      'ServiceEntry',
      {
        hosts: ['a.example'],
        addresses: ['192.0.2.1', 'a'],
        resolution: 'DNS_ROUND_ROBIN',
        ports: [{ number: 80, protocl: 'UDP' }],
      },
      [
        'problem spec.addresses[1] is "a", expected an IP address or a CIDR',
        'problem spec.ports[0].protocl is not known, did you mean protocol?',
        'problem spec.resolution is "DNS_ROUND_ROBIN", and names are not looked up; expected NONE or STATIC',
      ],
    ],
  ])('%s %s', (apiVersion, kind, spec, said) => {
    const read = policyReader(apiVersion, kind)?.({ apiVersion, kind, metadata: { name: 'a' }, spec });
    expect(read?.findings.map(({ severity, why }) => `${severity} ${why}`).toSorted()).toEqual(said.toSorted());
  });

  it('but that it is of a version that nobody knows', () => {
    for (const kind of ['AuthorizationPolicy', 'PeerAuthentication']) {
      const object = {
        apiVersion: 'security.istio.io/v9',
        kind,
        metadata: { name: 'a' },
        spec: { selector: {}, action: 'DENY' },
      };
      expect(policyReader(object.apiVersion, kind)?.(object).findings).toHaveLength(1);
    }
  });
});

it.each([new Map([['mode', 'STRICT']]), new Set(['mode'])])(
  'takes %o for no object, in which it would have no field',
  (given) => {
    expect(problemsOf(closed({}), given)).toHaveLength(1);
    expect(problemsOf(closed({}), Object.create(null))).toEqual([]);
  },
);
