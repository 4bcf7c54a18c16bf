import type { AuthorizationPolicy } from '../control-api.ts';
import type { InboundRequest } from './authorize.ts';
import type { Facts } from './facts.ts';
import { factsOf } from './facts.ts';
import type { PolicyIndex, PolicySet } from './policy-index.ts';
import { makePolicyIndex } from './policy-index.ts';
import { finish } from './steps.ts';

/** What AuthorizationPolicies say of a request. */
export type Verdict =
  /** `by` is the first ALLOW policy that matches, in the order given; undefined when none selects this workload. */
  | { readonly kind: 'allowed'; readonly by: string | undefined }
  | {
      readonly kind: 'denied';
      readonly reason: 'policy_deny' | 'policy_error' | 'default_deny';
      /** The first policy that denies, in the order given; undefined for `default_deny`: some are allowed, and this one is not. */
      readonly by: string | undefined;
    };

export interface Judgement {
  readonly verdict: Verdict;
  /** AUDIT policies that match, in the order given: the first `maxAudited`. */
  readonly audited: readonly string[];
  /** What the verdict would be with the policies that are on trial; undefined when there are none. */
  readonly dryRun: Verdict | undefined;
}

/** Beyond these, more names of AUDIT policies tell nobody anything. */
export const maxAudited = 20;

const prepared = new WeakMap<readonly AuthorizationPolicy[], PolicyIndex>();

/** Prepares policies for `judge`, which does it at once when nobody did. Yields after each piece of some microseconds. */
export function* prepareJudging(policies: readonly AuthorizationPolicy[]): Generator<void, PolicyIndex> {
  const known = prepared.get(policies);
  if (known !== undefined) return known;
  const index = yield* makePolicyIndex(policies);
  prepared.set(policies, index);
  return index;
}

/** Bytes that the index of policies takes beside the policies; 0 when they have not been prepared. */
export function preparedBytes(policies: readonly AuthorizationPolicy[]): number {
  const { enforced, trial } = prepared.get(policies) ?? {};
  const groups = [enforced, trial].flatMap((set) => (set === undefined ? [] : [set.deny, set.allow, set.audit]));
  return groups.reduce((sum, group) => sum + group.bytes(), 0);
}

/**
 * Judges a request as Istio does for TCP: DENY, then ALLOW, and denied by default once an ALLOW policy selects the workload.
 * What the peer has not proved satisfies no rule of ALLOW, not even a negated one, and escapes no rule of DENY by being absent.
 */
export function judge(policies: readonly AuthorizationPolicy[], request: InboundRequest): Judgement {
  const { policies: ordered, enforced, trial } = prepared.get(policies) ?? finish(prepareJudging(policies));
  const facts = factsOf(request);
  const nameOf = (at: number) => ordered[at]?.name ?? '';
  return {
    verdict: verdictOf([enforced], facts, nameOf),
    audited: auditedOf(enforced, facts).map(nameOf),
    dryRun: trial === undefined ? undefined : verdictOf([enforced, trial], facts, nameOf),
  };
}

function verdictOf(sets: readonly PolicySet[], facts: Facts, nameOf: (at: number) => string): Verdict {
  const broken = earliest(sets.map((set) => set.broken));
  if (broken !== undefined) return { kind: 'denied', reason: 'policy_error', by: nameOf(broken) };
  const denying = earliest(sets.map(({ deny }) => deny.first(facts)));
  if (denying !== undefined) return { kind: 'denied', reason: 'policy_deny', by: nameOf(denying) };
  if (sets.every(({ allow }) => allow.isEmpty)) return { kind: 'allowed', by: undefined };
  const allowing = earliest(sets.map(({ allow }) => allow.first(facts)));
  return allowing === undefined
    ? { kind: 'denied', reason: 'default_deny', by: undefined }
    : { kind: 'allowed', by: nameOf(allowing) };
}

function earliest(places: readonly (number | undefined)[]): number | undefined {
  return places.reduce(
    (one, other) => (one === undefined || (other !== undefined && other < one) ? other : one),
    undefined,
  );
}

function auditedOf({ audit }: PolicySet, facts: Facts): readonly number[] {
  const found: number[] = [];
  for (let at = audit.first(facts); at !== undefined && found.length < maxAudited; at = audit.first(facts, at + 1))
    found.push(at);
  return found;
}
