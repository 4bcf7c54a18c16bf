import * as v from 'valibot';
import { workloadOf } from '../pod-workload.ts';
import type { Injection, PodContext, SkipReason } from './inject.ts';
import { injectPod } from './inject.ts';
import type { InjectionSettings } from './settings.ts';
import { fittingWarnings, oneMessage } from './warnings.ts';

/** Every result of a request, for metrics and logs; `failed` is a request that the API server cannot have sent. */
export const admissionResults = ['injected', 'skipped', 'refused', 'failed'] as const;
export type AdmissionResult = (typeof admissionResults)[number];

/** The reply to an API server (admission.k8s.io/v1). */
export interface AdmissionReply {
  readonly apiVersion: 'admission.k8s.io/v1';
  readonly kind: 'AdmissionReview';
  readonly response: {
    /** That of the request; empty when it had none. */
    readonly uid: string;
    readonly allowed: boolean;
    readonly status?: { readonly code: number; readonly reason: string; readonly message: string };
    readonly patchType?: 'JSONPatch';
    /** A JSON patch (RFC 6902) in base64. */
    readonly patch?: string;
    readonly warnings?: readonly string[];
  };
}

/** What was decided, in words that may be logged: names, and nothing else of the pod. */
export interface AdmissionDecision {
  readonly result: AdmissionResult;
  readonly reason?: SkipReason | 'not_a_new_pod' | 'bad_review' | 'problems';
  readonly namespace?: string;
  readonly workload?: string;
  readonly isDryRun?: boolean;
}

export interface Admission {
  readonly reply: AdmissionReply;
  readonly decision: AdmissionDecision;
}

const text = (maxLength: number) => v.pipe(v.string(), v.maxLength(maxLength));
/** A field that Go leaves out when it is empty. */
const optional = <Schema extends v.GenericSchema>(schema: Schema) => v.nullish(schema);

/** The API server's are UUIDs. */
const uid = v.pipe(text(128), v.minLength(1));

const review = v.object({
  apiVersion: v.literal('admission.k8s.io/v1'),
  kind: v.literal('AdmissionReview'),
  request: v.object({
    uid,
    operation: text(32),
    resource: v.object({ group: optional(text(253)), version: text(63), resource: text(63) }),
    subResource: optional(text(63)),
    namespace: optional(v.pipe(v.string(), v.regex(/^(?:[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)?$/))),
    dryRun: optional(v.boolean()),
    object: v.unknown(),
  }),
});
type Request = v.InferOutput<typeof review>['request'];

const withUid = v.object({ request: v.object({ uid }) });

/** Skipped pods whose owner believes that they are in the mesh. */
const worthAWarning: Readonly<Record<SkipReason, boolean>> = {
  host_network: true,
  not_linux: true,
  opted_out: false,
  already_injected: false,
  system_namespace: false,
};

/**
 * Answers an AdmissionReview, which is the parsed body of a request and may be anything. Pure, so that a dry run is the
 * same as a real one and a stranger learns nothing. A pod that the sidecar cannot live with is refused with every problem;
 * what is not the creation of a pod is allowed as it is.
 */
export function answerAdmission(
  value: unknown,
  settings: InjectionSettings,
  inject: typeof injectPod = injectPod,
): Admission {
  const parsed = v.safeParse(review, value, { abortEarly: true });
  if (!parsed.success) return badReview(value, parsed.issues[0]);
  const { request } = parsed.output;
  const { namespace } = request;
  if (!isNewPod(request)) return untouched(request, { result: 'skipped', reason: 'not_a_new_pod' });
  if (typeof namespace !== 'string' || namespace === '') {
    return failed(request.uid, 'Expected the namespace of the pod at request.namespace');
  }
  const { name, isJob } = workloadOf(request.object);
  const context: PodContext = { namespace, workloadName: name, isJob };
  return answerOf(request, context, inject(request.object, context, settings));
}

function isNewPod({ operation, resource, subResource }: Request): boolean {
  const isPod = (resource.group ?? '') === '' && resource.version === 'v1' && resource.resource === 'pods';
  return isPod && (subResource ?? '') === '' && operation === 'CREATE';
}

function answerOf(request: Request, { namespace, workloadName }: PodContext, injection: Injection): Admission {
  const names = {
    namespace,
    workload: workloadName,
    ...(request.dryRun === true && { isDryRun: true }),
  };
  switch (injection.kind) {
    case 'injected':
      return {
        reply: replyOf(request.uid, true, {
          patchType: 'JSONPatch',
          patch: Buffer.from(JSON.stringify(injection.patch)).toString('base64'),
          ...warningsOf(injection.warnings),
        }),
        decision: { result: 'injected', ...names },
      };
    case 'skipped': {
      const { reason, why } = injection;
      const warnings = worthAWarning[reason] ? [`This pod gets no sidecar and is not in the mesh: ${why}`] : [];
      return untouched(request, { result: 'skipped', reason, ...names }, warnings);
    }
    case 'refused':
      return {
        reply: refusal(request.uid, 403, 'Forbidden', oneMessage(injection.problems)),
        decision: { result: 'refused', reason: 'problems', ...names },
      };
    default:
      return injection satisfies never;
  }
}

function untouched({ uid }: Request, decision: AdmissionDecision, warnings: readonly string[] = []): Admission {
  return { reply: replyOf(uid, true, warningsOf(warnings)), decision };
}

/** The path and what was expected there; never what was sent. */
function badReview(value: unknown, issue: v.BaseIssue<unknown>): Admission {
  const parsed = v.safeParse(withUid, value);
  const why = `Expected ${issue.expected ?? issue.type} at '${v.getDotPath(issue) ?? ''}' of an AdmissionReview`;
  return failed(parsed.success ? parsed.output.request.uid : '', why);
}

function failed(uid: string, why: string): Admission {
  return { reply: refusal(uid, 400, 'BadRequest', why), decision: { result: 'failed', reason: 'bad_review' } };
}

/** Code, reason and message are what the person who made the pod is shown, or whoever looks at its controller. */
function refusal(uid: string, code: number, reason: string, message: string): AdmissionReply {
  return replyOf(uid, false, { status: { code, reason, message } });
}

function replyOf(uid: string, allowed: boolean, more: Partial<AdmissionReply['response']>): AdmissionReply {
  return { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: { uid, allowed, ...more } };
}

function warningsOf(all: readonly string[]): { readonly warnings?: readonly string[] } {
  const warnings = fittingWarnings(all);
  return warnings.length === 0 ? {} : { warnings };
}
