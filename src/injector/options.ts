import type { CaptureSetting, ParsedSetting, PortRange } from '../annotations.ts';
import { captureFlags, captureProblem, captureSettings, parseCaptureSetting } from '../annotations.ts';
import { nearest } from '../config/nearest.ts';
import { flagOf } from '../config/setting.ts';
import { agentTable } from '../config/table.ts';
import { added } from './names.ts';
import type { Pod } from './pod.ts';
import { annotationsOf, textAt } from './pod.ts';
import { cpu, memory } from './quantity.ts';
import type { InjectionSettings } from './settings.ts';
import { limitProblems, podSettings } from './settings.ts';

/** What the annotations of a pod ask for, within what the operator lets them. */
export interface PodOptions {
  /** Of `remora init`. */
  readonly captureFlags: readonly string[];
  /** Settings of `remora agent` by name, as its flags write them. */
  readonly agent: Readonly<Record<string, string>>;
  readonly resources: Pick<InjectionSettings, 'cpuRequest' | 'cpuLimit' | 'memoryRequest' | 'memoryLimit'>;
  readonly sidecarMode: InjectionSettings['sidecarMode'];
  readonly areProbesRewritten: boolean;
  readonly areMetricsMerged: boolean;
  readonly warnings: readonly string[];
  readonly problems: readonly string[];
}

/** Annotations of one switch or value each. */
export const switches = {
  rewriteProbes: 'sidecar.istio.io/rewriteAppHTTPProbers',
  nativeSidecar: 'sidecar.istio.io/nativeSidecar',
  mergeMetrics: 'prometheus.istio.io/merge-metrics',
} as const;

export const resourceAnnotations = {
  cpuRequest: 'sidecar.istio.io/proxyCPU',
  cpuLimit: 'sidecar.istio.io/proxyCPULimit',
  memoryRequest: 'sidecar.istio.io/proxyMemory',
  memoryLimit: 'sidecar.istio.io/proxyMemoryLimit',
} as const;

/** Labels that switch injection for a pod; the first that is there decides. The second counts as an annotation as well. */
export const optIn = ['remora.dev/inject', 'sidecar.istio.io/inject'] as const;

const ownPrefix = 'remora.dev/';
const podAnnotations = new Map(podSettings.map((name) => [`${ownPrefix}${flagOf(name)}`, name]));
const understood: ReadonlySet<string> = new Set([
  added.injected,
  optIn[1],
  ...Object.values(switches),
  ...Object.values(resourceAnnotations),
  ...podAnnotations.keys(),
  ...Object.values(captureSettings).map(({ annotation }) => annotation),
]);

/** Reads every annotation that is for the sidecar; what is not on the list is refused or named, never followed. */
export function readOptions(pod: Pod, namespace: string, settings: InjectionSettings): PodOptions {
  const annotations = annotationsOf(pod);
  const problems: string[] = [];
  const warnings: string[] = [];
  const read = <T>(annotation: string, parse: (text: string) => T | undefined, expected: string): T | undefined => {
    const text = textAt(annotations, annotation);
    const value = text === undefined ? undefined : parse(text);
    if (text !== undefined && value === undefined)
      problems.push(captureProblem(`The annotation ${annotation}`, text, expected));
    return value;
  };
  const readSwitch = (annotation: string) => read(annotation, parseSwitch, 'true or false');
  const unknown = unknownAnnotations(annotations);
  problems.push(...unknownLabels(pod.metadata?.labels ?? {}));
  const capture = captureFlags(annotations);
  problems.push(...unknown.problems, ...(capture.kind === 'problems' ? capture.problems : []));
  if (capture.kind === 'flags') problems.push(...exclusionProblems(annotations, namespace, settings));
  warnings.push(...unknown.warnings);

  const agent: Record<string, string> = {};
  for (const [annotation, name] of podAnnotations) {
    const { kind } = agentTable[name];
    const text = read(annotation, (given) => (kind.read([given]).kind === 'value' ? given : undefined), kind.expected);
    if (text !== undefined) agent[name] = text;
  }
  const resources = {
    cpuRequest: read(resourceAnnotations.cpuRequest, cpu.parse, cpu.expected) ?? settings.cpuRequest,
    cpuLimit: read(resourceAnnotations.cpuLimit, cpu.parse, cpu.expected) ?? settings.cpuLimit,
    memoryRequest: read(resourceAnnotations.memoryRequest, memory.parse, memory.expected) ?? settings.memoryRequest,
    memoryLimit: read(resourceAnnotations.memoryLimit, memory.parse, memory.expected) ?? settings.memoryLimit,
  };
  problems.push(...limitProblems(resources));
  const isNative = readSwitch(switches.nativeSidecar) ?? settings.sidecarMode === 'native';
  return {
    captureFlags: capture.kind === 'flags' ? capture.flags : [],
    agent,
    resources,
    sidecarMode: isNative ? 'native' : 'classic',
    areProbesRewritten: readSwitch(switches.rewriteProbes) ?? true,
    areMetricsMerged: readSwitch(switches.mergeMetrics) ?? settings.mergeMetrics,
    warnings,
    problems,
  };
}

