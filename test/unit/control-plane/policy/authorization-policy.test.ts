import fc from 'fast-check';
import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { authorizationPolicy } from '../../../../src/control-api.ts';
import type { ScopedPolicy } from '../../../../src/control-plane/policy/authorization-policy.ts';
import type { Finding } from '../../../../src/control-plane/policy/finding.ts';
import { policyReader } from '../../../../src/control-plane/policy/read.ts';
import { judge } from '../../../../src/policy/judge.ts';

interface Understood {
  readonly scoped: ScopedPolicy;
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

const sentences = (findings: readonly Finding[], severity: string) =>
  findings.filter((one) => one.severity === severity).map(({ why }) => why);

function readObject(object: unknown, apiVersion = 'security.istio.io/v1'): Understood {
  const { entry, findings } = policyReader(apiVersion, 'AuthorizationPolicy')?.(object) ?? { findings: [] };
  if (entry?.kind !== 'security.istio.io/v1/AuthorizationPolicy') throw new TypeError('it has no name');
  return {
    scoped: entry.object,
    problems: sentences(findings, 'problem'),
    warnings: sentences(findings, 'warning'),
  };
}

const read = (spec: unknown, metadata: object = {}, apiVersion = 'security.istio.io/v1') =>
  readObject(
    { apiVersion, kind: 'AuthorizationPolicy', metadata: { name: 'api', namespace: 'shop', ...metadata }, spec },
    apiVersion,
  );
const readRule = (rule: unknown, action = 'ALLOW') => read({ action, rules: [rule] });
const from = (source: unknown) => ({ from: [{ source }] });
const to = (operation: unknown) => ({ to: [{ operation }] });
const wireFrom = (...from: readonly unknown[]) => ({ from });
const wireTo = (...to: readonly unknown[]) => ({ to });
const when = (condition: unknown) => ({ when: [condition] });

describe('an AuthorizationPolicy', () => {
  it.each<[string, object, object]>([
    ['principals', from({ principals: ['td/ns/a/sa/b', '*'] }), wireFrom({ principals: ['td/ns/a/sa/b', '*'] })],
    ['notPrincipals', from({ notPrincipals: ['*/sa/b'] }), wireFrom({ notPrincipals: ['*/sa/b'] })],
    ['namespaces', from({ namespaces: ['a.b', 'team-*'] }), wireFrom({ namespaces: ['a.b', 'team-*'] })],
    ['notNamespaces', from({ notNamespaces: ['*-dev'] }), wireFrom({ notNamespaces: ['*-dev'] })],
    ['serviceAccounts', from({ serviceAccounts: ['web', 'b/c'] }), wireFrom({ serviceAccounts: ['shop/web', 'b/c'] })],
    ['notServiceAccounts', from({ notServiceAccounts: ['web'] }), wireFrom({ notServiceAccounts: ['shop/web'] })],
    ['ipBlocks', from({ ipBlocks: ['10.0.0.0/8', '::1'] }), wireFrom({ ipBlocks: ['10.0.0.0/8', '::1'] })],
    ['notIpBlocks', from({ notIpBlocks: ['fd00::/8'] }), wireFrom({ notIpBlocks: ['fd00::/8'] })],
    ['ports', to({ ports: ['1', '8080', '65535'] }), wireTo({ ports: [1, 8080, 65_535] })],
    ['notPorts', to({ notPorts: ['80'] }), wireTo({ notPorts: [80] })],
    [
      'source.principal',
      when({ key: 'source.principal', values: ['a*'] }),
      when({ key: 'source.principal', values: ['a*'] }),
    ],
    [
      'source.namespace',
      when({ key: 'source.namespace', notValues: ['a'] }),
      when({ key: 'source.namespace', notValues: ['a'] }),
    ],
    ['source.ip', when({ key: 'source.ip', values: ['10.0.0.1'] }), when({ key: 'source.ip', values: ['10.0.0.1'] })],
    [
      'destination.ip',
      when({ key: 'destination.ip', values: ['fd00::/8'] }),
      when({ key: 'destination.ip', values: ['fd00::/8'] }),
    ],
    [
      'destination.port',
      when({ key: 'destination.port', values: ['80'] }),
      when({ key: 'destination.port', values: ['80'] }),
    ],
    ['an empty rule', {}, {}],
    ['null for what is absent', { from: null, to: null, when: null }, {}],
  ])('is read with %s', (_, rule, wire) => {
    const { scoped, problems, warnings } = readRule(rule);
    expect({ rules: scoped.policy.rules, problems, warnings }).toEqual({ rules: [wire], problems: [], warnings: [] });
  });

  it('is known by its name, says whom it is about, and allows nobody without rules', () => {
    expect(
      readObject({ kind: 'AuthorizationPolicy', apiVersion: 'security.istio.io/v1', metadata: { name: 'a' } }),
    ).toEqual({
      scoped: {
        ...{ name: 'a', namespace: 'default', creationTimestamp: undefined, selector: undefined, isSkipped: false },
        policy: { name: 'default/a', action: 'ALLOW', rules: [] },
      },
      problems: [],
      warnings: [],
    });
    expect(
      read({ selector: { matchLabels: { app: 'api' } } }, { creationTimestamp: '2030-01-01T00:00:00Z' }).scoped,
    ).toMatchObject({ selector: { app: 'api' }, creationTimestamp: '2030-01-01T00:00:00Z' });
  });

  it.each(['ALLOW', 'DENY', 'AUDIT'])('has the action %s', (action) => {
    expect(readRule({}, action).scoped.policy).toEqual({ name: 'shop/api', action, rules: [{}] });
  });

  it.each(['security.istio.io/v1', 'security.istio.io/v1beta1'])('is read as %s', (apiVersion) => {
    expect(read({}, {}, apiVersion).problems).toEqual([]);
  });

  it.each<[unknown, boolean | undefined, number]>([
    [null, undefined, 0],
    ['true', true, 0],
    ['T', true, 0],
    ['1', true, 0],
    ['false', undefined, 0],
    ['yes', undefined, 1],
  ])('is on trial as its annotation %s says', (value, isDryRun, warnings) => {
    const result = read({}, { annotations: { 'istio.io/dry-run': value } });
    expect([result.scoped.policy.isDryRun, result.warnings.length]).toEqual([isDryRun, warnings]);
  });

  it('passes over what it does not need of the metadata and of the status', () => {
    const metadata = { uid: 'u', labels: { a: 'b' }, managedFields: [{ fieldsV1: { 'f:spec': {} } }], generation: 3 };
    const object = {
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'a', ...metadata },
    };
    expect(readObject({ ...object, status: { conditions: [] } }).problems).toEqual([]);
  });
});

