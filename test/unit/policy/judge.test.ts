import { describe, expect, it } from 'vitest';
import type { AuthorizationPolicy, PolicyRule, PolicySource } from '../../../src/control-api.ts';
import type { InboundRequest } from '../../../src/policy/authorize.ts';
import { judge, maxAudited, preparedBytes, prepareJudging } from '../../../src/policy/judge.ts';

const destination = { ip: '10.0.0.7', port: 8080 };
const webId = 'cluster.local/ns/shop/sa/web';
const web: InboundRequest = { destination, principal: `spiffe://${webId}`, source: '10.0.0.9' };
const plaintext: InboundRequest = { destination, principal: undefined, source: '10.0.0.9' };

let made = 0;
const policy = (
  action: AuthorizationPolicy['action'],
  rules: PolicyRule[],
  more: Partial<AuthorizationPolicy> = {},
): AuthorizationPolicy => ({ name: `shop/${action}-${++made}`, action, rules, ...more });
const allow = (...sources: PolicySource[]) => policy('ALLOW', [{ from: sources }]);
const deny = (...sources: PolicySource[]) => policy('DENY', [{ from: sources }]);

/** `allowed` or the reason. */
const said = (policies: readonly AuthorizationPolicy[], request: InboundRequest = web) => {
  const { verdict } = judge(policies, request);
  return verdict.kind === 'denied' ? verdict.reason : 'allowed';
};

describe('the order of Istio', () => {
  it('G9: denies by default once an ALLOW policy is there, even one without rules', () => {
    expect(said([])).toBe('allowed');
    expect(said([policy('ALLOW', [])])).toBe('default_deny');
    expect(said([policy('ALLOW', []), deny({ principals: ['another'] })])).toBe('default_deny');
    expect(said([allow({ namespaces: ['other'] })])).toBe('default_deny');
    expect(said([deny({ namespaces: ['other'] }), policy('AUDIT', [])])).toBe('allowed');
  });

  it('allows and denies everybody by a rule that is empty', () => {
    expect(said([policy('ALLOW', [{}])], plaintext)).toBe('allowed');
    expect(said([policy('DENY', [{}])], plaintext)).toBe('policy_deny');
    expect(said([policy('DENY', [])])).toBe('allowed');
  });

  it('G10: denies what DENY and ALLOW both match, whichever comes first', () => {
    const [allowing, denying] = [allow({ namespaces: ['shop'] }), deny({ namespaces: ['shop'] })];
    const verdict = { kind: 'denied', reason: 'policy_deny', by: denying.name };
    expect(judge([allowing, denying], web).verdict).toEqual(verdict);
    expect(judge([denying, allowing], web).verdict).toEqual(verdict);
  });

  it('names the first policy that decides', () => {
    const allowing = [allow({ namespaces: ['x'] }), allow({ principals: ['*'] }), allow({ principals: [webId] })];
    expect(judge(allowing, web).verdict).toEqual({ kind: 'allowed', by: allowing[1]?.name });
    const denying = [deny({ namespaces: ['x'] }), deny({ ipBlocks: ['10.0.0.0/8'] }), deny({ principals: [webId] })];
    expect(judge(denying, web).verdict).toMatchObject({ by: denying[1]?.name });
  });

  it('denies everybody by a policy that has a problem, and by the first of them', () => {
    const broken = policy('ALLOW', [], { problem: 'it has an unknown field' });
    const all = [allow({ principals: ['*'] }), broken, policy('DENY', [], { problem: 'another' })];
    expect(judge(all, web).verdict).toEqual({ kind: 'denied', reason: 'policy_error', by: broken.name });
    expect(said([policy('AUDIT', [], { problem: 'it has an unknown field' })])).toBe('allowed');
  });

  it('denies everybody by a policy with a text that is no address, no CIDR or no port', () => {
    for (const rule of [
      { from: [{ principals: [webId] }, { ipBlocks: ['10.0.0.0/8', '10.0.0.0/33'] }] },
      { from: [{ notIpBlocks: ['ten'] }] },
      { when: [{ key: 'source.ip', notValues: ['10.0.0.1', '::1%eth0'] }] },
      { when: [{ key: 'destination.ip', values: [''] }] },
      { when: [{ key: 'destination.port', values: ['8080', '080'] }] },
      { when: [{ key: 'destination.port', notValues: ['http'] }] },
    ] satisfies PolicyRule[]) {
      const broken = policy('DENY', [{ from: [{ namespaces: ['x'] }] }, rule]);
      expect(judge([broken], web).verdict).toEqual({ kind: 'denied', reason: 'policy_error', by: broken.name });
      expect(said([{ ...broken, action: 'AUDIT' }])).toBe('allowed');
      expect(judge([{ ...broken, isDryRun: true }], web)).toMatchObject({
        verdict: { kind: 'allowed' },
        dryRun: { reason: 'policy_error' },
      });
    }
  });

  it('tells of policies on trial what they would have decided, and of AUDIT policies that match', () => {
    const trial = policy('DENY', [{}], { isDryRun: true });
    const audits = [policy('AUDIT', [{}]), policy('AUDIT', [{ to: [{ ports: [1] }] }]), policy('AUDIT', [{}, {}])];
    expect(judge([trial, ...audits, policy('AUDIT', [{}], { isDryRun: true })], web)).toEqual({
      verdict: { kind: 'allowed', by: undefined },
      audited: [audits[0]?.name, audits[2]?.name],
      dryRun: { kind: 'denied', reason: 'policy_deny', by: trial.name },
    });
    expect(judge(audits, web).dryRun).toBeUndefined();
    const onTrial = policy('ALLOW', [], { isDryRun: true });
    expect(judge([onTrial], web)).toMatchObject({ verdict: { kind: 'allowed' }, dryRun: { reason: 'default_deny' } });
  });

  it('names no more AUDIT policies than anybody would read', () => {
    const audits = Array.from({ length: 100 }, () => policy('AUDIT', [{}, {}]));
    expect(judge(audits, web).audited).toEqual(audits.slice(0, maxAudited).map(({ name }) => name));
  });
});

