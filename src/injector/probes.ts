import type { AppProbe, AppProbeField, AppProbes } from '../app-probes.ts';
import { appProbePath, formatAppProbes, parseAppProbes } from '../app-probes.ts';
import { shown } from '../config/given.ts';
import { sidecarPorts } from '../ports.ts';
import { takenPorts } from './names.ts';
import type { Operation } from './patch.ts';
import { pointer } from './patch.ts';
import type { Container, HttpGet, PlacedContainer, Pod } from './pod.ts';
import { containersOf } from './pod.ts';

/** The probes and hooks that go through the sidecar. */
export interface RewrittenProbes {
  /** What they were; the setting `appProbes` of the sidecar. */
  readonly probes: AppProbes;
  readonly patch: readonly Operation[];
  readonly warnings: readonly string[];
  readonly problems: readonly string[];
}

/** One that is to be rewritten: where it stands, what it was. */
interface Rewritten {
  readonly path: string;
  readonly probe: AppProbe;
  readonly patch: readonly Operation[];
}

type Outcome = Rewritten | { readonly warning: string } | undefined;

/**
 * Sends each httpGet, tcpSocket and grpc probe and each httpGet hook to the sidecar's metrics port, which runs the
 * original from within the pod. Under STRICT the kubelet, which has no identity, is refused everywhere else; and a
 * tcpSocket probe would find the sidecar's capture port open whatever the application does.
 */
export function rewriteProbes(pod: Pod, isWanted: boolean): RewrittenProbes {
  const outcomes = containersOf(pod).flatMap((placed) => outcomesOf(placed, pod));
  const rewritten = outcomes.filter((outcome) => outcome !== undefined && 'probe' in outcome);
  if (!isWanted) return { ...nothing, warnings: rewritten.length > 0 ? [refusedWords] : [] };
  const probes = Object.fromEntries(rewritten.map(({ path, probe }) => [path, probe]));
  return {
    probes,
    patch: rewritten.flatMap(({ patch }) => patch),
    warnings: outcomes.flatMap((outcome) => (outcome !== undefined && 'warning' in outcome ? [outcome.warning] : [])),
    problems: problemsOf(probes),
  };
}

const nothing: RewrittenProbes = { probes: {}, patch: [], warnings: [], problems: [] };
const refusedWords = 'Its probes and hooks do not go through the sidecar: under STRICT the kubelet is refused';

/** What the sidecar would refuse to read must not reach it: it would not start. */
function problemsOf(probes: AppProbes): string[] {
  const parsed = parseAppProbes(probesVariable(probes));
  return parsed.kind === 'value' ? [] : [`The probes cannot go through the sidecar, expected ${parsed.expected}`];
}

/** The probes as the value of a variable, where Kubernetes would replace `$(NAME)` and `$$`; in a probe it does not. */
export function probesVariable(probes: AppProbes): string {
  return formatAppProbes(probes).replaceAll('$', '\\u0024');
}

function outcomesOf(placed: PlacedContainer, pod: Pod): Outcome[] {
  const { lifecycle } = placed.container;
  const graceSeconds = Math.min(Math.max(pod.spec.terminationGracePeriodSeconds ?? 30, 1), 3600);
  return [
    probeOutcome(placed, 'livenessProbe'),
    probeOutcome(placed, 'readinessProbe'),
    probeOutcome(placed, 'startupProbe'),
    // A hook has no deadline of its own; the pod's grace ends it.
    httpOutcome(placed, 'postStart', ['lifecycle', 'postStart'], lifecycle?.postStart?.httpGet, graceSeconds),
    httpOutcome(placed, 'preStop', ['lifecycle', 'preStop'], lifecycle?.preStop?.httpGet, graceSeconds),
  ];
}

function probeOutcome(placed: PlacedContainer, field: 'livenessProbe' | 'readinessProbe' | 'startupProbe'): Outcome {
  const { list, index, container } = placed;
  const probe = container[field];
  if (probe === null || probe === undefined) return undefined;
  // Kubernetes takes 0 for its default.
  const timeoutSeconds = probe.timeoutSeconds || 1;
  const at = pointer('spec', list, index, field);
  const path = appProbePath(container.name, field);
  const moved = (kind: 'tcpSocket' | 'grpc'): Operation[] => [
    { op: 'remove', path: `${at}/${kind}` },
    { op: 'add', path: `${at}/httpGet`, value: throughSidecar(path) },
  ];
  if (probe.httpGet) return httpOutcome(placed, field, [field], probe.httpGet, timeoutSeconds);
  if (probe.tcpSocket) {
    if (probe.tcpSocket.host) return elsewhere(container, field, probe.tcpSocket.host);
    const port = portNumber(container, probe.tcpSocket.port);
    if (port === undefined) return unknownPort(container, field, probe.tcpSocket.port);
    if (takenPorts.has(port)) return ofSidecar(container, field, port);
    return { path, probe: { tcpSocket: { port }, timeoutSeconds }, patch: moved('tcpSocket') };
  }
  if (probe.grpc) {
    const { port, service } = probe.grpc;
    if (takenPorts.has(port)) return ofSidecar(container, field, port);
    return { path, probe: { grpc: { port, service: service ?? '' }, timeoutSeconds }, patch: moved('grpc') };
  }
  return undefined;
}

function httpOutcome(
  { list, index, container }: PlacedContainer,
  field: AppProbeField,
  place: readonly string[],
  httpGet: HttpGet | null | undefined,
  timeoutSeconds: number,
): Outcome {
  if (httpGet === null || httpGet === undefined) return undefined;
  if (httpGet.host) return elsewhere(container, field, httpGet.host);
  const port = portNumber(container, httpGet.port);
  if (port === undefined) return unknownPort(container, field, httpGet.port);
  if (takenPorts.has(port)) return ofSidecar(container, field, port);
  const path = appProbePath(container.name, field);
  const original = {
    path: absolute(httpGet.path || '/'),
    port,
    scheme: httpGet.scheme?.toUpperCase() === 'HTTPS' ? ('HTTPS' as const) : ('HTTP' as const),
    httpHeaders: (httpGet.httpHeaders ?? []).map(({ name, value }) => ({ name, value: value ?? '' })),
  };
  return {
    path,
    probe: { httpGet: original, timeoutSeconds },
    patch: [{ op: 'replace', path: pointer('spec', list, index, ...place, 'httpGet'), value: throughSidecar(path) }],
  };
}

function throughSidecar(path: string) {
  return { path, port: sidecarPorts.metrics, scheme: 'HTTP' };
}

const absolute = (path: string) => (path.startsWith('/') ? path : `/${path}`);

/** A name means a port of the same container. */
function portNumber({ ports }: Container, port: number | string): number | undefined {
  if (typeof port === 'number') return port;
  const named = (ports ?? []).find(({ name }) => name === port)?.containerPort;
  // Kubernetes also takes a number in quotes.
  return named ?? (/^\d{1,5}$/.test(port) ? Number(port) : undefined);
}

function unknownPort({ name }: Container, field: string, port: number | string): Outcome {
  return {
    warning: `The ${field} of ${shown(name)} names the port '${shown(String(port))}', which the container does not have: it is left as it is and fails`,
  };
}

function ofSidecar({ name }: Container, field: string, port: number): Outcome {
  return { warning: `The ${field} of ${shown(name)} asks the sidecar's own port ${port}: it is left as it is` };
}

function elsewhere({ name }: Container, field: string, host: string): Outcome {
  return { warning: `The ${field} of ${shown(name)} goes to the host '${shown(host)}': it is left as it is` };
}