describe('attributes of HTTP', () => {
  const http = [
    ['from[0].source.requestPrincipals', from({ requestPrincipals: ['*'] })],
    ['from[0].source.notRequestPrincipals', from({ notRequestPrincipals: ['*'] })],
    ['to[0].operation.hosts', to({ hosts: ['a'] })],
    ['to[0].operation.notHosts', to({ notHosts: ['a'] })],
    ['to[0].operation.methods', to({ methods: ['GET'] })],
    ['to[0].operation.notMethods', to({ notMethods: ['GET'] })],
    ['to[0].operation.paths', to({ paths: ['/'] })],
    ['to[0].operation.notPaths', to({ notPaths: ['/'] })],
    ['when[0].key', when({ key: 'request.headers[x-a]', values: ['b'] })],
    ['when[0].key', when({ key: 'request.auth.principal', values: ['b'] })],
    ['when[0].key', when({ key: 'request.auth.audiences', values: ['b'] })],
    ['when[0].key', when({ key: 'request.auth.presenter', values: ['b'] })],
    ['when[0].key', when({ key: 'request.auth.claims[iss]', values: ['b'] })],
  ] as const;

  it.each(http)('make a rule of ALLOW match nothing: %s', (at, rule) => {
    const { scoped, problems, warnings } = read({ rules: [{ ...from({ namespaces: ['a'] }), ...rule }, {}] });
    expect({ rules: scoped.policy.rules, problems, warnings }).toEqual({
      rules: [{}],
      problems: [],
      warnings: [`spec.rules[0].${at} is of HTTP, so that its rule of ALLOW never matches on TCP`],
    });
  });

  it.each(http.flatMap(([at, rule]) => ['DENY', 'AUDIT'].map((action) => [action, at, rule] as const)))(
    'are left out of a rule of %s: %s',
    (action, at, rule) => {
      const { scoped, warnings } = readRule(
        { ...to({ ports: ['80'] }), ...from({ namespaces: ['a'] }), ...rule },
        action,
      );
      const expected = {
        ...wireTo({ ports: [80] }),
        ...wireFrom({ namespaces: ['a'] }),
        ...('from' in rule && wireFrom({})),
        ...('to' in rule && wireTo({})),
      };
      expect(scoped.policy.rules).toEqual([expected]);
      expect(warnings).toEqual([
        `spec.rules[0].${at} is of HTTP, so that its rule of ${action} applies without it on TCP`,
      ]);
    },
  );
});