describe('the preparation of policies', () => {
  it('is done once, and has a size', () => {
    const all = [allow({ principals: [webId] }), deny({ namespaces: ['x'] }), policy('AUDIT', [{}])];
    expect(preparedBytes(all)).toBe(0);
    const steps = prepareJudging(all);
    while (steps.next().done !== true) expect(preparedBytes(all)).toBe(0);
    const bytes = preparedBytes(all);
    expect(bytes).toBeGreaterThan(100);
    expect(prepareJudging(all).next().done).toBe(true);
    const onTrial = [...all, policy('DENY', [{}], { isDryRun: true })];
    expect(judge(onTrial, web).verdict.kind).toBe('allowed');
    expect(preparedBytes(onTrial)).toBeGreaterThan(bytes);
  });
});

describe('a policy with long lists', () => {
  it('is prepared in many steps', () => {
    const blocks = Array.from({ length: 9600 }, (_, at) => `10.${at >> 8}.${at & 255}.1`);
    const steps = prepareJudging([deny({ ipBlocks: blocks })]);
    let count = 0;
    while (steps.next().done !== true) count += 1;
    // To read them, to list them, and to find keys, paths and places for them, which are gone through in the end.
    expect(count).toBeGreaterThanOrEqual(6 * 300);
    expect(count).toBeLessThan(6.3 * 300);
  });
});

