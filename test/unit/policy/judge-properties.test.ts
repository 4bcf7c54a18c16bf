import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AuthorizationPolicy, PolicyRule } from '../../../src/control-api.ts';
import { judge, prepareJudging } from '../../../src/policy/judge.ts';
import { finish } from '../../../src/policy/steps.ts';
import { crowdedPolicy, policies, request } from '../../support/generated-policies.ts';
import { judgeNaively } from '../../support/naive-policies.ts';

describe('an index of policies', () => {
  it('decides about every request as going through all of them does', () => {
    const seen = new Map<string, number>();
    fc.assert(
      fc.property(policies, fc.array(request, { minLength: 4, maxLength: 4 }), (all, requests) => {
        for (const one of requests) {
          const naive = judgeNaively(all, one);
          expect(judge(all, one)).toEqual(naive);
          const kind =
            naive.verdict.kind === 'denied' ? naive.verdict.reason : `allowed ${naive.verdict.by !== undefined}`;
          seen.set(kind, (seen.get(kind) ?? 0) + 1);
        }
      }),
      { numRuns: 2000 },
    );
    // They do meet: no outcome is a rare one.
    for (const kind of ['policy_deny', 'policy_error', 'default_deny', 'allowed true', 'allowed false'])
      expect(seen.get(kind), kind).toBeGreaterThan(200);
  });

  it('decides so where nearly all rules except the same', () => {
    let excepted = 0;
    fc.assert(
      fc.property(
        crowdedPolicy,
        policies,
        fc.array(request, { minLength: 4, maxLength: 4 }),
        (crowd, others, requests) => {
          const all = [...others.filter(({ action }) => action === 'ALLOW').slice(0, 2), crowd];
          for (const one of requests) {
            const naive = judgeNaively(all, one);
            expect(judge(all, one)).toEqual(naive);
            const isDecided = naive.verdict.by === crowd.name || naive.audited.length > 0;
            if (!isDecided) excepted += 1;
          }
        },
      ),
      { numRuns: 1000 },
    );
    expect(excepted).toBeGreaterThan(500);
    expect(excepted).toBeLessThan(3500);
  });

  it('G21: looks at a few of very many rules, whoever connects', () => {
    let looks = 0;
    const counted = (rule: PolicyRule) =>
      Object.defineProperty({ ...rule }, 'from', {
        get() {
          looks += 1;
          return rule.from;
        },
      });
    const of = (action: AuthorizationPolicy['action'], make: (n: number) => PolicyRule) =>
      Array.from({ length: 100 }, (_, at) => ({
        name: `shop/${action}-${at}`,
        action,
        rules: Array.from({ length: 20 }, (_, n) => counted(make(at * 20 + n))),
      }));
    const id = (n: number) => `td/ns/ns-${n % 50}/sa/app-${n}`;
    const all = [
      ...of('DENY', (n) => ({ from: [{ notNamespaces: ['shop', `ns-${n}`, 'other'] }] })),
      ...of('DENY', (n) => ({ from: [{ notPrincipals: ['*'] }], to: [{ ports: [n + 1] }] })),
      ...of('DENY', (n) => ({
        from: [{ notIpBlocks: ['10.0.0.0/8'], notNamespaces: [`ns-${n}`] }],
        to: [{ notPorts: [80] }],
      })),
      ...of('ALLOW', (n) => ({ from: [{ principals: [id(n)] }], to: [{ ports: [80] }] })),
      ...of('ALLOW', (n) => ({
        from: [{ principals: ['td/*'], ipBlocks: [`10.${n % 200}.0.0/16`] }],
        to: [{ ports: [n] }],
      })),
      ...of('ALLOW', (n) => ({ from: [{ principals: [`td/ns/shop-${n}*`] }, { principals: [`*/sa/job-${n}`] }] })),
      ...of('ALLOW', (n) => ({
        from: [{ namespaces: ['shop'] }],
        when: [
          { key: 'destination.ip', values: [`10.1.0.${n % 250}`] },
          { key: 'destination.port', values: [`${n + 1}`] },
        ],
      })),
      ...of('AUDIT', (n) => ({ from: [{ serviceAccounts: [`shop/x-${n}`] }] })),
    ];
    finish(prepareJudging(all));
    const outcomes = new Map<string, number>();
    for (const port of [80, 1500, 9999])
      for (const principal of [
        id(7),
        'td/ns/shop/sa/web',
        'td/ns/shop/sa/job-12',
        'td/ns/shop/sa/x-1',
        'td/x',
        'td/ns/nobody/sa/a',
        undefined,
      ])
        for (const source of ['10.3.0.1', '192.0.2.1', '2001:db8::1']) {
          looks = 0;
          const request = {
            destination: { ip: '10.1.0.7', port },
            principal: principal && `spiffe://${principal}`,
            source,
          };
          const { verdict } = judge(all, request);
          expect(looks, JSON.stringify(request)).toBeLessThan(60);
          const outcome = verdict.kind === 'denied' ? verdict.reason : 'allowed';
          outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
        }
    expect([...outcomes.keys()].sort()).toEqual(['allowed', 'default_deny', 'policy_deny']);
  });
});
