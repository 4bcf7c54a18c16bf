import type { AppProbes } from '../app-probes.ts';
import { objectName } from '../config/address-kinds.ts';
import { flagOf, variableOf } from '../config/setting.ts';
import { agentTable } from '../config/table.ts';
import { tokenAudience } from '../control-api.ts';
import { parseDuration } from '../durations.ts';
import { sidecarPorts, sidecarUid } from '../ports.ts';
import type { PodContext } from './inject.ts';
import { added } from './names.ts';
import type { PodOptions } from './options.ts';
import type { Pod } from './pod.ts';
import { probesVariable } from './probes.ts';
import { cpuMillis } from './quantity.ts';
import type { InjectionSettings } from './settings.ts';

const initCpu = '10m';

function isBelow(limit: string | undefined, request: string): boolean {
  return limit !== undefined && (cpuMillis(limit) ?? 0) < (cpuMillis(request) ?? 0);
}

/** The container that writes the redirect rules: root, because Kubernetes gives a capability to nobody else, with this one. */
export function initContainer({ captureFlags, resources: { cpuLimit } }: PodOptions, settings: InjectionSettings) {
  return {
    name: added.init,
    image: settings.image,
    imagePullPolicy: settings.imagePullPolicy,
    args: ['init', ...captureFlags],
    resources: {
      requests: { cpu: isBelow(cpuLimit, initCpu) ? cpuLimit : initCpu, memory: '64Mi' },
      // Where a quota asks for limits, it asks every container.
      limits: { ...(cpuLimit === undefined ? {} : { cpu: cpuLimit }), memory: '128Mi' },
    },
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] },
      privileged: false,
      readOnlyRootFilesystem: true,
      runAsGroup: 0,
      runAsNonRoot: false,
      runAsUser: 0,
      seccompProfile: { type: 'RuntimeDefault' },
    },
    volumeMounts: [noApiTokenMount],
  };
}

export interface SidecarParts {
  readonly pod: Pod;
  readonly context: PodContext;
  readonly options: PodOptions;
  readonly probes: AppProbes;
  /** Where the application's metrics are, as the setting of that name writes it. */
  readonly appMetrics: string | undefined;
}

export function sidecarContainer(parts: SidecarParts, settings: InjectionSettings) {
  const { options } = parts;
  const isNative = options.sidecarMode === 'native';
  return {
    name: added.sidecar,
    image: settings.image,
    imagePullPolicy: settings.imagePullPolicy,
    args: agentArguments(parts, settings),
    env: environment(parts.probes),
    // The next container is started when this hook has returned: the application finds the sidecar ready.
    ...(isNative
      ? { restartPolicy: 'Always' }
      : { lifecycle: { postStart: { exec: { command: ['remora', 'wait', '--timeout=60s'] } } } }),
    ports: [{ name: added.metricsPort, containerPort: sidecarPorts.metrics, protocol: 'TCP' }],
    // As long as the control plane is away: until then the pod waits, it is not broken.
    startupProbe: { httpGet: ready, periodSeconds: 1, timeoutSeconds: 3, failureThreshold: 600 },
    readinessProbe: { httpGet: ready, periodSeconds: 10, timeoutSeconds: 3, failureThreshold: 3 },
    resources: resources(options.resources),
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      privileged: false,
      readOnlyRootFilesystem: true,
      runAsGroup: sidecarUid,
      runAsNonRoot: true,
      runAsUser: sidecarUid,
      seccompProfile: { type: 'RuntimeDefault' },
    },
    volumeMounts: [{ name: added.volume, mountPath: '/var/run/secrets/remora', readOnly: true }, noApiTokenMount],
  };
}

const ready = { path: '/healthz/ready', port: sidecarPorts.health, scheme: 'HTTP' };

function resources({ cpuRequest, cpuLimit, memoryRequest, memoryLimit }: PodOptions['resources']) {
  return {
    requests: { cpu: cpuRequest, memory: memoryRequest },
    limits: { ...(cpuLimit === undefined ? {} : { cpu: cpuLimit }), memory: memoryLimit },
  };
}

function environment(probes: AppProbes) {
  const field = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } });
  return [
    field(variableOf('podName'), 'metadata.name'),
    field(variableOf('workloadNamespace'), 'metadata.namespace'),
    field(variableOf('nodeAddress'), 'status.hostIP'),
    ...(Object.keys(probes).length === 0 ? [] : [{ name: variableOf('appProbes'), value: probesVariable(probes) }]),
  ];
}

function agentArguments({ pod, context, options, appMetrics }: SidecarParts, settings: InjectionSettings): string[] {
  const given: Record<string, string> = {
    controlPlane: settings.controlPlane,
    trustDomain: settings.trustDomain,
    meshNetworks: settings.meshNetworks.join(','),
    ...(objectName.parse(context.workloadName) === undefined ? {} : { workloadName: context.workloadName }),
    ...drain(pod, options, settings),
    ...(appMetrics === undefined ? {} : { appMetrics }),
    ...settings.agent,
    ...options.agent,
  };
  const names = Object.keys(agentTable).filter((name) => Object.hasOwn(given, name));
  // As the redirect rules are told, so that the sidecar knows what they capture.
  return ['agent', ...names.map((name) => `--${flagOf(name)}=${given[name]}`), ...options.captureFlags];
}

/** Seconds between the sidecar's own deadline and the moment when the kubelet kills it. */
const marginSeconds = 2;

/** The longest deadline that a sidecar takes, a day; the grace of a pod has no bound. */
const mostSeconds = 86_400;

/**
 * A native sidecar is asked to stop when the application has ended, so nobody is left to be waited for; a classic one is
 * asked at the same time. Either way it is done before the grace of the pod is over.
 */
function drain({ spec }: Pod, { agent, sidecarMode }: PodOptions, settings: InjectionSettings) {
  const drainDelay = agent.drainDelay ?? settings.agent.drainDelay ?? (sidecarMode === 'native' ? '0s' : '5s');
  const graceSeconds = spec.terminationGracePeriodSeconds ?? 30;
  const delaySeconds = Math.ceil((parseDuration(drainDelay) ?? 0) / 1000);
  const restSeconds = Math.min(graceSeconds - delaySeconds - marginSeconds, mostSeconds);
  return { drainDelay, drainDeadline: `${Math.max(1, restSeconds)}s` };
}

/** The API server mounts the application's token into every container that has nothing at this place. */
const noApiTokenMount = {
  name: added.noApiToken,
  mountPath: '/var/run/secrets/kubernetes.io/serviceaccount',
  readOnly: true,
};

/**
 * The token that proves the pod and the root of the mesh, at the places where the sidecar looks for them; and nothing in
 * the place of the token by which the application talks to the API server.
 */
export function addedVolumes({ tokenLifetimeMs, rootConfigMap }: InjectionSettings) {
  const identity = {
    name: added.volume,
    projected: {
      sources: [
        { serviceAccountToken: { audience: tokenAudience, expirationSeconds: tokenLifetimeMs / 1000, path: 'token' } },
        { configMap: { name: rootConfigMap, items: [{ key: 'ca.pem', path: 'ca.pem' }] } },
      ],
    },
  };
  return [identity, { name: added.noApiToken, emptyDir: {} }];
}
