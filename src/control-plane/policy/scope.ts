import * as v from 'valibot';
import { metadata } from '../store/metadata.ts';
import type { Finding } from './finding.ts';
import { problem, shown } from './finding.ts';
import { closed, problemsOf, selector } from './schema.ts';

/** Which workloads an object of Istio's policy is about. */
export interface Scope {
  readonly name: string;
  readonly namespace: string;
  /** RFC 3339; absent for an object that no API server has seen. */
  readonly creationTimestamp: string | undefined;
  /** Labels that a workload must have; undefined or empty selects all of the namespace. */
  readonly selector: Readonly<Record<string, string>> | undefined;
}

/** What else Kubernetes has in the metadata of an object. */
const otherMetadata = [
  ...['uid', 'labels', 'deletionTimestamp', 'deletionGracePeriodSeconds', 'finalizers', 'generateName', 'generation'],
  ...['managedFields', 'ownerReferences', 'resourceVersion', 'selfLink'],
];

/** An object of Istio's policy that has a name; the rest is still to be looked at. */
export const policyObject = v.looseObject({
  apiVersion: v.string(),
  kind: v.string(),
  // A slip in the name of a field could move the object into another namespace.
  metadata: closed({
    name: metadata.entries.name,
    namespace: metadata.entries.namespace,
    creationTimestamp: v.optional(v.fallback(metadata.entries.creationTimestamp, 'unreadable')),
    annotations: v.fallback(v.nullish(v.record(v.string(), v.unknown())), undefined),
    ...Object.fromEntries(otherMetadata.map((field) => [field, v.optional(v.unknown())])),
  }),
  spec: v.optional(v.unknown()),
});
export type PolicyObject = v.InferOutput<typeof policyObject>;

/** Versions of `security.istio.io` that are read; they have the same shape. */
export const securityVersions = ['security.istio.io/v1', 'security.istio.io/v1beta1'] as const;

export const isOfKnownVersion = ({ apiVersion }: PolicyObject) =>
  (securityVersions as readonly string[]).includes(apiVersion);

/** Every way in which an object is not as its schema wants it, or the one that it is of a version that nobody knows here. */
export function problemsOfObject(schema: v.GenericSchema, object: PolicyObject): readonly Finding[] {
  if (isOfKnownVersion(object)) return problemsOf(schema, object);
  return [problem(['apiVersion'], `is ${shown(object.apiVersion)}, expected one of ${securityVersions.join(', ')}`)];
}

/** A selector that cannot be read selects the whole namespace, so that what it would have selected is not left out. */
export function scopeOf(object: PolicyObject): Scope {
  const { name, namespace, creationTimestamp } = object.metadata;
  const parsed = v.safeParse(v.object({ selector: v.nullish(selector) }), object.spec);
  const labels = parsed.success && isOfKnownVersion(object) ? parsed.output.selector?.matchLabels : undefined;
  return { name, namespace, creationTimestamp, selector: labels ?? undefined };
}