describe('G6: an AuthorizationPolicy that cannot be enforced as it is written', () => {
  it.each<[string, unknown, string]>([
    [
      'CUSTOM',
      { action: 'CUSTOM', provider: { name: 'x' }, rules: [{}] },
      'spec.action is CUSTOM, which is not supported, expected ALLOW, DENY or AUDIT',
    ],
    [
      'an action that is none',
      { action: 'deny', rules: [{}] },
      'spec.action is "deny", expected one of ALLOW, DENY, AUDIT',
    ],
    ['an action that is no word', { action: 7 }, 'spec.action is 7, expected one of ALLOW, DENY, AUDIT'],
    [
      'a provider without CUSTOM',
      { provider: { name: 'x' }, rules: [{}] },
      'spec.provider is given, expected it with the action CUSTOM alone',
    ],
    ['a provider without a name', { provider: { name: 3 } }, 'spec.provider.name is 3, expected a string'],
    [
      'DENY without rules',
      { action: 'DENY' },
      'spec denies and has no rules, expected at least one; the rule {} matches everything',
    ],
    ['a field with a slip', { rule: [{}] }, 'spec.rule is not known, did you mean rules?'],
    [
      'a field of nobody',
      { zzzzzzzzz: 1 },
      'spec.zzzzzzzzz is not known, expected one of selector, targetRef, targetRefs, action, provider, rules',
    ],
    ['a spec that is a list', [], 'spec is an empty list, expected an object'],
    ['a spec that is text', 'ALLOW', 'spec is "ALLOW", expected an object'],
    ['rules that are no list', { rules: {} }, 'spec.rules is an object, expected a list'],
    ['a rule that is a list', { rules: [[]] }, 'spec.rules[0] is an empty list, expected an object'],
    ['a rule of nothing', { rules: [null] }, 'spec.rules[0] is null, expected an object'],
    ['a rule with a slip', { rules: [{ form: [] }] }, 'spec.rules[0].form is not known, did you mean from?'],
    [
      'an empty from',
      { rules: [{ from: [] }] },
      'spec.rules[0].from is an empty list, expected at least one item, or no such field',
    ],
    [
      'an empty to',
      { rules: [{ to: [] }] },
      'spec.rules[0].to is an empty list, expected at least one item, or no such field',
    ],
    ['a from without a source', { rules: [{ from: [{}] }] }, 'spec.rules[0].from[0].source is missing'],
    ['a to without an operation', { rules: [{ to: [{}] }] }, 'spec.rules[0].to[0].operation is missing'],
    [
      'a field beside the source',
      { rules: [{ from: [{ source: { namespaces: ['a'] }, namespaces: ['b'] }] }] },
      'spec.rules[0].from[0].namespaces is not known, expected source',
    ],
    [
      'a field beside the operation',
      { rules: [{ to: [{ operation: { ports: ['1'] }, ports: ['1'] }] }] },
      'spec.rules[0].to[0].ports is not known, expected operation',
    ],
    [
      'an empty source',
      { rules: [from({})] },
      'spec.rules[0].from[0].source is empty, expected at least one list with an item',
    ],
    [
      'a source of empty lists',
      { rules: [from({ principals: [] })] },
      'spec.rules[0].from[0].source is empty, expected at least one list with an item',
    ],
    [
      'an empty operation',
      { rules: [to({})] },
      'spec.rules[0].to[0].operation is empty, expected at least one list with an item',
    ],
    [
      'a source with a slip',
      { rules: [from({ principal: ['a'] })] },
      'spec.rules[0].from[0].source.principal is not known, did you mean principals?',
    ],
    [
      'principals that are no list',
      { rules: [from({ principals: 'a' })] },
      'spec.rules[0].from[0].source.principals is "a", expected a list',
    ],
    [
      'an empty principal',
      { rules: [from({ principals: [''] })] },
      'spec.rules[0].from[0].source.principals[0] is empty, expected a value',
    ],
    [
      'an empty notPrincipal',
      { rules: [from({ notPrincipals: [''] })] },
      'spec.rules[0].from[0].source.notPrincipals[0] is empty, expected a value',
    ],
    [
      'an empty requestPrincipal',
      { rules: [from({ requestPrincipals: [''] })] },
      'spec.rules[0].from[0].source.requestPrincipals[0] is empty, expected a value',
    ],
    [
      'an empty notRequestPrincipal',
      { rules: [from({ notRequestPrincipals: [''] })] },
      'spec.rules[0].from[0].source.notRequestPrincipals[0] is empty, expected a value',
    ],
    [
      'a namespace that is a number',
      { rules: [from({ namespaces: [7] })] },
      'spec.rules[0].from[0].source.namespaces[0] is 7, expected a string',
    ],
    [
      'a star amid a namespace',
      { rules: [from({ namespaces: ['a*b'] })] },
      'spec.rules[0].from[0].source.namespaces[0] is "a*b", expected a namespace, with * first or last at most',
    ],
    [
      'a regular expression',
      { rules: [from({ notNamespaces: ['(a|b)'] })] },
      'spec.rules[0].from[0].source.notNamespaces[0] is "(a|b)", expected a namespace, with * first or last at most',
    ],
    [
      'a star in a service account',
      { rules: [from({ serviceAccounts: ['a/*'] })] },
      'spec.rules[0].from[0].source.serviceAccounts[0] is "a/*", expected the name of a service account, or namespace/name',
    ],
    [
      'a service account of three parts',
      { rules: [from({ notServiceAccounts: ['a/b/c'] })] },
      'spec.rules[0].from[0].source.notServiceAccounts[0] is "a/b/c", expected the name of a service account, or namespace/name',
    ],
    [
      'service accounts with principals',
      { rules: [from({ serviceAccounts: ['a'], principals: ['b'] })] },
      'spec.rules[0].from[0].source has service accounts together with principals or namespaces, expected one of these',
    ],
    [
      'service accounts with notNamespaces',
      { rules: [from({ notServiceAccounts: ['a'], notNamespaces: ['b'] })] },
      'spec.rules[0].from[0].source has service accounts together with principals or namespaces, expected one of these',
    ],
    [
      'an address that is none',
      { rules: [from({ ipBlocks: ['10.0.0.256'] })] },
      'spec.rules[0].from[0].source.ipBlocks[0] is "10.0.0.256", expected an IP address or a CIDR',
    ],
    [
      'a prefix that is none',
      { rules: [from({ notIpBlocks: ['10.0.0.0/33'] })] },
      'spec.rules[0].from[0].source.notIpBlocks[0] is "10.0.0.0/33", expected an IP address or a CIDR',
    ],
    [
      'IPv4 as IPv6',
      { rules: [from({ ipBlocks: ['::ffff:10.0.0.0/104'] })] },
      'spec.rules[0].from[0].source.ipBlocks[0] is "::ffff:10.0.0.0/104", expected an IP address or a CIDR',
    ],
    ...['::ffff:a00:1', '0:0:0:0:0:ffff:10.0.0.1', '::FFFF:10.0.0.1', '::ffff:0:0/96', '0::ffff:a00:0/104'].map(
      (block): [string, object, string] => [
        `IPv4 as IPv6, ${block}`,
        { rules: [from({ notIpBlocks: [block] })] },
        `spec.rules[0].from[0].source.notIpBlocks[0] is "${block}", expected an IP address or a CIDR`,
      ],
    ),
    [
      'IPv4 as IPv6 in a condition',
      { rules: [when({ key: 'source.ip', notValues: ['::ffff:a00:1'] })] },
      'spec.rules[0].when[0].notValues[0] is "::ffff:a00:1", expected an IP address or a CIDR for source.ip',
    ],
    [
      'a prefix with a leading zero',
      { rules: [from({ ipBlocks: ['10.0.0.0/08'] })] },
      'spec.rules[0].from[0].source.ipBlocks[0] is "10.0.0.0/08", expected an IP address or a CIDR',
    ],
    [
      'remoteIpBlocks',
      { rules: [from({ remoteIpBlocks: ['10.0.0.1'] })] },
      'spec.rules[0].from[0].source.remoteIpBlocks is not supported, expected ipBlocks',
    ],
    [
      'notRemoteIpBlocks',
      { rules: [from({ notRemoteIpBlocks: ['10.0.0.1'] })] },
      'spec.rules[0].from[0].source.notRemoteIpBlocks is not supported, expected notIpBlocks',
    ],
    [
      'a port that is a number',
      { rules: [to({ ports: [8080] })] },
      'spec.rules[0].to[0].operation.ports[0] is 8080, expected a port in quotes, such as "8080"',
    ],
    [
      'port 0',
      { rules: [to({ ports: ['0'] })] },
      'spec.rules[0].to[0].operation.ports[0] is "0", expected a port from 1 to 65535',
    ],
    [
      'port 70000',
      { rules: [to({ notPorts: ['70000'] })] },
      'spec.rules[0].to[0].operation.notPorts[0] is "70000", expected a port from 1 to 65535',
    ],
    [
      'a range of ports',
      { rules: [to({ ports: ['80-90'] })] },
      'spec.rules[0].to[0].operation.ports[0] is "80-90", expected a port from 1 to 65535',
    ],
    [
      'an operation with a slip',
      { rules: [to({ port: ['80'] })] },
      'spec.rules[0].to[0].operation.port is not known, did you mean ports?',
    ],
    ...['hosts', 'notHosts', 'methods', 'notMethods', 'paths', 'notPaths'].map((name): [string, unknown, string] => [
      `an empty value in ${name}`,
      { rules: [to({ [name]: [''] })] },
      `spec.rules[0].to[0].operation.${name}[0] is empty, expected a value`,
    ]),
    ['a condition without a key', { rules: [when({ values: ['a'] })] }, 'spec.rules[0].when[0].key is missing'],
    [
      'a condition without values',
      { rules: [when({ key: 'source.ip' })] },
      'spec.rules[0].when[0] has no value, expected values or notValues',
    ],
    [
      'a condition of empty lists',
      { rules: [when({ key: 'source.ip', values: [], notValues: [] })] },
      'spec.rules[0].when[0] has no value, expected values or notValues',
    ],
    [
      'a condition with a slip',
      { rules: [when({ key: 'source.ip', values: ['::1'], value: ['a'] })] },
      'spec.rules[0].when[0].value is not known, did you mean values?',
    ],
    [
      'a key with a slip',
      { rules: [when({ key: 'source.principle', values: ['a'] })] },
      'spec.rules[0].when[0].key is "source.principle", which is no attribute, did you mean source.principal?',
    ],
    [
      'remote.ip',
      { rules: [when({ key: 'remote.ip', values: ['a'] })] },
      'spec.rules[0].when[0].key is "remote.ip", which is not supported, expected one of source.principal, source.namespace, source.ip, destination.ip, destination.port',
    ],
    [
      'connection.sni',
      { rules: [when({ key: 'connection.sni', values: ['a'] })] },
      'spec.rules[0].when[0].key is "connection.sni", which is not supported, expected one of source.principal, source.namespace, source.ip, destination.ip, destination.port',
    ],
    [
      'an experiment',
      { rules: [when({ key: 'experimental.envoy.filters.a[b]', values: ['a'] })] },
      'spec.rules[0].when[0].key is "experimental.envoy.filters.a[b]", which is not supported, expected one of source.principal, source.namespace, source.ip, destination.ip, destination.port',
    ],
    [
      'a header without a name',
      { rules: [when({ key: 'request.headers', values: ['a'] })] },
      'spec.rules[0].when[0].key is "request.headers", which is no attribute, expected one of source.principal, source.namespace, source.ip, destination.ip, destination.port',
    ],
    [
      'an address of a condition',
      { rules: [when({ key: 'source.ip', notValues: ['*'] })] },
      'spec.rules[0].when[0].notValues[0] is "*", expected an IP address or a CIDR for source.ip',
    ],
    [
      'a destination that is none',
      { rules: [when({ key: 'destination.ip', values: ['web'] })] },
      'spec.rules[0].when[0].values[0] is "web", expected an IP address or a CIDR for destination.ip',
    ],
    [
      'a port of a condition',
      { rules: [when({ key: 'destination.port', values: ['http'] })] },
      'spec.rules[0].when[0].values[0] is "http", expected a port from 1 to 65535 for destination.port',
    ],
    [
      'a namespace of a condition',
      { rules: [when({ key: 'source.namespace', values: ['a*b'] })] },
      'spec.rules[0].when[0].values[0] is "a*b", expected a namespace, with * first or last at most for source.namespace',
    ],
    [
      'a selector of another kind',
      { selector: { matchExpressions: [] } },
      'spec.selector.matchExpressions is not known, expected matchLabels',
    ],
    [
      'a label with a star',
      { selector: { matchLabels: { app: 'a*' } } },
      'spec.selector.matchLabels.app is "a*", expected a label as it is, without *',
    ],
    [
      'a label without a name',
      { selector: { matchLabels: { '': 'a' } } },
      'spec.selector.matchLabels[""] is empty, expected the name of a label',
    ],
    [
      'a label that is a number',
      { selector: { matchLabels: { v: 1 } } },
      'spec.selector.matchLabels.v is 1, expected a string',
    ],
    [
      'a targetRef with a slip',
      { targetRef: { kind: 'Gateway', name: 'a', nmae: 'a' } },
      'spec.targetRef.nmae is not known, did you mean name?',
    ],
    ['a targetRef to nothing', { targetRef: { kind: 'Gateway' } }, 'spec.targetRef.name is missing'],
    ['targetRefs that are no list', { targetRefs: {} }, 'spec.targetRefs is an object, expected a list'],
    [
      'a selector and a targetRef',
      { selector: {}, targetRef: { kind: 'Gateway', name: 'a' }, rules: [{}] },
      'spec.selector is given together with a targetRef, expected one of the two',
    ],
  ])('%s', (_, spec, sentence) => {
    const { scoped, problems } = read(spec);
    expect(problems).toEqual([sentence]);
    expect(scoped).toMatchObject({ isSkipped: false, policy: { problem: sentence, rules: [] } });
    const request = {
      destination: { ip: '10.0.0.1', port: 80 },
      principal: 'spiffe://td/ns/a/sa/b',
      source: '10.0.0.2',
    };
    expect(judge([scoped.policy], request).verdict).toEqual({ kind: 'denied', reason: 'policy_error', by: 'shop/api' });
  });

  it('selects the whole namespace when its selector cannot be read, and else whom it selects', () => {
    expect(read({ selector: { matchLabels: { app: 1 } } }).scoped.selector).toBeUndefined();
    expect(read({ selector: { matchLabels: { app: 'a' } }, rules: 7 }).scoped.selector).toEqual({ app: 'a' });
  });

  it('G2: is one with a field beside its spec, and every slip is named', () => {
    const object = { apiVersion: 'security.istio.io/v1', kind: 'AuthorizationPolicy', metadata: { name: 'a' } };
    const { problems, scoped } = readObject({ ...object, sepc: {}, spec: { axtion: 'DENY', rles: [] } });
    expect(problems).toEqual([
      'spec.axtion is not known, did you mean action?',
      'spec.rles is not known, did you mean rules?',
      'sepc is not known, did you mean spec?',
    ]);
    expect(scoped.policy.problem).toBe('spec.axtion is not known, did you mean action? (and 2 more)');
  });

  it('is one of another version, and then nobody knows whom it selects', () => {
    const { scoped, problems } = read({ selector: { matchLabels: { a: 'b' } } }, {}, 'security.istio.io/v2');
    expect(problems).toEqual([
      'apiVersion is "security.istio.io/v2", expected one of security.istio.io/v1, security.istio.io/v1beta1',
    ]);
    expect(scoped).toMatchObject({ selector: undefined, policy: { problem: problems[0], rules: [] } });
  });

  it.each([
    ['AUDIT', { action: 'AUDIT', rules: 7 }, {}],
    ['on trial', { action: 'CUSTOM' }, { annotations: { 'istio.io/dry-run': 'true' } }],
  ])('decides nothing when it is of %s', (_, spec, metadata) => {
    const { policy } = read(spec, metadata).scoped;
    const request = { destination: { ip: '10.0.0.1', port: 80 }, principal: undefined };
    expect(policy.problem).toBeDefined();
    expect(judge([policy], request).verdict).toEqual({ kind: 'allowed', by: undefined });
  });

  it('P4: is one with names that could reach a prototype, wherever they stand', () => {
    const { problems, scoped } = read(
      JSON.parse('{"selector": {"matchLabels": {"__proto__": "a", "constructor": "b"}}}'),
    );
    expect(problems).toEqual([
      'spec.selector.matchLabels.__proto__ is a reserved name, expected another',
      'spec.selector.matchLabels.constructor is a reserved name, expected another',
    ]);
    expect(scoped.selector ?? {}).toEqual({});
    expect(({} as { a?: unknown }).a).toBeUndefined();
  });

  it('G1: says its first problems only, however many there are and however long', () => {
    const fields = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`${'x'.repeat(2000)}${i}`, i]));
    const { problems, scoped } = read(fields);
    expect(problems).toHaveLength(50);
    expect(scoped.policy.problem?.length).toBeLessThan(1000);
    let deep: unknown = {};
    for (let i = 0; i < 1000; i++) deep = { a: deep };
    expect(read(deep).problems.join()).toContain('is nested deeper than 40 levels');
  });
});

