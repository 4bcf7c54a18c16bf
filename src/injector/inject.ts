import type { Operation } from './patch.ts';
import type { InjectionSettings } from './settings.ts';

/** What the injector must know of a pod besides the pod itself. */
export interface PodContext {
  readonly namespace: string;
  /** The workload's name in metrics and logs: that of the Deployment, Job or whatever made the pod. */
  readonly workloadName: string;
  /** Whether the pod is meant to end: it was made by a Job. */
  readonly isJob: boolean;
}

/** Why a pod is left as it is, which is no mistake. */
export type SkipReason = 'opted_out' | 'already_injected' | 'host_network' | 'system_namespace' | 'not_linux';

export type Injection =
  /** `patch` works on the pod, or on the template of a workload, which has the same shape. */
  | { readonly kind: 'injected'; readonly patch: readonly Operation[]; readonly warnings: readonly string[] }
  /** `why` is one sentence. */
  | { readonly kind: 'skipped'; readonly reason: SkipReason; readonly why: string }
  /** Every problem, one sentence each: what, its value, what was expected. */
  | { readonly kind: 'refused'; readonly problems: readonly string[] };

/**
 * Decides whether a pod gets the sidecar, and how. Pure: the same pod, context and settings give the same answer.
 * `pod` is anything that was read from outside; what does not have the shape of a pod is refused.
 */
export function injectPod(_pod: unknown, _context: PodContext, _settings: InjectionSettings): Injection {
  throw new TypeError('Not written yet');
}
