import type { CaptureSetting } from '../annotations.ts';
import { wholePod } from '../annotations.ts';
import { maxDestinations } from '../control-api.ts';
import { logFormats, logLevels } from '../log.ts';
import { accessLogs } from '../logging.ts';
import { outboundFloors, outboundPolicies } from '../policy/admit.ts';
import { modes } from '../policy/mode.ts';
import { sidecarPorts, sidecarUid } from '../ports.ts';
import * as address from './address-kinds.ts';
import { appMetricsPlace } from './app-metrics.ts';
import { appProbes } from './app-probes.ts';
import { captureList } from './capture-kinds.ts';
import { federatedBundle } from './federated-bundle.ts';
import { boolean, duration, durationOrNever, fraction, integer, listOf, oneOf, path, size } from './kinds.ts';
import type { ValuesOf } from './setting.ts';
import { optional, setting } from './setting.ts';
import { tunnels } from './tunnel.ts';

/** What a list that is missing or out of date means: whoever is not named is trusted, or nobody new is. */
export const staleCrlChoices = ['accept', 'refuse'] as const;

const ms = 1;
const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;
const KiB = 1024;
const MiB = 1024 * KiB;

const workload = {
  trustDomain: setting(address.trustDomain, 'cluster.local', 'Trust domain of this workload'),
  spiffeId: optional(
    address.spiffeId,
    'whatever the first certificate proves',
    'The identity that this sidecar must have; a certificate for another one is not used',
  ),
  workloadName: optional(address.objectName, 'unknown', 'Name of the workload in metrics and logs'),
  workloadNamespace: optional(address.objectName, 'unknown', 'Namespace of the workload in metrics and logs'),
  podName: optional(address.objectName, 'unknown', 'Name of the pod in logs'),
  nodeAddress: optional(
    address.ipAddress,
    'the gateway of the default route alone',
    'Address of the node: whoever calls from it is shown as the kubelet',
  ),
};

const controlPlane = {
  controlPlane: optional(
    address.httpsOrigin,
    'none',
    'Control plane that issues certificates and tells policies and destinations',
  ),
  controlPlaneCaFile: setting(
    path,
    '/var/run/secrets/remora/ca.pem',
    'Roots that the certificate of the control plane must chain to, PEM; read again at each call',
  ),
  controlPlaneServerName: optional(
    address.hostName,
    'the host of the control plane',
    'Name that the certificate of the control plane must carry',
  ),
  tokenFile: setting(
    path,
    '/var/run/secrets/remora/token',
    'Service-account token that proves this workload to the control plane; read again at each call',
  ),
  controlPlaneTimeout: setting(
    duration(100 * ms, minute),
    10 * second,
    'Deadline of one whole call of the control plane',
  ),
};

const certificates = {
  certificateFile: optional(
    path,
    'certificates come from the control plane',
    'Certificate chain, leaf first, PEM; with a key file and a bundle file it replaces the certificates of the control plane',
  ),
  keyFile: optional(path, 'none', 'Private key of the certificate file, PEM'),
  bundleFile: optional(path, 'none', 'Roots of the trust domain, PEM or a SPIFFE bundle document'),
  federatedBundles: setting(
    listOf(federatedBundle),
    [],
    'With certificates in files: roots of other trust domains, each in a file, PEM or a SPIFFE bundle document',
  ),
  filePollInterval: setting(
    duration(100 * ms, hour),
    10 * second,
    'How often these files are looked at, besides being watched',
  ),
  crlFiles: setting(
    listOf(path),
    [],
    'Certificate revocation lists, PEM or DER: peers whose certificates they name are refused',
  ),
  staleCrl: setting(
    oneOf('a choice', staleCrlChoices),
    'accept',
    'When a revocation list is missing or out of date: accept whom no list names, or refuse all new connections of peers',
  ),
  certificateLifetime: setting(duration(10 * second, 90 * day), hour, 'Lifetime that is asked for'),
  maximumCertificateLifetime: setting(
    duration(minute, 3650 * day),
    30 * day,
    'A certificate of the control plane that lives longer is not used',
  ),
  peerCertificateGrace: setting(
    durationOrNever(0, 30 * day),
    10 * minute,
    'How long a connection may go on after the certificate of its peer has ended without a newer one being proved',
  ),
  renewalFraction: setting(
    fraction(0.1, 0.9),
    0.5,
    'The part of the remaining lifetime after which a certificate is renewed, give or take a tenth of it',
  ),
};

