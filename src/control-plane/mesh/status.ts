import * as v from 'valibot';
import type { reportedEdge } from '../../control-api.ts';
import { sidecarState } from '../../control-api.ts';

/** The wire shapes of the admin API about sidecars, and their parsers, for both sides. */
export const meshPaths = { sidecars: '/mesh' } as const;

/** Bytes of the largest reply: ten thousand sidecars, each with a report of a usual size. */
export const maxMeshReplyBytes = 64 * 1024 * 1024;

const count = v.pipe(v.number(), v.integer(), v.minValue(0));

export const meshSidecar = v.object({
  /** `namespace/name`. */
  pod: v.string(),
  spiffeId: v.string(),
  /** What it said last, and when; null when it has said nothing. */
  reportedAt: v.nullable(v.string()),
  version: v.nullable(v.string()),
  state: v.nullable(sidecarState),
  /** To this control plane, now. */
  streams: count,
  /** Its last report is too old to go by, or it has no stream while others have: what it said may be so no more. */
  isStale: v.boolean(),
  /** Since when its identity is revoked, as the operator's list says; null when it is not. */
  revokedAt: v.nullable(v.string()),
  /** The SPIFFE ID that its callers expect by the registry, where that is another one; otherwise null. */
  registrySpiffeId: v.nullable(v.string()),
});
export type MeshSidecar = v.InferOutput<typeof meshSidecar>;

export const meshStatus = v.object({
  trustDomain: v.string(),
  now: v.string(),
  /** With a certificate that has not ended, or a stream; by pod. */
  sidecars: v.array(meshSidecar),
  /** Pods of the registry that run and of which no sidecar is listed, by name; the first ones alone. */
  otherPods: v.array(v.object({ pod: v.string(), hasSidecar: v.boolean() })),
  /** Roots with sidecars whose names had no place. */
  unnamedRoots: count,
});
export type OtherPod = MeshStatus['otherPods'][number];
export type MeshStatus = v.InferOutput<typeof meshStatus>;

export type MeshEdge = v.InferOutput<typeof reportedEdge>;
