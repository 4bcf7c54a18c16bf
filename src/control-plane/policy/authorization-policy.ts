import * as v from 'valibot';
import type { AuthorizationPolicy } from '../../control-api.ts';
import type { AuthorizationSpec } from './authorization-schema.ts';
import { authorizationPolicySchema, authorizationSpec } from './authorization-schema.ts';
import type { Finding, Read } from './finding.ts';
import { problem, problemOf, warning } from './finding.ts';
import { wireRule } from './rules.ts';
import type { PolicyObject, Scope } from './scope.ts';
import { problemsOfObject, scopeOf } from './scope.ts';

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
  const findings = problemsOfObject(authorizationPolicySchema, object);
  const parsed = v.safeParse(v.nullish(authorizationSpec, {}), object.spec);
  const spec = parsed.success ? (parsed.output ?? {}) : undefined;
  const problems = [...findings, ...(spec === undefined ? [] : problemsOfSpec(spec))];
  const { rules, warnings } =
    spec === undefined || problems.length > 0 ? { rules: [], warnings: [] } : rulesOf(spec, metadata.namespace);
  const all = [...problems, ...warnings, ...dryRunWarnings(metadata.annotations)];
  const text = problemOf(all) ?? (spec === undefined ? 'spec cannot be read' : undefined);
  const policy: AuthorizationPolicy = {
    name: `${metadata.namespace}/${metadata.name}`,
    action: actionOf(object.spec),
    ...(yes.has(metadata.annotations?.[dryRun]) && { isDryRun: true }),
    ...(text !== undefined && { problem: text }),
    rules,
  };
  const isSkipped = problems.length === 0 && spec !== undefined && hasTarget(spec);
  return { object: { ...scopeOf(object), policy, isSkipped }, findings: all };
}

/** What cannot be read denies, if it decides at all. */
function actionOf(spec: unknown): AuthorizationPolicy['action'] {
  const action = typeof spec === 'object' && spec !== null && 'action' in spec ? spec.action : undefined;
  if (action === undefined || action === null) return 'ALLOW';
  return action === 'ALLOW' || action === 'AUDIT' ? action : 'DENY';
}

const hasTarget = ({ targetRef, targetRefs }: AuthorizationSpec) =>
  (targetRef ?? undefined) !== undefined || (targetRefs ?? []).length > 0;

function problemsOfSpec(spec: AuthorizationSpec): readonly Finding[] {
  const { selector, action, provider, rules } = spec;
  const found: Finding[] = [];
  if (provider) found.push(problem(['spec', 'provider'], 'is given, expected it with the action CUSTOM alone'));
  if (action === 'DENY' && !rules?.length)
    found.push(problem(['spec'], 'denies and has no rules, expected at least one; the rule {} matches everything'));
  if (hasTarget(spec) && selector)
    found.push(problem(['spec', 'selector'], 'is given together with a targetRef, expected one of the two'));
  return found;
}

function rulesOf(spec: AuthorizationSpec, namespace: string) {
  const action = spec.action ?? 'ALLOW';
  const read = (spec.rules ?? []).map((rule, index) =>
    wireRule(rule, { action, namespace, path: ['spec', 'rules', index] }),
  );
  const rules = read.flatMap(({ rule }) => (rule === undefined ? [] : [rule]));
  const warnings = read.flatMap((one) => one.warnings);
  if (!hasTarget(spec)) return { rules, warnings };
  const at = spec.targetRef ? 'targetRef' : 'targetRefs';
  const skipped = warning(
    ['spec', at],
    'selects a gateway or a waypoint and no workload, so that the policy is skipped',
  );
  return { rules, warnings: [skipped, ...warnings] };
}

function dryRunWarnings(annotations: PolicyObject['metadata']['annotations']): readonly Finding[] {
  const value = annotations?.[dryRun];
  if (value === undefined || value === null || yes.has(value) || no.has(value)) return [];
  return [warning(['metadata', 'annotations', dryRun], 'is neither true nor false, so that the policy is enforced')];
}