const staticTunnels = {
  tunnels: setting(
    tunnels,
    [],
    'Static tunnels: plaintext on a local address is carried to the sidecar in front of the target, which must prove the identity of the peer',
  ),
  deliver: setting(
    listOf(address.loopbackAddress),
    [],
    'Without capture: the local applications that peers may reach, each by its port; everything else is refused',
  ),
  allowPeers: setting(
    listOf(address.spiffeId),
    [],
    'Without a control plane: the identities that may reach the local applications',
  ),
  unsafeListen: setting(
    boolean,
    false,
    'Lets static tunnels listen beyond loopback, where other hosts can use this identity',
  ),
};

const capture = {
  capture: optional(
    boolean,
    'true, or false with static tunnels or deliveries',
    "Whether redirect rules bring the pod's connections to this sidecar",
  ),
  rulesUid: setting(
    integer(1, 4_294_967_294),
    sidecarUid,
    'User that the redirect rules let out; with capture this process must run as it',
  ),
  rulesGid: setting(
    integer(1, 4_294_967_294),
    sidecarUid,
    'Group that the redirect rules let out; with capture this process must run as it',
  ),
  deliverFrom: setting(
    oneOf('a source address', ['127.0.0.6', 'pod-address']),
    '127.0.0.6',
    'Source address of connections to the application; pod-address protects applications that trust loopback, at about 470 new connections a second',
  ),
};

/** What `remora init` was told, so that the sidecar can say what is captured and notice what should have been. */
const scope = {
  includeInboundPorts: scopeSetting('includeInboundPorts', 'Inbound ports that the redirect rules capture'),
  excludeInboundPorts: scopeSetting(
    'excludeInboundPorts',
    'Inbound ports that they leave alone, where all are captured',
  ),
  includeOutboundPorts: scopeSetting('includeOutboundPorts', 'Outbound ports that they capture, whatever the address'),
  excludeOutboundPorts: scopeSetting('excludeOutboundPorts', 'Outbound ports that they leave alone'),
  includeOutboundIpRanges: scopeSetting('includeOutboundIpRanges', 'Outbound ranges that they capture'),
  excludeOutboundIpRanges: scopeSetting('excludeOutboundIpRanges', 'Outbound ranges that they leave alone'),
};

function scopeSetting<Name extends CaptureSetting>(name: Name, does: string) {
  return setting(captureList(name), wholePod[name], `${does}; as for \`remora init\``);
}

const listeners = {
  outboundPort: setting(address.port, sidecarPorts.outbound, 'Outbound capture, on loopback'),
  inboundPort: setting(address.port, sidecarPorts.inbound, 'Inbound capture'),
  hbonePort: setting(address.port, sidecarPorts.hbone, 'Tunnels of peers: mutual TLS and HTTP/2 CONNECT'),
  metricsPort: setting(address.port, sidecarPorts.metrics, 'Metrics, and the probes of the applications'),
  healthPort: setting(address.port, sidecarPorts.health, 'Readiness and liveness'),
  hboneBind: setting(listOf(address.ipAddress), ['0.0.0.0', '::'], 'Addresses that take tunnels'),
  metricsBind: setting(listOf(address.ipAddress), ['0.0.0.0', '::'], 'Addresses that serve metrics'),
  healthBind: setting(listOf(address.ipAddress), ['0.0.0.0', '::'], 'Addresses that answer readiness and liveness'),
  adminListen: setting(
    address.adminListener,
    { kind: 'tcp', address: { ip: '127.0.0.1', port: sidecarPorts.admin } },
    'Admin pages: an address on loopback, or the path of a unix socket',
  ),
};

const traffic = {
  meshNetworks: setting(
    listOf(address.cidr),
    [],
    'Ranges of the mesh: a destination inside them is never sent in plaintext because the registry is silent',
  ),
  outboundPolicy: setting(
    oneOf('an outbound policy', outboundPolicies),
    'ALLOW_ANY',
    'What happens to a destination outside the mesh networks that no ServiceEntry registers',
  ),
  minimumInboundMode: setting(
    oneOf('a mode', modes),
    'DISABLE',
    'The weakest inbound mode, whatever PeerAuthentications say: no control plane can lower it',
  ),
  minimumOutbound: setting(
    oneOf('a minimum', outboundFloors),
    'plaintext',
    'The weakest way out of this pod; no control plane can lower it',
  ),
  appProbes: setting(
    appProbes,
    {},
    'Probes and hooks of the applications that are answered on the metrics port; remora inject writes them',
  ),
  appMetrics: optional(
    appMetricsPlace,
    'none',
    "Where the application serves its metrics over HTTP: they follow the sidecar's own on the metrics port",
  ),
};

