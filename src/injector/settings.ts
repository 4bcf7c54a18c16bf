import * as address from '../config/address-kinds.ts';
import { readSettingsFile } from '../config/file.ts';
import type { Given } from '../config/given.ts';
import { boolean, duration, listOf, oneOf, scalar } from '../config/kinds.ts';
import type { ValuesOf } from '../config/setting.ts';
import { optional, setting } from '../config/setting.ts';
import { settle } from '../config/settle.ts';
import { agentTable } from '../config/table.ts';
import { formatDuration } from '../durations.ts';
import { ConfigurationError } from '../errors.ts';
import { cpu, cpuMillis, memory, memoryBytes } from './quantity.ts';

const minute = 60_000;

const imageReference = scalar<string>({
  name: 'an image',
  expected: 'a reference such as registry.example.com/remora:0.1.0',
  placeholder: 'image',
  parse: (text) => (text.length <= 512 && /^[\w][\w.:/@-]*$/.test(text) ? text : undefined),
});

const namespaceOrAll = scalar<string>({
  name: 'a namespace',
  expected: 'the name of a namespace, or *',
  placeholder: 'namespace',
  parse: (text) => (text === '*' ? text : address.objectName.parse(text)),
});

/** Settings of `remora agent` that an operator may set for every pod; the injector sets those that are missing here. */
const ofEverySidecar = {
  logLevel: agentTable.logLevel,
  logFormat: agentTable.logFormat,
  accessLog: agentTable.accessLog,
  accessLogRate: agentTable.accessLogRate,
  outboundPolicy: agentTable.outboundPolicy,
  minimumInboundMode: agentTable.minimumInboundMode,
  minimumOutbound: agentTable.minimumOutbound,
  deliverFrom: agentTable.deliverFrom,
  certificateLifetime: agentTable.certificateLifetime,
  renewalFraction: agentTable.renewalFraction,
  connectTimeout: agentTable.connectTimeout,
  halfCloseTimeout: agentTable.halfCloseTimeout,
  idleTimeout: agentTable.idleTimeout,
  keepalive: agentTable.keepalive,
  drainDelay: optional(
    agentTable.drainDelay.kind,
    '`0s` for a native sidecar, which is stopped when the application has ended, else `5s`',
    agentTable.drainDelay.does,
  ),
  drainDeadline: optional(
    agentTable.drainDeadline.kind,
    'what the grace of the pod leaves behind the delay, less 2 s',
    agentTable.drainDeadline.does,
  ),
  peerCertificateGrace: agentTable.peerCertificateGrace,
  maxConnections: agentTable.maxConnections,
  maxTunnelStreams: agentTable.maxTunnelStreams,
  maxDestinations: agentTable.maxDestinations,
  tunnelMaxAge: agentTable.tunnelMaxAge,
  tunnelIdle: agentTable.tunnelIdle,
};

/** Those that the annotations of a pod may set as well: none of them opens what the operator closed. */
export const podSettings = [
  'logLevel',
  'logFormat',
  'accessLog',
  'deliverFrom',
  'connectTimeout',
  'halfCloseTimeout',
  'idleTimeout',
  'keepalive',
  'drainDelay',
  'drainDeadline',
] as const satisfies readonly (keyof typeof ofEverySidecar)[];

/** Every setting of the injector. */
export const injectionTable = {
  image: optional(imageReference, 'none, it must be given', 'Image of the sidecar'),
  imagePullPolicy: setting(
    oneOf('a pull policy', ['Always', 'IfNotPresent', 'Never']),
    'IfNotPresent',
    'When the node pulls the image',
  ),
  sidecarMode: setting(
    oneOf('a mode', ['native', 'classic']),
    'native',
    'native: an init container that stays (Kubernetes 1.29 and newer); classic: a container with a start hook',
  ),
  controlPlane: setting(
    address.httpsOrigin,
    'https://remora-control-plane.remora-system.svc:15012',
    'Where sidecars reach the control plane',
  ),
  trustDomain: setting(address.trustDomain, 'cluster.local', 'Trust domain of the mesh'),
  meshNetworks: agentTable.meshNetworks,
  rootConfigMap: setting(
    address.objectName,
    'remora-root',
    'The ConfigMap that holds the root of the mesh under ca.pem, in the namespace of each pod',
  ),
  tokenLifetime: setting(
    duration(10 * minute, 24 * 60 * minute),
    60 * minute,
    'Lifetime of the token that proves a pod to the control plane; the node renews it',
  ),
  cpuRequest: setting(cpu, '50m', 'CPU that is kept for the sidecar'),
  cpuLimit: optional(cpu, 'none: a sidecar that is throttled delays its application', 'CPU that it may use'),
  memoryRequest: setting(memory, '96Mi', 'Memory that is kept for the sidecar'),
  memoryLimit: setting(memory, '256Mi', 'Memory that it may use'),
  mergeMetrics: setting(
    boolean,
    true,
    "Whether the sidecar answers with the application's metrics behind its own, where the prometheus.io annotations of a pod say where they are",
  ),
  exclusionNamespaces: setting(
    listOf(namespaceOrAll),
    [],
    'Namespaces whose pods may take connections out of the mesh by annotations; * is every namespace',
  ),
  systemNamespaces: setting(
    listOf(address.objectName),
    ['kube-system', 'kube-public', 'kube-node-lease', 'remora-system'],
    'Namespaces whose pods are never touched: those of the cluster, and that of the control plane',
  ),
  ...ofEverySidecar,
};

