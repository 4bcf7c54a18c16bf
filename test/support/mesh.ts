import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PodAddresses, PodProcessOptions } from '../../src/cli/demo/network.ts';
import type { Mode } from '../../src/policy/mode.ts';
import { sidecarUid } from '../../src/ports.ts';
import type { RunningProgram, TestPod, TestPods } from './pods.ts';
import { startPods } from './pods.ts';

/*
 * A whole mesh in network namespaces: the real control plane in a pod of its own, and pods with the real rules and the
 * real sidecar as uid 1337. Applications run as uid 1000.
 */

export interface MeshPodSpec extends Required<PodAddresses> {
  /** Whether it has a sidecar. */
  readonly isMeshed: boolean;
  /** Its labels, where they are not those of `isMeshed`. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Further settings of its sidecar. */
  readonly agent?: readonly string[];
  /** Further settings of its rules. */
  readonly init?: readonly string[];
}

export interface MeshOptions<Name extends string> {
  readonly pods: Readonly<Record<Name, MeshPodSpec>>;
  /** Services: name, their two addresses, and the pods behind them. Port 80 goes to each `targetPort`. */
  readonly services: readonly {
    readonly name: string;
    readonly v4: string;
    readonly v6: string;
    readonly pods: readonly Name[];
    /** Those of them that are about to go. */
    readonly terminating?: readonly Name[];
    /** Port of the service and of the pods. */
    readonly ports: readonly number[];
  }[];
  readonly certificateLifetime?: string;
  /** Of the whole mesh, by default STRICT. */
  readonly mode?: Mode;
}

export interface Mesh<Name extends string> {
  readonly pods: Readonly<Record<Name | 'control', TestPod>>;
  readonly agents: Readonly<Partial<Record<Name, RunningProgram>>>;
  readonly controlPlane: RunningProgram;
  /** Starts the sidecar of a pod and resolves when it is ready. */
  startAgent(name: Name, args?: readonly string[], process?: PodProcessOptions): Promise<RunningProgram>;
  /** The metrics page of a pod's sidecar, asked for from the control plane's pod. */
  metrics(name: Name): Promise<string>;
  readonly folder: string;
  close(): Promise<void>;
}

/** The sidecar refuses to start with variables that change whom TLS trusts. */
export const quietEnvironment = { PATH: process.env.PATH };

export const controlAddresses = { v4: '10.77.0.2', v6: 'fd77::2' };
/** The upper half of 10.77.0.0/24 is outside of the mesh. */
export const meshNetworks = '10.77.0.0/25,10.96.0.0/16,fd77::/64,fd96::/64';

