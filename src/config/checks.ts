import type { Address } from '../addresses.ts';
import { formatAddress } from '../addresses.ts';
import { portOfProbe } from '../app-probes.ts';
import type { SidecarPorts } from '../ports.ts';
import { captureProbe } from '../ports.ts';
import { isLoopback } from './address-kinds.ts';
import { federationProblems } from './federated-bundle.ts';
import { flagOf } from './setting.ts';
import type { GivenSettings } from './table.ts';

/** The settings with everything settled that depends on several of them. */
export type SettledSettings = Omit<GivenSettings, 'capture'> & {
  readonly capture: boolean;
  readonly ports: SidecarPorts;
};

/** The user and group of this process. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** One sentence for each way in which settings contradict each other or this process. */
export function contradictions(settings: SettledSettings, owner: Owner): string[] {
  return [
    ...sourceProblems(settings),
    ...identityProblems(settings),
    ...federatedProblems(settings),
    ...portProblems(settings),
    ...tunnelProblems(settings),
    ...deliveryProblems(settings),
    ...captureProblems(settings, owner),
    ...probeProblems(settings),
    ...appMetricsProblems(settings),
  ];
}

function sourceProblems({ controlPlane, certificateFile, keyFile, bundleFile }: SettledSettings): string[] {
  const files = { certificateFile, keyFile, bundleFile };
  const missing = Object.entries(files).filter(([, path]) => path === undefined);
  if (missing.length === 3 && controlPlane === undefined) {
    return ['No source of certificates is set, expected controlPlane, or certificateFile with keyFile and bundleFile'];
  }
  if (missing.length === 0 || missing.length === 3) return [];
  return [
    `${missing.map(([name]) => name).join(' and ')} is missing, expected certificateFile, keyFile and bundleFile together`,
  ];
}

function identityProblems(settings: SettledSettings): string[] {
  const { spiffeId, trustDomain, certificateLifetimeMs, maximumCertificateLifetimeMs } = settings;
  const problems: string[] = [];
  if (spiffeId !== undefined && spiffeId.trustDomain !== trustDomain) {
    problems.push(`spiffeId=${spiffeId.uri} is not of the trust domain ${trustDomain}, expected both to agree`);
  }
  if (certificateLifetimeMs > maximumCertificateLifetimeMs) {
    problems.push('certificateLifetime is longer than maximumCertificateLifetime, expected at most that');
  }
  return problems;
}

function federatedProblems({ federatedBundles, bundleFile, trustDomain }: SettledSettings): string[] {
  const problems = federationProblems('federatedBundles', federatedBundles, trustDomain);
  if (federatedBundles.length > 0 && bundleFile === undefined) {
    problems.push(
      'federatedBundles is set without bundleFile, expected it only with certificates in files: the control plane tells its own bundles',
    );
  }
  return problems;
}

const portNames: Readonly<Record<keyof SidecarPorts, string>> = {
  outbound: 'outboundPort',
  inbound: 'inboundPort',
  hbone: 'hbonePort',
  admin: 'adminListen',
  metrics: 'metricsPort',
  health: 'healthPort',
};

/** The setting that has this port for the sidecar itself, other than `except`. */
function ownerOfPort(ports: SidecarPorts, port: number, except?: string): string | undefined {
  const names = Object.keys(portNames) as (keyof SidecarPorts)[];
  return names.filter((name) => ports[name] === port && portNames[name] !== except).map((name) => portNames[name])[0];
}

function portProblems({ ports, capture }: SettledSettings): string[] {
  const seen = new Map<number, string>(capture ? [[captureProbe.port, 'the canary']] : []);
  return Object.entries(portNames).flatMap(([key, name]) => {
    const port = ports[key as keyof SidecarPorts];
    const first = seen.get(port);
    seen.set(port, first ?? name);
    return first === undefined ? [] : [`${name}=${port} is the port of ${first} too, expected each port once`];
  });
}