describe('what is only worth a warning', () => {
  it.each<[string, unknown, string]>([
    [
      'an empty list beside others',
      { rules: [from({ principals: [], namespaces: ['a'] })] },
      'spec.rules[0].from[0].source.principals is an empty list, which is as if it were not there',
    ],
    [
      'an empty list of an operation',
      { rules: [to({ ports: ['1'], notPorts: [] })] },
      'spec.rules[0].to[0].operation.notPorts is an empty list, which is as if it were not there',
    ],
    [
      'an empty list of a condition',
      { rules: [when({ key: 'source.ip', values: ['::1'], notValues: [] })] },
      'spec.rules[0].when[0].notValues is an empty list, which is as if it were not there',
    ],
    [
      'spiffe:// before a principal',
      { rules: [from({ principals: ['spiffe://a/ns/b/sa/c'] })] },
      'spec.rules[0].from[0].source.principals[0] begins with spiffe://, which no principal does here, so that it matches nobody',
    ],
    [
      'a star amid a principal',
      { rules: [from({ notPrincipals: ['a/*/b'] })] },
      'spec.rules[0].from[0].source.notPrincipals[0] has a * that is neither first nor last, so that it matches nobody',
    ],
    [
      'a star amid a principal of a condition',
      { rules: [when({ key: 'source.principal', values: ['*a*'] })] },
      'spec.rules[0].when[0].values[0] has a * that is neither first nor last, so that it matches nobody',
    ],
  ])('is %s', (_, spec, sentence) => {
    const { scoped, problems, warnings } = read(spec);
    expect({ problems, warnings }).toEqual({ problems: [], warnings: [sentence] });
    expect(scoped.policy.problem).toBeUndefined();
    expect(JSON.stringify(scoped.policy.rules)).not.toContain('[]');
  });

  it.each([
    ['targetRef', { targetRef: { group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'a', namespace: null } }],
    ['targetRefs', { targetRefs: [{ kind: 'Service', name: 'a', group: '' }] }],
  ])('is a policy that selects a gateway by %s: it is skipped', (at, spec) => {
    const { scoped, warnings, problems } = read({ ...spec, action: 'DENY', rules: [{}] });
    expect(scoped.isSkipped).toBe(true);
    expect({ problems, warnings }).toEqual({
      problems: [],
      warnings: [`spec.${at} selects a gateway or a waypoint and no workload, so that the policy is skipped`],
    });
  });

  it('is what else stands in a policy for a gateway: nothing of it is a matter of workloads', () => {
    const targetRefs = [{ kind: 'Gateway', name: 'a' }];
    const { scoped, problems } = read({ targetRefs, action: 'CUSTOM', provider: { name: 'x' }, rules: [{ from: [] }] });
    expect(problems).toEqual([]);
    expect(scoped).toMatchObject({ isSkipped: true, policy: { rules: [] } });
    expect(scoped.policy.problem).toBeUndefined();
    expect(read({ targetRefs }, {}, 'security.istio.io/v2').scoped.isSkipped).toBe(false);
  });

  it('is no empty targetRefs: the policy is about workloads', () => {
    expect(read({ targetRefs: [] }).scoped.isSkipped).toBe(false);
  });
});