/** Starts everything and resolves when every sidecar is ready. */
export async function startMesh<Name extends string>(options: MeshOptions<Name>): Promise<Mesh<Name>> {
  const folder = await mkdtemp(join(tmpdir(), 'remora-test-'));
  await chmod(folder, 0o755);
  const names = Object.keys(options.pods) as Name[];
  const specs = { ...options.pods, control: controlAddresses } as Record<Name | 'control', PodAddresses>;
  const running: TestPods<Name | 'control'> = await startPods(specs);
  const close = async () => {
    await running.close();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await writeRegistry(folder, options);
    const { pods } = running;
    const controlPlane = pods.control.startRemora(controlPlaneArguments(folder, options.certificateLifetime), {
      uid: 0,
      env: quietEnvironment,
    });
    await controlPlane.line((line) => line.includes('Control plane ready'));
    const agents: Partial<Record<Name, RunningProgram>> = {};
    const startAgent = async (name: Name, args: readonly string[] = [], process: PodProcessOptions = {}) => {
      const agent = pods[name].startRemora(['agent', ...agentArguments(folder, name, options, args)], {
        uid: sidecarUid,
        env: quietEnvironment,
        ...process,
      });
      agents[name] = agent;
      await agent.line((line) => line.includes('"Ready"'));
      return agent;
    };
    for (const name of names.filter((name) => options.pods[name].isMeshed)) {
      await writeToken(folder, name, pods.control);
      const init = await pods[name].remora(['init', ...(options.pods[name].init ?? [])]);
      if (init.status !== 0) throw new Error(`remora init failed in ${name}: ${init.stderr}`);
      await startAgent(name);
    }
    const metrics = (name: Name) =>
      pods.control.sh(`curl -sS --max-time 5 http://${options.pods[name].v4}:15020/metrics`);
    return { pods, agents, controlPlane, startAgent, metrics, folder, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The command line of the control plane, whose state, registry and root are in `folder`. */
export function controlPlaneArguments(folder: string, certificateLifetime = '1h'): string[] {
  return [
    'control-plane',
    ...['--listen', '0.0.0.0:15012', '--metrics-listen', '0.0.0.0:15014', '--state-dir', join(folder, 'state')],
    ...['--registry', join(folder, 'registry'), '--trust-domain', 'cluster.local'],
    ...['--serving-name', controlAddresses.v4],
    ...['--certificate-lifetime', certificateLifetime, '--write-root', join(folder, 'root.pem')],
  ];
}

/** The settings of the sidecar of a pod; it has no drain delay unless its own settings name one. */
export function agentArguments<Name extends string>(
  folder: string,
  name: Name,
  options: Pick<MeshOptions<Name>, 'pods'>,
  args: readonly string[] = [],
): string[] {
  const own = [...(options.pods[name].agent ?? []), ...args];
  return [
    ...['--control-plane', `https://${controlAddresses.v4}:15012`, '--control-plane-ca-file', join(folder, 'root.pem')],
    ...[
      '--token-file',
      join(folder, `${name}.token`),
      '--mesh-networks',
      meshNetworks,
      '--trust-domain',
      'cluster.local',
    ],
    ...(own.includes('--drain-delay') ? own : ['--drain-delay', '0s', ...own]),
  ];
}

/** Writes the token of a pod's sidecar, once the control plane has made its keys. */
export async function writeToken(folder: string, name: string, control: TestPod): Promise<void> {
  const identity = ['--namespace', 'shop', '--service-account', name, '--pod', name, '--pod-uid', `uid-${name}`];
  const { status, stdout, stderr } = await control.remora(
    ['token', '--state-dir', join(folder, 'state'), ...identity],
    { uid: 0 },
  );
  if (status !== 0) throw new Error(`remora token failed: ${stderr}`);
  await writeFile(join(folder, `${name}.token`), stdout, { mode: 0o644 });
}

async function writeRegistry<Name extends string>(folder: string, options: MeshOptions<Name>): Promise<void> {
  const registry = join(folder, 'registry');
  await mkdir(registry);
  await writeFile(join(registry, 'mesh.yaml'), registryText(options));
}

/** The mode of a whole mesh, as an object of its registry. */
export const peerAuthentication = (mode: Mode) => ({
  apiVersion: 'security.istio.io/v1',
  kind: 'PeerAuthentication',
  metadata: { name: 'default', namespace: 'istio-system' },
  spec: { mtls: { mode } },
});

/** The objects of a cluster with these pods and Services, in the namespace `shop`. */
export function registryText<Name extends string>({
  pods,
  services,
  mode = 'STRICT',
}: Pick<MeshOptions<Name>, 'pods' | 'services' | 'mode'>): string {
  const objects = [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } },
    peerAuthentication(mode),
    ...(Object.keys(pods) as Name[]).flatMap((name) => [serviceAccount(name), pod(name, pods[name])]),
    ...services.map((service) => ({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: service.name, namespace: 'shop' },
      spec: {
        clusterIP: service.v4,
        clusterIPs: [service.v4, service.v6],
        ipFamilies: ['IPv4', 'IPv6'],
        ports: service.ports.map((port) => ({ name: `tcp-${port}`, port, targetPort: port, protocol: 'TCP' })),
      },
    })),
    ...services.flatMap((service) => (['v4', 'v6'] as const).map((family) => endpointSlice(service, family, pods))),
  ];
  // JSON is YAML.
  return objects.map((object) => JSON.stringify(object)).join('\n---\n');
}

const serviceAccount = (name: string) => ({
  apiVersion: 'v1',
  kind: 'ServiceAccount',
  metadata: { name, namespace: 'shop' },
});

const pod = (name: string, { v4, v6, isMeshed, labels }: MeshPodSpec) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name,
    namespace: 'shop',
    uid: `uid-${name}`,
    labels: labels ?? (isMeshed ? { 'networking.istio.io/tunnel': 'http' } : {}),
  },
  spec: { serviceAccountName: name, containers: [{ name: 'app', image: 'app' }] },
  status: {
    phase: 'Running',
    podIP: v4,
    podIPs: [{ ip: v4 }, { ip: v6 }],
    conditions: [{ type: 'Ready', status: 'True' }],
  },
});

function endpointSlice<Name extends string>(
  service: MeshOptions<Name>['services'][number],
  family: 'v4' | 'v6',
  pods: Readonly<Record<Name, MeshPodSpec>>,
) {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: `${service.name}-${family}`,
      namespace: 'shop',
      labels: { 'kubernetes.io/service-name': service.name },
    },
    addressType: family === 'v4' ? 'IPv4' : 'IPv6',
    ports: service.ports.map((port) => ({ name: `tcp-${port}`, port, protocol: 'TCP' })),
    endpoints: service.pods.map((name) => ({
      addresses: [pods[name][family]],
      conditions: conditionsOf(service.terminating?.includes(name) ?? false),
      targetRef: { kind: 'Pod', name, namespace: 'shop' },
    })),
  };
}

const conditionsOf = (isTerminating: boolean) => ({ ready: !isTerminating, serving: true, terminating: isTerminating });