const deadlines = {
  handshakeTimeout: setting(
    duration(100 * ms, minute),
    10 * second,
    'Deadline of a TLS handshake, and of the first HTTP/2 SETTINGS after it',
  ),
  connectTimeout: setting(duration(100 * ms, minute), 5 * second, 'Deadline of a TCP connect'),
  tunnelOpenTimeout: setting(duration(100 * ms, minute), 10 * second, "Deadline of the peer's answer to a CONNECT"),
  resolveTimeout: setting(
    duration(100 * ms, minute),
    5 * second,
    "Deadline of the registry's answer about a destination",
  ),
  halfCloseTimeout: setting(
    durationOrNever(100 * ms, 7 * day),
    hour,
    'How long one side of a connection may go on after the other has finished',
  ),
  idleTimeout: setting(durationOrNever(second, 7 * day), 'never', 'How long a connection may move no byte'),
  keepalive: setting(durationOrNever(second, 2 * hour), 30 * second, 'Interval of TCP keepalive on every leg'),
  drainDelay: setting(
    duration(0, 10 * minute),
    5 * second,
    'How long new inbound connections are still taken after a stop was asked for, so that endpoints propagate',
  ),
  drainDeadline: setting(
    duration(0, day),
    30 * second,
    'How long open connections may go on after that, before they are reset',
  ),
};

const limits = {
  maxConnections: setting(integer(1, 1_000_000), 10_000, 'Connections that are carried at once'),
  maxHandshakes: setting(
    integer(1, 10_000),
    16,
    'TLS handshakes that are begun in one turn of the event loop; more wait their turn, so that what is carried goes on',
  ),
  maxTunnelStreams: setting(integer(1, 100_000), 256, 'Connections in one tunnel at once'),
  tunnelMaxAge: setting(
    durationOrNever(second, 30 * day),
    hour,
    'Age at which a tunnel is replaced; its connections go on',
  ),
  tunnelIdle: setting(durationOrNever(second, day), 5 * minute, 'How long a tunnel without connections is kept'),
  streamWindow: setting(size(16 * KiB, 16 * MiB), 256 * KiB, 'Bytes that one stalled connection in a tunnel may hold'),
  tunnelWindow: setting(size(64 * KiB, 256 * MiB), 16 * MiB, 'Bytes in flight in one tunnel'),
  maxDestinations: setting(
    integer(1, maxDestinations),
    maxDestinations,
    'Destinations that are remembered and kept fresh',
  ),
  destinationIdle: setting(duration(second, day), 10 * minute, 'How long a destination that is not used is kept fresh'),
};

const observability = {
  logLevel: setting(oneOf('a log level', logLevels), 'info', 'The least severe log lines that are written'),
  logFormat: setting(
    oneOf('a log format', logFormats),
    'json',
    'How log lines are written: one JSON object each, or one line of text each for people',
  ),
  accessLog: setting(
    oneOf('a choice of connections', accessLogs),
    'all',
    'The connections that get a log line when they end: all, those alone that failed, or none',
  ),
  accessLogRate: setting(
    integer(1, 1_000_000),
    1000,
    'Log lines a second about connections that were carried, of one direction and reason',
  ),
};

/** Every setting of `remora agent`, by section. */
export const sections = [
  { title: 'Workload', settings: workload },
  { title: 'Control plane', settings: controlPlane },
  { title: 'Certificates', settings: certificates },
  { title: 'Static tunnels', settings: staticTunnels },
  { title: 'Capture', settings: { ...capture, ...scope } },
  { title: 'Listeners', settings: listeners },
  { title: 'Traffic', settings: traffic },
  { title: 'Deadlines', settings: deadlines },
  { title: 'Limits', settings: limits },
  { title: 'Observability', settings: observability },
] as const;

/** The one table that flags, environment variables, file keys, checks and documentation are made from. */
export const agentTable = {
  ...workload,
  ...controlPlane,
  ...certificates,
  ...staticTunnels,
  ...capture,
  ...scope,
  ...listeners,
  ...traffic,
  ...deadlines,
  ...limits,
  ...observability,
};

export type SettingName = keyof typeof agentTable;

/** The values as given, before what depends on several of them is settled. */
export type GivenSettings = ValuesOf<typeof agentTable>;
