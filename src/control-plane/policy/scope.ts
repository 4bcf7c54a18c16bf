import * as v from 'valibot';
import { metadata } from '../store/metadata.ts';
import { selector } from './schema.ts';

/** Which workloads an object of Istio's policy is about. */
export interface Scope {
  readonly name: string;
  readonly namespace: string;
  /** RFC 3339; absent for an object that no API server has seen. */
  readonly creationTimestamp: string | undefined;
  /** Labels that a workload must have; undefined or empty selects all of the namespace. */
  readonly selector: Readonly<Record<string, string>> | undefined;
}

/** An object of Istio's policy that has a name; the rest is still to be looked at. */
export const policyObject = v.looseObject({
  apiVersion: v.string(),
  kind: v.string(),
  metadata: v.looseObject({
    name: metadata.entries.name,
    namespace: metadata.entries.namespace,
    creationTimestamp: v.fallback(metadata.entries.creationTimestamp, undefined),
    annotations: v.fallback(v.nullish(v.record(v.string(), v.unknown())), undefined),
  }),
  spec: v.unknown(),
});
export type PolicyObject = v.InferOutput<typeof policyObject>;

/** A selector that cannot be read selects the whole namespace, so that what it would have selected is not left out. */
export function scopeOf({ metadata: { name, namespace, creationTimestamp }, spec }: PolicyObject): Scope {
  const parsed = v.safeParse(v.object({ selector: v.nullish(selector) }), spec);
  const labels = parsed.success ? parsed.output.selector?.matchLabels : undefined;
  return { name, namespace, creationTimestamp, selector: labels ?? undefined };
}
