import * as v from 'valibot';
import { rotationSteps } from './rotation-rules.ts';

/** The wire shapes of the admin API about the root, and their parsers, for both sides. */
export const rotationPaths = { status: '/roots', step: '/roots/step' } as const;

/** Bytes of the largest reply of the admin API. */
export const maxAdminReplyBytes = 1024 * 1024;

const obstacle = v.object({ who: v.nullable(v.string()), why: v.string() });
const step = v.picklist(rotationSteps);

/** So many obstacles are listed; `more` counts the rest. */
export const maxListedObstacles = 200;

export const rotationStatus = v.object({
  trustDomain: v.string(),
  /** `given`: in files that somebody else keeps. */
  kept: v.picklist(['memory', 'files', 'given']),
  roots: v.array(
    v.object({
      role: v.picklist(['issuing', 'next', 'previous']),
      /** SHA-256, lower-case hexadecimal. */
      fingerprint: v.string(),
      notBefore: v.string(),
      notAfter: v.string(),
      /** With a certificate under it that has not ended. */
      sidecars: v.number(),
      /** The most that one sidecar reports. */
      peers: v.number(),
    }),
  ),
  /** The step that comes next, and whom it would break. */
  next: v.object({ step, obstacles: v.array(obstacle), more: v.number() }),
});
export type RotationStatus = v.InferOutput<typeof rotationStatus>;

export const stepRequest = v.object({ step, force: v.optional(v.boolean(), false) });

export const stepReply = v.object({
  /** `by-hand`: nothing stands in the way, or it was forced, and `todo` says what to do. */
  kind: v.picklist(['done', 'by-hand', 'refused', 'impossible']),
  /** Why a step is impossible. */
  why: v.optional(v.string()),
  /** Whom it would break, or breaks. */
  obstacles: v.array(obstacle),
  more: v.number(),
  todo: v.array(v.string()),
  status: rotationStatus,
});
export type StepReply = v.InferOutput<typeof stepReply>;
