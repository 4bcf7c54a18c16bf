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
});
export type MeshSidecar = v.InferOutput<typeof meshSidecar>;

export const meshStatus = v.object({
  trustDomain: v.string(),
  now: v.string(),
  /** With a certificate that has not ended, or a stream; by pod. */
  sidecars: v.array(meshSidecar),
  /** Roots with sidecars whose names had no place. */
  unnamedRoots: count,
});
export type MeshStatus = v.InferOutput<typeof meshStatus>;

export type MeshEdge = v.InferOutput<typeof reportedEdge>;
