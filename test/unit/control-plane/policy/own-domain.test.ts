import { describe, expect, it } from 'vitest';
import type { AuthorizationPolicy, PolicyRule } from '../../../../src/control-api.ts';
import { foreignPrincipals, withOwnDomain } from '../../../../src/control-plane/policy/own-domain.ts';
import { createSelection } from '../../../../src/control-plane/policy/select.ts';
import { judge } from '../../../../src/policy/judge.ts';
import { labelledPod, scopedPolicy } from '../../../support/policy-objects.ts';

const policyOf = (...rules: PolicyRule[]): AuthorizationPolicy => ({ name: 'shop/api', action: 'DENY', rules });
const rulesFor = (trustDomain: string, ...rules: PolicyRule[]) => withOwnDomain(policyOf(...rules), trustDomain).rules;

describe('cluster.local in a principal', () => {
  it('stands for the trust domain of the mesh too, in every list of principals', () => {
    const source = { principals: ['cluster.local/ns/a/sa/b', 'x/y'], notPrincipals: ['cluster.local/ns/x/*'] };
    const values = { values: ['cluster.local/*'], notValues: ['cluster.local/ns/a/sa/b'] };
    expect(
      rulesFor('example.org', {
        from: [{ namespaces: ['a'] }, source],
        to: [{ ports: [80] }],
        when: [
          { key: 'source.principal', ...values },
          { key: 'source.namespace', ...values },
        ],
      }),
    ).toEqual([
      {
        from: [
          { namespaces: ['a'] },
          {
            principals: ['cluster.local/ns/a/sa/b', 'example.org/ns/a/sa/b', 'x/y'],
            notPrincipals: ['cluster.local/ns/x/*', 'example.org/ns/x/*'],
          },
        ],
        to: [{ ports: [80] }],
        when: [
          {
            key: 'source.principal',
            values: ['cluster.local/*', 'example.org/*'],
            notValues: ['cluster.local/ns/a/sa/b', 'example.org/ns/a/sa/b'],
          },
          { key: 'source.namespace', ...values },
        ],
      },
    ]);
  });

  it.each(['*/ns/a/sa/b', '*', 'cluster.localhost/ns/a/sa/b', 'cluster.local', 'spiffe://cluster.local/ns/a/sa/b'])(
    'is not in %s, and the policy stays the same object',
    (principal) => {
      const policy = policyOf({ from: [{ principals: [principal] }] });
      expect(withOwnDomain(policy, 'example.org')).toBe(policy);
    },
  );

  it('is the trust domain of a mesh that is called so, and for one policy the same object is made each time', () => {
    const policy = policyOf({ from: [{ principals: ['cluster.local/ns/a/sa/b'] }] });
    expect(withOwnDomain(policy, 'cluster.local')).toBe(policy);
    const made = withOwnDomain(policy, 'example.org');
    expect(withOwnDomain(policy, 'example.org')).toBe(made);
    expect(withOwnDomain(policy, 'example.net')).not.toBe(made);
  });

  it('denies and excepts whom it means, of whom a workload is told', () => {
    const listed = ['cluster.local/ns/bad/sa/bad'];
    const verdict = (policy: Partial<AuthorizationPolicy>, name: string) => {
      const authorizationPolicies = [scopedPolicy('shop/api', { policy })];
      const objects = { peerAuthentications: [], authorizationPolicies, serviceEntries: [] };
      const settings = { rootNamespace: 'istio-system', trustDomain: 'example.org' };
      const { authorization } = createSelection(objects, settings).policyFor('shop', labelledPod('shop/api-0'));
      const principal = `spiffe://example.org/ns/${name}/sa/${name}`;
      return judge(authorization ?? [], { destination: { ip: '10.0.0.1', port: 80 }, principal }).verdict.kind;
    };
    const deny = { action: 'DENY', rules: [{ from: [{ principals: listed }] }] } as const;
    const allow = { action: 'ALLOW', rules: [{ from: [{ notPrincipals: listed }] }] } as const;
    for (const policy of [deny, allow] as unknown as Partial<AuthorizationPolicy>[])
      expect([verdict(policy, 'bad'), verdict(policy, 'good')]).toEqual(['denied', 'allowed']);
  });
});

it.each([
  ['example.org/ns/a/sa/b', false],
  ['partner.example/ns/a/sa/b', false],
  ['cluster.local/ns/a/sa/b', false],
  ['*/ns/a/sa/b', false],
  ['example.*', false],
  ['example.org*', false],
  ['example.net/ns/a/sa/b', true],
  ['example.net/*', true],
  ['example.org.net/ns/a/sa/b', true],
  ['cluster.local*', true],
  ['ns/a/sa/b', true],
  ['web', true],
])('the principal %s is of a foreign trust domain: %s', (principal, isForeign) => {
  const policy = policyOf({
    from: [{ notPrincipals: [principal] }],
    when: [{ key: 'source.principal', values: [principal] }],
  });
  expect(foreignPrincipals(policy, ['example.org', 'partner.example'])).toEqual(isForeign ? [principal] : []);
});
