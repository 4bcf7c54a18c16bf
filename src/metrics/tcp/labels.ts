import type { NamedWorkload } from '../../control-api.ts';
import type { LiveConnection } from '../../proxy/account.ts';

/** Istio's standard labels of a TCP connection, in its order. */
export const tcpLabelNames = [
  'reporter',
  'source_workload',
  'source_canonical_service',
  'source_canonical_revision',
  'source_workload_namespace',
  'source_principal',
  'source_app',
  'source_version',
  'source_cluster',
  'destination_service',
  'destination_service_namespace',
  'destination_service_name',
  'destination_workload',
  'destination_canonical_service',
  'destination_canonical_revision',
  'destination_workload_namespace',
  'destination_principal',
  'destination_app',
  'destination_version',
  'destination_cluster',
  'request_protocol',
  'response_flags',
  'connection_security_policy',
] as const;
export type TcpLabels = Readonly<Record<(typeof tcpLabelNames)[number], string>>;

/** Istio's word for what is not known. */
export const unknown = 'unknown';
/** Stands for all peers beyond the bound. */
export const other = 'other';

/** What the settings call this pod. */
export interface OwnNames {
  readonly workloadName?: string | undefined;
  readonly workloadNamespace?: string | undefined;
}

/** What the registry says of both ends; undefined where it says nothing. */
export interface Ends {
  readonly own: NamedWorkload | undefined;
  readonly peer: NamedWorkload | undefined;
}

/**
 * The labels of a connection, by Istio's rules for who reports what. Principals and namespaces come from certificates, all
 * other names from the registry: of a peer by its address, and only when that is the workload that its certificate names.
 * Whoever calls in plaintext proves nothing, so it has no name. Of a destination that was dialled in plaintext the registry
 * is believed, because that chose the address.
 */
export function tcpLabels(connection: LiveConnection, { own, peer }: Ends, names: OwnNames): TcpLabels {
  const { direction, facts } = connection;
  const { peerId, localId } = facts;
  const isOutbound = direction === 'outbound';
  const agreed = agrees(peer, connection) ? peer : undefined;
  const here = endOf(own, localId, names);
  const there = endOf(agreed, peerId, {});
  const [source, destination] = isOutbound ? [here, there] : [there, here];
  const service = isOutbound ? (facts.service ?? serviceOf(agreed, connection)) : serviceOf(own, connection);
  return {
    reporter: isOutbound ? 'source' : 'destination',
    ...sourceLabels(source),
    ...serviceLabels(service, destination.namespace),
    ...destinationLabels(destination),
    request_protocol: 'tcp',
    response_flags: '-',
    connection_security_policy: facts.security === 'mutual_tls' ? 'mutual_tls' : 'none',
  };
}

/** The labels for peers beyond the bound: what says who the peer is, is `other`. */
export function ofAnyPeer(labels: TcpLabels): TcpLabels {
  const end: End = {
    workload: other,
    namespace: other,
    principal: other,
    app: other,
    version: other,
    canonicalService: other,
    canonicalRevision: other,
    cluster: other,
  };
  if (labels.reporter === 'destination') return { ...labels, ...sourceLabels(end) };
  const service = {
    destination_service: other,
    destination_service_namespace: other,
    destination_service_name: other,
  };
  return { ...labels, ...destinationLabels(end), ...service };
}

/** The address that says which workload the peer is; undefined when none can say it. */
export function peerIpOf({ direction, peerAddress, facts }: LiveConnection): string | undefined {
  if (direction === 'outbound') return (facts.endpoint ?? facts.originalDestination).ip;
  return facts.peerId === undefined ? undefined : peerAddress?.ip;
}

interface End {
  readonly workload: string;
  readonly namespace: string;
  readonly principal: string;
  readonly app: string;
  readonly version: string;
  readonly canonicalService: string;
  readonly canonicalRevision: string;
  readonly cluster: string;
}

function endOf(found: NamedWorkload | undefined, principal: string | undefined, names: OwnNames): End {
  return {
    workload: found?.name ?? names.workloadName ?? unknown,
    namespace: namespaceIn(principal) ?? found?.namespace ?? names.workloadNamespace ?? unknown,
    principal: principal ?? unknown,
    app: found?.app ?? unknown,
    version: found?.version ?? unknown,
    canonicalService: found?.canonicalName ?? unknown,
    canonicalRevision: found?.canonicalRevision ?? unknown,
    cluster: found?.cluster ?? unknown,
  };
}

/** The registry knows the pods of our own trust domain. */
function agrees(peer: NamedWorkload | undefined, { direction, facts }: LiveConnection): boolean {
  if (peer === undefined) return false;
  const { peerId, localId = '' } = facts;
  if (peerId === undefined) return direction === 'outbound';
  const [, , trustDomain = ''] = localId.split('/');
  return peerId === `spiffe://${trustDomain}/ns/${peer.namespace}/sa/${peer.serviceAccount}`;
}

/** Of a SPIFFE ID `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`, which was verified; undefined for any other. */
function namespaceIn(principal: string | undefined): string | undefined {
  const [, , , ns, namespace, sa, account, ...rest] = principal?.split('/') ?? [];
  return ns === 'ns' && sa === 'sa' && account !== undefined && rest.length === 0 ? namespace : undefined;
}

function serviceOf(workload: NamedWorkload | undefined, { direction, facts }: LiveConnection): string | undefined {
  const { port } = direction === 'outbound' ? (facts.endpoint ?? facts.originalDestination) : facts.originalDestination;
  return workload?.services.find((one) => one.port === port)?.service;
}

function sourceLabels(end: End) {
  return {
    source_workload: end.workload,
    source_canonical_service: end.canonicalService,
    source_canonical_revision: end.canonicalRevision,
    source_workload_namespace: end.namespace,
    source_principal: end.principal,
    source_app: end.app,
    source_version: end.version,
    source_cluster: end.cluster,
  };
}

function destinationLabels(end: End) {
  return {
    destination_workload: end.workload,
    destination_canonical_service: end.canonicalService,
    destination_canonical_revision: end.canonicalRevision,
    destination_workload_namespace: end.namespace,
    destination_principal: end.principal,
    destination_app: end.app,
    destination_version: end.version,
    destination_cluster: end.cluster,
  };
}

/** `service` is `name.namespace`. Without one the namespace is that of the workload, as with Istio. */
function serviceLabels(service: string | undefined, workloadNamespace: string) {
  const [, name, namespace] = /^([-a-z0-9.]{1,253})\.([-a-z0-9]{1,63})$/.exec(service ?? '') ?? [];
  if (name === undefined || namespace === undefined)
    return {
      destination_service: unknown,
      destination_service_namespace: workloadNamespace,
      destination_service_name: unknown,
    };
  return {
    destination_service: `${name}.${namespace}.svc.cluster.local`,
    destination_service_namespace: namespace,
    destination_service_name: name,
  };
}
