import { cidrSet } from '../addresses.ts';
import type {
  AuthorizationPolicy,
  PolicyCondition,
  PolicyOperation,
  PolicyRule,
  PolicySource,
} from '../control-api.ts';
import type { InboundRequest } from './authorize.ts';

/** What AuthorizationPolicies say of a request. */
export type Verdict =
  /** `by` is the ALLOW policy that matches; undefined when none selects this workload. */
  | { readonly kind: 'allowed'; readonly by: string | undefined }
  | {
      readonly kind: 'denied';
      readonly reason: 'policy_deny' | 'policy_error' | 'default_deny';
      /** The policy that denies; undefined for `default_deny`: some are allowed, and this one is not. */
      readonly by: string | undefined;
    };

export interface Judgement {
  readonly verdict: Verdict;
  /** AUDIT policies that match. */
  readonly audited: readonly string[];
  /** What the verdict would be with the policies that are on trial; undefined when there are none. */
  readonly dryRun: Verdict | undefined;
}

/**
 * Judges a request as Istio does for TCP: DENY, then ALLOW, and denied by default once an ALLOW policy selects the workload.
 * What the peer has not proved satisfies no rule of ALLOW, not even a negated one, and escapes no rule of DENY by being absent.
 */
export function judge(policies: readonly AuthorizationPolicy[], request: InboundRequest): Judgement {
  const enforced = policies.filter(({ isDryRun }) => isDryRun !== true);
  const isOnTrial = enforced.length < policies.length;
  return {
    verdict: verdictOf(enforced, request),
    audited: enforced
      .filter(({ action, rules }) => action === 'AUDIT' && rules.some((rule) => matches(rule, request, 'matches')))
      .map(({ name }) => name),
    dryRun: isOnTrial ? verdictOf(policies, request) : undefined,
  };
}

function verdictOf(policies: readonly AuthorizationPolicy[], request: InboundRequest): Verdict {
  const broken = policies.find(({ action, problem }) => problem !== undefined && action !== 'AUDIT');
  if (broken !== undefined) return { kind: 'denied', reason: 'policy_error', by: broken.name };
  const denying = policies.find(
    ({ action, rules }) => action === 'DENY' && rules.some((rule) => matches(rule, request, 'matches')),
  );
  if (denying !== undefined) return { kind: 'denied', reason: 'policy_deny', by: denying.name };
  const allowing = policies.filter(({ action }) => action === 'ALLOW');
  if (allowing.length === 0) return { kind: 'allowed', by: undefined };
  const allow = allowing.find(({ rules }) => rules.some((rule) => matches(rule, request, 'fails')));
  return allow === undefined
    ? { kind: 'denied', reason: 'default_deny', by: undefined }
    : { kind: 'allowed', by: allow.name };
}

/** What a negated condition does when what it is about is not there. */
type Absence = 'matches' | 'fails';

function matches({ from, to, when }: PolicyRule, request: InboundRequest, absence: Absence): boolean {
  return (
    (from === undefined || from.some((source) => isFrom(source, request, absence))) &&
    (to === undefined || to.some((operation) => isTo(operation, request))) &&
    (when === undefined || when.every((condition) => holds(condition, request, absence)))
  );
}

function isFrom(source: PolicySource, { principal, source: ip }: InboundRequest, absence: Absence): boolean {
  const id = principal?.slice('spiffe://'.length);
  const [, namespace, serviceAccount] = /^[^/]*\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(id ?? '') ?? [];
  const account = namespace === undefined ? undefined : `${namespace}/${serviceAccount}`;
  return (
    passes(id, source.principals, source.notPrincipals, isLike, absence) &&
    passes(namespace, source.namespaces, source.notNamespaces, isLike, absence) &&
    passes(account, source.serviceAccounts, source.notServiceAccounts, Object.is, absence) &&
    passes(ip, source.ipBlocks, source.notIpBlocks, isIn, absence)
  );
}

function isTo({ ports, notPorts }: PolicyOperation, { destination: { port } }: InboundRequest): boolean {
  return (ports === undefined || ports.includes(port)) && !notPorts?.includes(port);
}

function holds({ key, values, notValues }: PolicyCondition, request: InboundRequest, absence: Absence): boolean {
  const { destination } = request;
  switch (key) {
    case 'source.principal':
      return isFrom({ principals: values, notPrincipals: notValues }, request, absence);
    case 'source.namespace':
      return isFrom({ namespaces: values, notNamespaces: notValues }, request, absence);
    case 'source.ip':
      return isFrom({ ipBlocks: values, notIpBlocks: notValues }, request, absence);
    case 'destination.ip':
      return passes(destination.ip, values, notValues, isIn, absence);
    case 'destination.port':
      return passes(`${destination.port}`, values, notValues, Object.is, absence);
    default:
      return key satisfies never;
  }
}

function passes(
  value: string | undefined,
  some: readonly string[] | undefined,
  none: readonly string[] | undefined,
  isMatch: (value: string, pattern: string) => boolean,
  absence: Absence,
): boolean {
  if (value === undefined) return some === undefined && (none === undefined || absence === 'matches');
  const isAny = (patterns: readonly string[]) => patterns.some((pattern) => isMatch(value, pattern));
  return (some === undefined || isAny(some)) && (none === undefined || !isAny(none));
}

function isLike(value: string, pattern: string): boolean {
  if (pattern === '*') return true;
  if (pattern.startsWith('*')) return value.endsWith(pattern.slice(1));
  return pattern.endsWith('*') ? value.startsWith(pattern.slice(0, -1)) : value === pattern;
}

const isIn = (ip: string, block: string) => cidrSet([block]).has(ip);