const json = fc.jsonValue({ maxDepth: 5 });
const listOf = (item: fc.Arbitrary<unknown>) =>
  fc.oneof({ weight: 3, arbitrary: fc.array(item, { maxLength: 3 }) }, json);
const words = fc.constantFrom<unknown>('a', '*', 'a*', '10.0.0.0/8', '80', 'x/y', '', 80, null);
const record = (fields: Record<string, fc.Arbitrary<unknown>>) => fc.record(fields, { requiredKeys: [] });
const lists = (...names: readonly string[]) => record(Object.fromEntries(names.map((name) => [name, listOf(words)])));
const rule = record({
  from: listOf(
    record({ source: lists('principals', 'namespaces', 'serviceAccounts', 'ipBlocks', 'notPrincipals', 'x') }),
  ),
  to: listOf(record({ operation: lists('ports', 'notPorts', 'methods') })),
  when: listOf(
    record({ key: fc.constantFrom('source.ip', 'source.principal', 'request.headers[a]', 'z'), values: listOf(words) }),
  ),
});
const nearlyPolicy = record({
  selector: fc.oneof(json, fc.constant({ matchLabels: { a: 'b' } })),
  action: fc.constantFrom<unknown>('ALLOW', 'DENY', 'AUDIT', 'CUSTOM', 'deny', 1, null),
  rules: listOf(rule),
});

