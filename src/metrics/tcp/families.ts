import type { Families, Label } from '../family.ts';
import { bounded, closed } from '../family.ts';
import type { TcpLabels } from './labels.ts';
import { other } from './labels.ts';
import { maxTcpSeries } from './series.ts';

const name = bounded(
  maxTcpSeries,
  'what a certificate or the registry says of a pod or a Service, or `unknown`',
  other,
);

/** In the order in which they are shown. */
const labels = {
  reporter: closed('source', 'destination'),
  source_workload: name,
  source_canonical_service: name,
  source_canonical_revision: name,
  source_workload_namespace: name,
  source_principal: name,
  source_app: name,
  source_version: name,
  source_cluster: name,
  destination_service: name,
  destination_service_namespace: name,
  destination_service_name: name,
  destination_workload: name,
  destination_canonical_service: name,
  destination_canonical_revision: name,
  destination_workload_namespace: name,
  destination_principal: name,
  destination_app: name,
  destination_version: name,
  destination_cluster: name,
  request_protocol: closed('tcp'),
  response_flags: closed('-'),
  connection_security_policy: closed('mutual_tls', 'none'),
} satisfies Record<keyof TcpLabels, Label>;

/** Istio's standard metrics of TCP connections, for the dashboards and for Kiali that read them. */
export const tcpFamilies = {
  istio_tcp_connections_opened_total: { type: 'counter', help: 'Connections carried, by their two ends', labels },
  istio_tcp_connections_closed_total: { type: 'counter', help: 'Those of them that have ended', labels },
  istio_tcp_sent_bytes_total: {
    type: 'counter',
    help: 'Application bytes from the server to the client, whichever side reports them',
    labels,
  },
  istio_tcp_received_bytes_total: {
    type: 'counter',
    help: 'Application bytes from the client to the server, whichever side reports them',
    labels,
  },
} as const satisfies Families;
