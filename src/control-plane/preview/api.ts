import * as v from 'valibot';
import { callerKind } from '../../control-api.ts';
import { modes } from '../../policy/mode.ts';

/** The wire shapes of the admin API about what a change of policy would break, and their parsers, for both sides. */
export const previewPaths = { strict: '/strict-preview', policy: '/policy-preview' } as const;

/** Bytes of the largest answer: what ten thousand sidecars of a usual size report of their callers. */
export const maxPreviewReplyBytes = 64 * 1024 * 1024;

/** So many pods of which too little is known are named; of the others it is said how many there are. */
export const maxPodsNotKnown = 1000;

const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const instant = v.string();

/** Sidecars of which it is not known who calls them, and why; the first ones by name. */
const notKnown = v.object({
  pods: v.pipe(v.array(v.object({ pod: v.string(), why: v.string() })), v.maxLength(maxPodsNotKnown)),
  more: count,
});
export type NotKnown = v.InferOutput<typeof notKnown>;

export const strictPreviewRequest = v.object({
  /** Undefined for the whole mesh. */
  namespace: v.optional(v.pipe(v.string(), v.maxLength(253))),
});

const previewedCaller = v.object({
  address: v.string(),
  workload: v.optional(v.string()),
  namespace: v.optional(v.string()),
  kind: callerKind,
  connections: count,
  /** Carried when it was reported. */
  open: count,
  firstAt: instant,
  lastAt: instant,
  breaks: v.boolean(),
  /** Why it would lose nothing. */
  why: v.optional(v.string()),
});
export type PreviewedCaller = v.InferOutput<typeof previewedCaller>;

/** At most so many more callers that were not remembered, or had no place in a report; null for none. */
const further = v.nullable(v.object({ callers: count, lastAt: instant }));

export const strictPreview = v.object({
  now: instant,
  /** With a sidecar that has reported, by name. */
  workloads: v.array(
    v.object({
      namespace: v.string(),
      workload: v.string(),
      pods: count,
      /** Since when all of its sidecars remember their callers. */
      since: instant,
      /** Of every port that is not listed: the weakest of its pods. */
      mode: v.picklist(modes),
      ports: v.array(
        v.object({ port: v.number(), mode: v.picklist(modes), callers: v.array(previewedCaller), further }),
      ),
      /** Of further ports. */
      further,
    }),
  ),
  notKnown,
});
export type StrictPreview = v.InferOutput<typeof strictPreview>;
export type PreviewedWorkload = StrictPreview['workloads'][number];
