import * as v from 'valibot';
import type { AuthorizationPolicy, PolicyRule } from '../../control-api.ts';
import type { AuthorizationSpec } from './authorization-schema.ts';
import { authorizationPolicySchema, authorizationSpec, targetedSpec } from './authorization-schema.ts';
import type { Finding, Read } from './finding.ts';
import { problem, problemOf, warning } from './finding.ts';
import { wireRule } from './rules.ts';
import type { PolicyObject, Scope } from './scope.ts';
import { isOfKnownVersion, problemsOfObject, scopeOf } from './scope.ts';

/** Istio's AuthorizationPolicy as sidecars get it, and whom it is about. */
export interface ScopedPolicy extends Scope {
  readonly policy: AuthorizationPolicy;
  /** It selects a gateway or a waypoint by `targetRef`, and no workload. */
  readonly isSkipped: boolean;
}

const dryRun = 'istio.io/dry-run';
/** As Istio reads it. */
const yes: ReadonlySet<unknown> = new Set(['1', 't', 'T', 'true', 'TRUE', 'True']);
const no: ReadonlySet<unknown> = new Set(['0', 'f', 'F', 'false', 'FALSE', 'False']);

/**
 * Reads an AuthorizationPolicy as Istio does for TCP. What cannot be enforced as it is written gets a `problem` and no rules,
 * and denies everything of its scope. Never throws.
 */
export function readAuthorizationPolicy(object: PolicyObject): Read<ScopedPolicy> {
  const { metadata } = object;
  const target = isOfKnownVersion(object) ? targetOf(object.spec) : undefined;
  const { rules, findings } = target === undefined ? enforceable(object) : skippedFor(target);
  const all = [...findings, ...dryRunWarnings(metadata.annotations)];
  const text = problemOf(all);
  const policy: AuthorizationPolicy = {
    name: `${metadata.namespace}/${metadata.name}`,
    action: actionOf(object.spec),
    ...(yes.has(metadata.annotations?.[dryRun]) && { isDryRun: true }),
    ...(text !== undefined && { problem: text }),
    rules,
  };
  return { object: { ...scopeOf(object), policy, isSkipped: target !== undefined }, findings: all };
}

interface Enforceable {
  readonly rules: PolicyRule[];
  readonly findings: readonly Finding[];
}

function enforceable(object: PolicyObject): Enforceable {
  const findings = problemsOfObject(authorizationPolicySchema, object);
  if (!isOfKnownVersion(object)) return { rules: [], findings };
  const parsed = v.safeParse(v.nullish(authorizationSpec, {}), object.spec);
  if (!parsed.typed || (!parsed.success && findings.length === 0))
    return { rules: [], findings: findings.length > 0 ? findings : [problem(['spec'], 'cannot be read')] };
  // Of the right shape: it can be looked at to its end, whatever is wrong in it.
  const spec = parsed.output ?? {};
  const problems = [...findings, ...problemsOfSpec(spec)];
  const { rules, findings: warnings } = rulesOf(spec, object.metadata.namespace);
  return { rules: problems.length > 0 ? [] : rules, findings: [...problems, ...warnings] };
}

/** What it is for is no matter of sidecars, and neither is what else stands in it, such as CUSTOM for a gateway. */
function skippedFor(target: keyof AuthorizationSpec): Enforceable {
  const why = 'selects a gateway or a waypoint and no workload, so that the policy is skipped';
  return { rules: [], findings: [warning(['spec', target], why)] };
}

/** The field by which a policy selects something else than workloads; undefined when it may be about these all the same. */
function targetOf(spec: unknown): 'targetRef' | 'targetRefs' | undefined {
  const parsed = v.safeParse(targetedSpec, spec);
  if (!parsed.success) return undefined;
  if (parsed.output.targetRef) return 'targetRef';
  return parsed.output.targetRefs?.length ? 'targetRefs' : undefined;
}

/** What cannot be read denies, if it decides at all. */
function actionOf(spec: unknown): AuthorizationPolicy['action'] {
  const action = typeof spec === 'object' && spec !== null && 'action' in spec ? spec.action : undefined;
  if (action === undefined || action === null) return 'ALLOW';
  return action === 'ALLOW' || action === 'AUDIT' ? action : 'DENY';
}

function problemsOfSpec(spec: AuthorizationSpec): readonly Finding[] {
  const { selector, targetRef, targetRefs, action, provider, rules } = spec;
  const found: Finding[] = [];
  if (provider) found.push(problem(['spec', 'provider'], 'is given, expected it with the action CUSTOM alone'));
  if (action === 'DENY' && !rules?.length)
    found.push(problem(['spec'], 'denies and has no rules, expected at least one; the rule {} matches everything'));
  if (selector && (targetRef || targetRefs?.length))
    found.push(problem(['spec', 'selector'], 'is given together with a targetRef, expected one of the two'));
  return found;
}

function rulesOf(spec: AuthorizationSpec, namespace: string): Enforceable {
  const action = spec.action ?? 'ALLOW';
  const read = (spec.rules ?? []).map((rule, index) =>
    wireRule(rule, { action, namespace, path: ['spec', 'rules', index] }),
  );
  const rules = read.flatMap(({ rule }) => (rule === undefined ? [] : [rule]));
  return { rules, findings: read.flatMap(({ warnings }) => warnings) };
}

function dryRunWarnings(annotations: PolicyObject['metadata']['annotations']): readonly Finding[] {
  const value = annotations?.[dryRun];
  if (value === undefined || value === null || yes.has(value) || no.has(value)) return [];
  return [warning(['metadata', 'annotations', dryRun], 'is neither true nor false, so that the policy is enforced')];
}