it('G6: whatever object is given, it is a policy or a problem, and with a problem it permits nothing', () => {
  fc.assert(
    fc.property(fc.oneof(json, nearlyPolicy), fc.oneof(json, fc.constant({})), (spec, more) => {
      const metadata = { annotations: more, labels: more, name: 'a', namespace: 'b' };
      const { scoped, problems } = read(spec, metadata);
      const { policy } = scoped;
      v.parse(authorizationPolicy, policy);
      expect(policy.problem !== undefined).toBe(problems.length > 0);
      if (policy.problem === undefined) return;
      expect(policy.rules).toEqual([]);
      if (policy.action === 'AUDIT' || policy.isDryRun) return;
      const request = {
        destination: { ip: '10.0.0.1', port: 80 },
        principal: 'spiffe://td/ns/a/sa/b',
        source: '10.0.0.2',
      };
      expect(judge([policy, { name: 'c', action: 'ALLOW', rules: [{}] }], request).verdict.kind).toBe('denied');
    }),
    { numRuns: 2000 },
  );
});

it('G6: whatever is given as an object, nothing is thrown', () => {
  const anything = fc.anything({ withNullPrototype: true, withMap: true, withBigInt: true, withDate: true });
  fc.assert(
    fc.property(anything, (object) => {
      const result = policyReader('security.istio.io/v1', 'AuthorizationPolicy')?.(object);
      expect(result?.entry !== undefined || (result?.findings.length ?? 0) > 0).toBe(true);
    }),
  );
});
