import * as v from 'valibot';
import { shownCaller } from '../../admin-api.ts';
import { callerKind } from '../../control-api.ts';
import { modes } from '../../policy/mode.ts';

/** The wire shapes of the admin API about what a change of policy would break, and their parsers, for both sides. */
export const previewPaths = { strict: '/strict-preview', policy: '/policy-preview' } as const;

/** Bytes of the largest answer: what ten thousand sidecars of a usual size report of their callers. */
export const maxPreviewReplyBytes = 64 * 1024 * 1024;

/** Ten thousand sidecars with a hundred callers each take a minute; milliseconds. */
export const previewTimeoutMs = 300_000;

/** So many callers of one port of a workload are named, those who would lose first; the others are counted. */
export const maxPreviewedCallers = 200;

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

/** As a sidecar shows it, when it was reported. */
const previewedCaller = v.omit(shownCaller, ['pod']);
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
      /** The PeerAuthentication that makes it STRICT because it cannot be followed as it is written. */
      invalidMode: v.optional(v.object({ name: v.string(), problem: v.string() })),
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

/** Bytes of the largest text of policy that may be previewed: as much as one file of a registry. */
export const maxPreviewedBytes = 1024 * 1024;

export const policyPreviewRequest = v.object({ text: v.pipe(v.string(), v.maxLength(maxPreviewedBytes)) });

/** A caller of one port for whom a change of policy makes a difference. */
const changedCaller = v.object({
  namespace: v.string(),
  workload: v.string(),
  port: v.number(),
  address: v.string(),
  principal: v.optional(v.string()),
  callerWorkload: v.optional(v.string()),
  callerNamespace: v.optional(v.string()),
  kind: callerKind,
  /** That were carried, and that were refused. */
  connections: count,
  refusals: count,
  lastAt: instant,
  /** The policy that refuses, or permits, after the change; null when none does by itself. */
  policy: v.nullable(v.string()),
  /** Why it is refused: after the change, or now when it will be permitted. */
  why: v.string(),
});
export type ChangedCaller = v.InferOutput<typeof changedCaller>;

export const policyPreview = v.object({
  now: instant,
  /** `Kind namespace/name` of what the text holds. */
  added: v.array(v.string()),
  replaced: v.array(v.string()),
  /** PeerAuthentications of the text that would count for no workload, by `namespace/name`, and why: others come before them. */
  notInForce: v.array(v.object({ name: v.string(), why: v.string() })),
  /** Pods with another policy after the change, and their callers that were looked at. */
  pods: count,
  callers: count,
  /** Permitted now, and not after the change; the latest first. */
  refused: v.array(changedCaller),
  /** Refused now, and not after the change. */
  permitted: v.array(changedCaller),
  /** Workloads with another policy after the change that have more callers than were told of. */
  further: v.array(v.object({ namespace: v.string(), workload: v.string(), callers: count, lastAt: instant })),
  /** Pods with another policy after the change. */
  notKnown,
});
export type PolicyPreview = v.InferOutput<typeof policyPreview>;
