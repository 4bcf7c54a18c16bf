import { canonicalIp } from '../addresses.ts';
import { parseDuration } from '../durations.ts';
import { version } from '../version.ts';
import { addedVolumes, initContainer, sidecarContainer } from './containers.ts';
import { chosen, conflicts, skipOf, skipped, weaknesses } from './eligibility.ts';
import { added } from './names.ts';
import type { PodOptions } from './options.ts';
import { readOptions } from './options.ts';
import type { Operation } from './patch.ts';
import { pointer } from './patch.ts';
import type { Pod } from './pod.ts';
import { annotationsOf, parsePod } from './pod.ts';
import type { RewrittenProbes } from './probes.ts';
import { rewriteProbes } from './probes.ts';
import { memoryBytes } from './quantity.ts';
import { scrapeOf } from './scrape.ts';
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
export function injectPod(value: unknown, context: PodContext, settings: InjectionSettings): Injection {
  if (settings.systemNamespaces.includes(context.namespace)) {
    return skipped('system_namespace', `The namespace ${context.namespace} is never touched`);
  }
  const parsed = parsePod(value);
  if (parsed.kind === 'problems') return { kind: 'refused', problems: parsed.problems };
  const { pod } = parsed;
  const choice = chosen(pod);
  if ('problem' in choice) return { kind: 'refused', problems: [choice.problem] };
  if (!choice.isWanted) return skipped('opted_out', 'Its label or annotation asks for no sidecar');
  return skipOf(pod) ?? withSidecar(pod, context, settings);
}

function withSidecar(pod: Pod, context: PodContext, settings: InjectionSettings): Injection {
  const options = readOptions(pod, context.namespace, settings);
  const rewritten = rewriteProbes(pod, options.areProbesRewritten);
  const problems = [
    ...conflicts(pod),
    ...options.problems,
    ...rewritten.problems,
    ...modeProblems(pod, options, rewritten, context.isJob),
  ];
  if (problems.length > 0) return { kind: 'refused', problems };
  const scrape = scrapeOf(pod, options.areMetricsMerged);
  const { probes } = rewritten;
  const sidecar = sidecarContainer({ pod, context, options, probes, appMetrics: scrape.appMetrics }, settings);
  return {
    kind: 'injected',
    // The probes first: containers that are put in front of theirs would change their places.
    patch: [
      ...rewritten.patch,
      ...annotationPatch(pod, { [added.injected]: version, ...defaultContainer(pod), ...scrape.annotations }),
      ...containerPatch(pod, initContainer(options, settings), sidecar, options),
      ...listPatch('volumes', pod.spec.volumes, addedVolumes(settings), 'last'),
    ],
    warnings: [
      ...options.warnings,
      ...rewritten.warnings,
      ...scrape.warnings,
      ...modeWarnings(pod, options),
      ...lifeWarnings(pod, options, settings),
      ...weaknesses(pod),
    ],
  };
}

/** The start hook is a second process in the sidecar's memory, and takes almost 80 MiB of it for a moment. */
const leastClassicMemory = '128Mi';

function modeProblems(pod: Pod, options: PodOptions, { patch }: RewrittenProbes, isJob: boolean): string[] {
  const { sidecarMode, resources } = options;
  if (sidecarMode === 'native') return [];
  const problems: string[] = [];
  if ((memoryBytes(resources.memoryLimit) ?? 0) < (memoryBytes(leastClassicMemory) ?? 0)) {
    problems.push(
      `The memory limit of the sidecar is ${resources.memoryLimit}, expected at least ${leastClassicMemory} for a classic one`,
    );
  }
  if (isJob || ['Never', 'OnFailure'].includes(pod.spec.restartPolicy ?? '')) {
    problems.push(
      'A pod that is meant to end never does beside a classic sidecar, expected sidecarMode native or the label remora.dev/inject: false',
    );
  }
  if (patch.some(({ path }) => path.startsWith('/spec/initContainers/'))) {
    problems.push(
      'An init container has a probe or hook that would ask a classic sidecar before it runs, expected sidecarMode native',
    );
  }
  return problems;
}

function modeWarnings({ spec }: Pod, { sidecarMode }: PodOptions): string[] {
  if (sidecarMode === 'native' || (spec.initContainers ?? []).length === 0) return [];
  return ['Its init containers run before a classic sidecar: what they connect to is not in the mesh'];
}

/** What keeps the sidecar from starting or from stopping well. */
function lifeWarnings({ spec }: Pod, { agent }: PodOptions, { controlPlane, agent: all }: InjectionSettings): string[] {
  const found: string[] = [];
  const { hostname } = new URL(controlPlane);
  const isName = canonicalIp(hostname.replace(/^\[|\]$/g, '')) === undefined;
  if (isName && ['Default', 'None'].includes(spec.dnsPolicy ?? ''))
    found.push(`Its dnsPolicy is ${spec.dnsPolicy}: the sidecar must find ${hostname}, which the cluster's DNS knows`);
  const delayMs = parseDuration(agent.drainDelay ?? all.drainDelay ?? '') ?? 0;
  const graceSeconds = spec.terminationGracePeriodSeconds ?? 30;
  if (delayMs >= graceSeconds * 1000 && delayMs > 0)
    found.push(
      `The drain delay of the sidecar is not below the pod's grace of ${graceSeconds} s: it is killed before it ends`,
    );
  return found;
}

/** What kubectl takes when nobody names a container, unless the pod says so itself. */
function defaultContainer(pod: Pod): Record<string, string> {
  const name = 'kubectl.kubernetes.io/default-container';
  return Object.hasOwn(annotationsOf(pod), name) ? {} : { [name]: pod.spec.containers[0]?.name ?? '' };
}

/** Of an annotation that is there, the value is replaced. */
function annotationPatch(pod: Pod, all: Readonly<Record<string, string>>): Operation[] {
  if (pod.metadata === null || pod.metadata === undefined) {
    return [{ op: 'add', path: '/metadata', value: { annotations: all } }];
  }
  if (pod.metadata.annotations === null || pod.metadata.annotations === undefined) {
    return [{ op: 'add', path: '/metadata/annotations', value: all }];
  }
  return Object.entries(all).map(([name, value]) => ({
    op: 'add',
    path: pointer('metadata', 'annotations', name),
    value,
  }));
}

function containerPatch({ spec }: Pod, init: object, sidecar: object, { sidecarMode }: PodOptions): Operation[] {
  // In front of the pod's own init containers, so that they are covered too.
  if (sidecarMode === 'native') return listPatch('initContainers', spec.initContainers, [init, sidecar], 'first');
  return [
    // Behind them: rules without a sidecar would stop all that they connect to.
    ...listPatch('initContainers', spec.initContainers, [init], 'last'),
    ...listPatch('containers', spec.containers, [sidecar], 'first'),
  ];
}

function listPatch(
  name: 'initContainers' | 'containers' | 'volumes',
  existing: readonly unknown[] | null | undefined,
  items: readonly object[],
  place: 'first' | 'last',
): Operation[] {
  if (existing === null || existing === undefined) return [{ op: 'add', path: pointer('spec', name), value: items }];
  return items.map((value, index) => ({
    op: 'add',
    path: pointer('spec', name, place === 'first' ? index : '-'),
    value,
  }));
}