describe('what a rule says', () => {
  it.each<[string, PolicyRule, boolean]>([
    ['one of the sources', { from: [{ namespaces: ['x'] }, { serviceAccounts: ['shop/web'] }] }, true],
    ['everything of a source', { from: [{ namespaces: ['shop'], ipBlocks: ['10.1.0.0/16'] }] }, false],
    ['what a source excepts', { from: [{ namespaces: ['shop'], notPrincipals: ['*/web'] }] }, false],
    ['a port', { to: [{ ports: [80] }, { ports: [8080] }] }, true],
    ['other ports', { to: [{ ports: [80] }] }, false],
    ['what an operation excepts', { to: [{ notPorts: [8080] }] }, false],
    [
      'every condition',
      {
        when: [
          { key: 'source.namespace', values: ['shop'] },
          { key: 'source.ip', values: ['::/0'] },
        ],
      },
      false,
    ],
    ['a condition', { when: [{ key: 'destination.ip', values: ['10.0.0.0/28'], notValues: ['10.0.0.8'] }] }, true],
    ['a port as a condition', { when: [{ key: 'destination.port', values: ['8080'] }] }, true],
    ['a port that a condition excepts', { when: [{ key: 'destination.port', notValues: ['8080'] }] }, false],
    ['a list of no alternatives', { from: [{ principals: [] }] }, false],
    ['a list of no exceptions', { from: [{ notPrincipals: [] }] }, true],
    ['a service account, in which a star is a star', { from: [{ serviceAccounts: ['shop/*'] }] }, false],
  ])('%s', (_, rule, isMatch) => {
    expect(said([policy('ALLOW', [rule])])).toBe(isMatch ? 'allowed' : 'default_deny');
    expect(said([policy('DENY', [rule])])).toBe(isMatch ? 'policy_deny' : 'allowed');
  });

  it.each<[string, boolean]>([
    [webId, true],
    ['*', true],
    ['cluster.local/ns/shop/*', true],
    [`${webId}*`, true],
    ['*/sa/web', true],
    [`*${webId}`, true],
    ['*shop*', false],
    ['cluster.local/*/web', false],
    ['**', false],
    ['', false],
    [`spiffe://${webId}`, false],
    [`x*`, false],
    ['*x', false],
  ])('the principal %s', (pattern, isMatch) => {
    expect(said([allow({ principals: [pattern] })])).toBe(isMatch ? 'allowed' : 'default_deny');
    expect(said([allow({ notPrincipals: [pattern] })])).toBe(isMatch ? 'default_deny' : 'allowed');
  });

  it('G13: takes every character for itself, and a pattern of a megabyte for one that matches nobody', () => {
    const expression = { ...web, principal: 'spiffe://clusterXlocal/ns/shop/sa/web' };
    expect(said([allow({ principals: [webId] })], expression)).toBe('default_deny');
    for (const text of ['cluster.local/.*', '(a+)+$', '[^/]*', webId.replace('web', 'w.b')])
      expect(said([allow({ principals: [text] }, { namespaces: [text] })])).toBe('default_deny');
    const huge = 'a'.repeat(1024 * 1024);
    const all = [huge, `${huge}*`, `*${huge}`];
    expect(said([allow({ principals: all, namespaces: all }), deny({ principals: all }, { namespaces: all })])).toBe(
      'default_deny',
    );
    expect(said([deny({ notPrincipals: all })])).toBe('policy_deny');
  });

  it('G14: compares byte for byte', () => {
    for (const text of [webId.toUpperCase(), `${webId}/`, ` ${webId}`, webId.replace('e', '\u0435'), `${webId}\u0000`])
      expect(said([allow({ principals: [text] })]), text).toBe('default_deny');
    expect(said([allow({ namespaces: ['Shop'] })])).toBe('default_deny');
    expect(said([allow({ namespaces: ['\u00e9'] })], { ...web, principal: 'spiffe://td/ns/e\u0301/sa/a' })).toBe(
      'default_deny',
    );
  });

  it('G18: takes a peer without identity for nobody that ALLOW knows or excepts', () => {
    for (const source of [
      { principals: ['*'] },
      { notPrincipals: ['another'] },
      { namespaces: ['*'] },
      { notNamespaces: ['another'] },
      { serviceAccounts: ['shop/web'] },
      { notServiceAccounts: ['shop/other'] },
    ] satisfies PolicySource[]) {
      expect(said([allow(source)], plaintext), JSON.stringify(source)).toBe('default_deny');
      expect(said([allow({ ...source, ipBlocks: ['0.0.0.0/0'] })], plaintext)).toBe('default_deny');
    }
    expect(said([policy('ALLOW', [{ when: [{ key: 'source.principal', notValues: ['x'] }] }])], plaintext)).toBe(
      'default_deny',
    );
    expect(said([allow({ notIpBlocks: ['192.0.2.1'] })], { destination, principal: undefined })).toBe('default_deny');
  });

  it('G18: does not let a peer without identity escape what DENY excepts', () => {
    expect(said([deny({ notPrincipals: ['*'] })], plaintext)).toBe('policy_deny');
    expect(said([deny({ notPrincipals: ['*'] })])).toBe('allowed');
    expect(said([deny({ notNamespaces: ['shop'] })], plaintext)).toBe('policy_deny');
    expect(said([deny({ notNamespaces: ['shop'] })])).toBe('allowed');
    expect(said([deny({ principals: ['*'] })], plaintext)).toBe('allowed');
    expect(judge([policy('AUDIT', [{ from: [{ notPrincipals: ['*'] }] }])], plaintext).audited).toHaveLength(1);
  });

  it('lets nobody whose address is not known escape a rule of DENY or AUDIT about addresses', () => {
    const nobody: InboundRequest = { destination, principal: undefined };
    const rules: PolicyRule[] = [
      { from: [{ ipBlocks: ['192.0.2.1'] }] },
      { from: [{ notIpBlocks: ['0.0.0.0/0', '::/0'] }] },
      { from: [{ ipBlocks: ['192.0.2.0/24'], notIpBlocks: ['192.0.2.1'] }], to: [{ ports: [8080] }] },
      { when: [{ key: 'source.ip', values: ['192.0.2.1'] }] },
    ];
    for (const rule of rules) {
      const other = policy('DENY', [{ from: [{ principals: ['another'] }] }]);
      const denying = policy('DENY', [rule]);
      const verdict = { kind: 'denied', reason: 'policy_deny', by: denying.name };
      expect(judge([other, denying], nobody).verdict, JSON.stringify(rule)).toEqual(verdict);
      expect(judge([policy('AUDIT', [rule])], nobody).audited).toHaveLength(1);
      expect(said([policy('DENY', [rule])], plaintext)).toBe('allowed');
      expect(said([policy('ALLOW', [rule])], nobody)).toBe('default_deny');
    }
    expect(said([deny({ ipBlocks: ['192.0.2.1'], principals: ['*'] })], nobody)).toBe('allowed');
    expect(said([policy('DENY', [{ ...rules[0], to: [{ ports: [80] }] }])], nobody)).toBe('allowed');
  });

  it('G20: satisfies no rule about an identity by an address', () => {
    for (const source of ['127.0.0.6', '10.0.0.9', '::1', webId, undefined]) {
      const request = { destination, principal: undefined, source };
      expect(
        said([allow({ principals: ['10.0.0.9', '127.0.0.6', '*'], ipBlocks: ['0.0.0.0/0', '::/0'] })], request),
      ).toBe('default_deny');
    }
    expect(said([allow({ ipBlocks: ['127.0.0.0/8', '10.0.0.9'] })], plaintext)).toBe('allowed');
    expect(said([allow({ ipBlocks: ['::/0', '::ffff:10.0.0.9'] })], plaintext)).toBe('default_deny');
  });

  it('S21: finds no namespace and no service account in an ID of another form', () => {
    for (const id of [
      'td/shop/web',
      'td/ns/shop',
      'td/ns/shop/sa',
      'td/ns/shop/sa/web/x',
      'td/x/ns/shop/sa/web',
      'td/NS/shop/sa/web',
    ]) {
      const other = { ...web, principal: `spiffe://${id}` };
      const sources = [{ namespaces: ['shop', '*'] }, { serviceAccounts: ['shop/web'] }, { notNamespaces: ['x'] }];
      for (const source of sources) expect(said([allow(source)], other), id).toBe('default_deny');
      expect(said([deny({ notNamespaces: ['*'] })], other)).toBe('policy_deny');
      expect(said([allow({ principals: [id] })], other)).toBe('allowed');
    }
  });
});