export function parseSwitch(text: string): boolean | undefined {
  if (text === 'true' || text === 'enabled') return true;
  return text === 'false' || text === 'disabled' ? false : undefined;
}

/** A typo in an annotation of ours, or one that changes what is captured and is not supported, would be a silent hole. */
function unknownAnnotations(annotations: Readonly<Record<string, string>>) {
  const unknown = Object.keys(annotations).filter((annotation) => !understood.has(annotation));
  const problems = unknown
    .filter((annotation) => annotation.startsWith(ownPrefix) || annotation.startsWith('traffic.sidecar.istio.io/'))
    .map((annotation) => {
      if (annotation === optIn[0]) return `${annotation} is an annotation here, expected it among the labels`;
      const meant = nearest(
        annotation,
        [...understood].filter((name) => name !== added.injected),
      );
      const hint = meant === undefined ? 'expected one that is documented' : `did you mean ${meant}?`;
      return `The annotation ${annotation} is not supported, ${hint}`;
    });
  const warnings = unknown
    .filter((annotation) => annotation.startsWith('sidecar.istio.io/'))
    .map((annotation) => `The annotation ${annotation} is not supported and has no effect`);
  return { problems, warnings };
}

function unknownLabels(labels: Readonly<Record<string, string>>): string[] {
  return Object.keys(labels)
    .filter((label) => label.startsWith(ownPrefix) && label !== optIn[0])
    .map((label) => {
      const hint = understood.has(label) ? 'expected it among the annotations' : `did you mean ${optIn[0]}?`;
      return `The label ${label} is not supported, ${hint}`;
    });
}

/** Whoever deploys a pod must not be able to take it out of the mesh alone: the operator names the namespaces that may. */
function exclusionProblems(
  annotations: Readonly<Record<string, string>>,
  namespace: string,
  { exclusionNamespaces }: InjectionSettings,
): string[] {
  const isAllowed = exclusionNamespaces.includes('*') || exclusionNamespaces.includes(namespace);
  return (Object.keys(captureSettings) as CaptureSetting[]).flatMap((name) => {
    const { annotation } = captureSettings[name];
    const text = textAt(annotations, annotation);
    if (text === undefined || !isExclusion(name, text)) return [];
    if (!isAllowed) {
      return [
        `The annotation ${annotation} takes connections out of the mesh, expected the namespace ${namespace} among the exclusionNamespaces of the injector`,
      ];
    }
    if (!takesTooMuch(name, text)) return [];
    const expected = 'less: no empty list, not every port, no range wider than /8 or, in IPv6, /16';
    return [
      `${captureProblem(`The annotation ${annotation}`, text, expected)}; to leave the mesh set the label remora.dev/inject to false`,
    ];
  });
}

function isExclusion(name: CaptureSetting, text: string): boolean {
  const list = text.trim();
  if (name === 'includeInboundPorts' || name === 'includeOutboundIpRanges') return list !== '*';
  return name !== 'includeOutboundPorts' && list !== '';
}

/** Whether so much leaves the mesh that the pod would only seem to be in it. */
function takesTooMuch(name: CaptureSetting, text: string): boolean {
  switch (name) {
    case 'includeInboundPorts':
    case 'includeOutboundIpRanges':
      return text.trim() === '';
    case 'excludeOutboundIpRanges':
      return text.split(',').some(isTooWide);
    case 'excludeInboundPorts':
    case 'excludeOutboundPorts':
      return isEveryPort(parseCaptureSetting(name, text));
    case 'includeOutboundPorts':
      return false;
    default:
      return name satisfies never;
  }
}

function isTooWide(range: string): boolean {
  const [ip = '', length] = range.trim().split('/');
  return length !== undefined && Number(length) < (ip.includes(':') ? 16 : 8);
}

function isEveryPort(parsed: ParsedSetting<readonly PortRange[]>): boolean {
  if (parsed.kind === 'problem') return false;
  let next = 1;
  for (const { first, last } of parsed.value.toSorted((a, b) => a.first - b.first)) {
    if (first > next) return false;
    next = Math.max(next, last + 1);
  }
  return next > 65_535;
}