function tunnelProblems({ tunnels, ports, unsafeListen }: SettledSettings): string[] {
  const listens = tunnels.map(({ listen }) => listen);
  return [
    ...duplicated(listens.map(formatAddress)).map(
      (text) => `listen=${text} begins two tunnels, expected each address once`,
    ),
    ...listens.flatMap((listen) => listenProblems(listen, ports, unsafeListen)),
    ...tunnels.flatMap(({ target }) => {
      const owner = isLoopback(target.host) ? ownerOfPort(ports, target.port) : undefined;
      return owner === undefined
        ? []
        : [`target=${target.host}:${target.port} is the port of ${owner}, expected an application`];
    }),
  ];
}

function listenProblems(listen: Address, ports: SidecarPorts, unsafeListen: boolean): string[] {
  const text = formatAddress(listen);
  const owner = ownerOfPort(ports, listen.port);
  const problems = owner === undefined ? [] : [`listen=${text} is the port of ${owner}, expected another one`];
  if (isLoopback(listen.ip) || unsafeListen) return problems;
  return [
    ...problems,
    `listen=${text} can be reached from other hosts in plaintext, expected loopback, or --${flagOf('unsafeListen')} true`,
  ];
}

function deliveryProblems({ deliver, capture, controlPlane, allowPeers, ports }: SettledSettings): string[] {
  const problems = deliver.flatMap((address) => {
    const owner = ownerOfPort(ports, address.port);
    return owner === undefined
      ? []
      : [`deliver=${formatAddress(address)} is the port of ${owner}, expected an application`];
  });
  for (const port of duplicated(deliver.map(({ port }) => String(port)))) {
    problems.push(`deliver has port ${port} twice, expected each port once: peers choose the application by its port`);
  }
  if (deliver.length > 0 && capture)
    problems.push('deliver is set and capture=true, expected deliver only without capture');
  if (deliver.length > 0 && controlPlane === undefined && allowPeers.length === 0) {
    problems.push('deliver is set without a control plane, expected allowPeers to name who may connect');
  }
  if (allowPeers.length > 0 && controlPlane !== undefined) {
    problems.push(
      'allowPeers and controlPlane are both set, expected allowPeers only without a control plane: its policies decide',
    );
  }
  return problems;
}

function captureProblems(settings: SettledSettings, { uid, gid }: Owner): string[] {
  const { capture, controlPlane, tunnels, deliver, rulesUid, rulesGid } = settings;
  if (!capture && tunnels.length + deliver.length === 0) {
    return ['capture=false leaves nothing to do, expected static tunnels or deliver'];
  }
  if (!capture) return [];
  const problems: string[] = [];
  if (controlPlane === undefined) {
    problems.push(
      'capture=true without a control plane, expected controlPlane: policies and destinations come from it',
    );
  }
  if (settings.meshNetworks.length === 0) {
    problems.push(
      'capture=true without meshNetworks, expected the ranges of the pods and Services of the mesh: what is outside them leaves as it is',
    );
  }
  if (uid !== rulesUid || gid !== rulesGid) {
    problems.push(
      `This process runs as uid ${uid} and gid ${gid}, but the redirect rules let out rulesUid=${rulesUid} and rulesGid=${rulesGid}, expected both to agree: its own connections would come back to it`,
    );
  }
  return problems;
}

function probeProblems({ appProbes, ports }: SettledSettings): string[] {
  return Object.entries(appProbes).flatMap(([path, probe]) => {
    const owner = ownerOfPort(ports, portOfProbe(probe));
    return owner === undefined
      ? []
      : [`appProbes has port ${portOfProbe(probe)} at ${path}, the port of ${owner}, expected an application`];
  });
}

function appMetricsProblems({ appMetrics, ports }: SettledSettings): string[] {
  const owner = appMetrics && ownerOfPort(ports, appMetrics.port);
  return owner === undefined
    ? []
    : [`appMetrics has port ${appMetrics?.port}, the port of ${owner}, expected an application`];
}

function duplicated(texts: readonly string[]): string[] {
  return [...new Set(texts.filter((text, index) => texts.indexOf(text) !== index))];
}