export type InjectionSettingName = keyof typeof injectionTable;

/** What the cluster's operator decides about every sidecar. */
export interface InjectionSettings extends Omit<ValuesOf<typeof injectionTable>, 'image'> {
  readonly image: string;
  /** Those settings of `remora agent` that were given, as its flags write them. */
  readonly agent: Readonly<Partial<Record<keyof typeof ofEverySidecar, string>>>;
}

/**
 * The settings from a YAML file and from flags, which override it. Throws `ConfigurationError` with every problem at
 * once; `before` are those that were found already.
 */
export function readInjectionSettings(
  file: { readonly path: string; readonly text: string } | undefined,
  flags: readonly Given<InjectionSettingName>[] = [],
  before: readonly string[] = [],
): InjectionSettings {
  const read =
    file === undefined ? { given: [], problems: [] } : readSettingsFile(file.path, file.text, injectionTable);
  const given = [...read.given, ...flags];
  const { values, problems } = settle(injectionTable, given);
  const bad = [...read.problems, ...problems];
  // Values that are wrong were replaced by their defaults; what these contradict would only confuse.
  const found = [...before, ...bad, ...(bad.length > 0 ? [] : contradictions(values))];
  const { image } = values;
  if (found.length > 0 || image === undefined) throw new ConfigurationError(found);
  const agent: Record<string, string> = {};
  for (const { name, texts } of given) if (Object.hasOwn(ofEverySidecar, name)) agent[name] = texts.join(',');
  return { ...values, image, agent };
}

function contradictions({
  certificateLifetimeMs,
  image,
  meshNetworks,
  cpuRequest,
  cpuLimit,
  memoryRequest,
  memoryLimit,
}: ValuesOf<typeof injectionTable>): string[] {
  const problems: string[] = [];
  if (image === undefined)
    problems.push('image is missing, expected the image of the sidecar, in the file of settings or by --image');
  if (meshNetworks.length === 0)
    problems.push(
      'meshNetworks is empty, expected the ranges of pods and Services such as 10.0.0.0/8, in the file of settings or by --mesh-networks',
    );
  const longestMs = agentTable.maximumCertificateLifetime.default;
  if (certificateLifetimeMs > longestMs)
    problems.push(`certificateLifetime is above ${formatDuration(longestMs)}, no sidecar uses one that lives longer`);
  problems.push(...limitProblems({ cpuRequest, cpuLimit, memoryRequest, memoryLimit }));
  return problems;
}

/** Kubernetes refuses a request above its limit. */
export function limitProblems({
  cpuRequest,
  cpuLimit,
  memoryRequest,
  memoryLimit,
}: Pick<InjectionSettings, 'cpuRequest' | 'cpuLimit' | 'memoryRequest' | 'memoryLimit'>): string[] {
  const problems: string[] = [];
  if (cpuLimit !== undefined && (cpuMillis(cpuRequest) ?? 0) > (cpuMillis(cpuLimit) ?? 0))
    problems.push(`The CPU request of the sidecar, ${cpuRequest}, is above its limit, ${cpuLimit}`);
  if ((memoryBytes(memoryRequest) ?? 0) > (memoryBytes(memoryLimit) ?? 0))
    problems.push(`The memory request of the sidecar, ${memoryRequest}, is above its limit, ${memoryLimit}`);
  return problems;
}
