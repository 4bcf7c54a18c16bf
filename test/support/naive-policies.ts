import { BlockList, isIPv6 } from 'node:net';
import type { AuthorizationPolicy, PolicyRule } from '../../src/control-api.ts';
import type { InboundRequest } from '../../src/policy/authorize.ts';
import type { Judgement, Verdict } from '../../src/policy/judge.ts';

/*
 * AuthorizationPolicies a second time, as Istio has Envoy evaluate them, and as slowly as it reads: a rule is every combination of
 * a source and an operation, each of which is a list of matchers, and each matcher is true, false, or unknown when the peer
 * has not proved what it asks about. "Is" needs true. "Is not" needs false for ALLOW, and anything but true for DENY and AUDIT;
 * so does "is" of its address, which nobody is without.
 */

type Truth = boolean | 'unknown';
interface Matcher {
  readonly isNegated: boolean;
  readonly isOfAddress: boolean;
  truth(request: InboundRequest): Truth;
}

export function judgeNaively(policies: readonly AuthorizationPolicy[], request: InboundRequest): Judgement {
  const live: AuthorizationPolicy[] = [];
  for (const policy of policies) if (!policy.isDryRun) live.push(policy);
  const audited: string[] = [];
  for (const policy of live) if (policy.action === 'AUDIT' && isMatched(policy, request)) audited.push(policy.name);
  return {
    verdict: decide(live, request),
    audited: audited.slice(0, 20),
    dryRun: live.length === policies.length ? undefined : decide(policies, request),
  };
}

function decide(policies: readonly AuthorizationPolicy[], request: InboundRequest): Verdict {
  for (const { action, problem, name } of policies)
    if (action !== 'AUDIT' && problem !== undefined) return { kind: 'denied', reason: 'policy_error', by: name };
  for (const policy of policies)
    if (policy.action === 'DENY' && isMatched(policy, request))
      return { kind: 'denied', reason: 'policy_deny', by: policy.name };
  let isAnythingAllowed = false;
  for (const policy of policies) {
    if (policy.action !== 'ALLOW') continue;
    isAnythingAllowed = true;
    if (isMatched(policy, request)) return { kind: 'allowed', by: policy.name };
  }
  return isAnythingAllowed
    ? { kind: 'denied', reason: 'default_deny', by: undefined }
    : { kind: 'allowed', by: undefined };
}

function isMatched({ rules, action }: AuthorizationPolicy, request: InboundRequest): boolean {
  for (const rule of rules)
    for (const matchers of combinations(rule)) {
      let isAll = true;
      for (const { isNegated, isOfAddress, truth } of matchers) {
        const is = truth(request);
        const mayHold = action !== 'ALLOW' && is === 'unknown' && (isNegated || isOfAddress);
        const holds = mayHold || is === !isNegated;
        if (!holds) isAll = false;
      }
      if (isAll) return true;
    }
  return false;
}

function combinations(rule: PolicyRule): Matcher[][] {
  const shared: Matcher[] = [];
  for (const { key, values, notValues } of rule.when ?? []) {
    const read = {
      'source.principal': principal,
      'source.namespace': namespace,
      'source.ip': sourceIp,
      'destination.ip': (request: InboundRequest) => request.destination.ip,
      'destination.port': (request: InboundRequest) => `${request.destination.port}`,
    }[key];
    const like = key.endsWith('.ip') ? isWithin : key === 'destination.port' ? isSame : isWild;
    shared.push(...pair(read, like, values, notValues));
  }
  const sources = (rule.from ?? [{}]).map((from) => [
    ...pair(principal, isWild, from.principals, from.notPrincipals),
    ...pair(namespace, isWild, from.namespaces, from.notNamespaces),
    ...pair(account, isSame, from.serviceAccounts, from.notServiceAccounts),
    ...pair(sourceIp, isWithin, from.ipBlocks, from.notIpBlocks),
  ]);
  const port = (request: InboundRequest) => `${request.destination.port}`;
  const operations = (rule.to ?? [{}]).map(({ ports, notPorts }) =>
    pair(port, isSame, ports?.map(String), notPorts?.map(String)),
  );
  return sources.flatMap((source) => operations.map((operation) => [...source, ...operation, ...shared]));
}

type Read = (request: InboundRequest) => string | undefined;
type Like = (value: string, text: string) => boolean;

function pair(read: Read, like: Like, is?: readonly string[], isNot?: readonly string[]): Matcher[] {
  const found: Matcher[] = [];
  const truthOf = (list: readonly string[]) => (request: InboundRequest) => {
    const value = read(request);
    return value === undefined ? ('unknown' as const) : list.filter((text) => like(value, text)).length > 0;
  };
  const isOfAddress = read === sourceIp;
  if (is !== undefined) found.push({ isNegated: false, isOfAddress, truth: truthOf(is) });
  if (isNot !== undefined) found.push({ isNegated: true, isOfAddress, truth: truthOf(isNot) });
  return found;
}

const principal: Read = (request) => request.principal?.replace('spiffe://', '');
const sourceIp: Read = ({ source }) => source;
/** `trust-domain/ns/NAMESPACE/sa/NAME`, and nothing else. */
const parts = (request: InboundRequest) => {
  const [, ns, namespace, sa, name, ...more] = (principal(request) ?? '').split('/');
  return ns === 'ns' && sa === 'sa' && namespace && name && more.length === 0 ? { namespace, name } : undefined;
};
const namespace: Read = (request) => parts(request)?.namespace;
const account: Read = (request) => {
  const found = parts(request);
  return found && `${found.namespace}/${found.name}`;
};

const isSame: Like = (value, text) => value === text;

/** Envoy's order: presence first, then a star in front, then one behind. */
const isWild: Like = (value, text) => {
  if (text === '*') return value.length > 0;
  if (text[0] === '*')
    return value.length >= text.length - 1 && value.slice(value.length - text.length + 1) === text.slice(1);
  if (text[text.length - 1] === '*') return value.indexOf(text.slice(0, text.length - 1)) === 0;
  return value === text;
};

const isWithin: Like = (value, text) => {
  const [address = '', length] = text.split('/');
  const family = isIPv6(address) ? 'ipv6' : 'ipv4';
  if (isIPv6(value) !== isIPv6(address)) return false;
  const list = new BlockList();
  list.addSubnet(address, length === undefined ? (family === 'ipv6' ? 128 : 32) : Number(length), family);
  return list.check(value, family);
};
