import { of, rateOf } from '../variables.ts';
import type { Row } from './panel.ts';
import { badBelow, badFrom } from './panel.ts';

export const traffic: Row = {
  title: 'Connections',
  panels: [
    {
      title: 'New connections by security',
      kind: 'lines',
      unit: 'ops',
      description:
        'hbone mutual_tls is the mesh. plaintext inbound is a caller without a sidecar; plaintext outbound goes to a destination outside of the mesh.',
      queries: [
        {
          expression: `sum by (direction, transport, security) (${rateOf('remora_connections_total')})`,
          legend: '{{direction}} {{transport}} {{security}}',
        },
      ],
    },
    {
      title: 'Refused by reason',
      kind: 'lines',
      unit: 'ops',
      description:
        'Connections that the sidecar decided not to carry. None is good. Each is one log line with its id: `remora explain ID` says which rule decided and what to do.',
      queries: [
        {
          expression: `sum by (namespace, workload, direction, reason) (${rateOf('remora_connections_denied_total')}) > 0`,
          legend: '{{workload}} {{direction}}: {{reason}}',
        },
      ],
      emptyBecause: 'nothing was refused',
    },
    {
      title: 'Ended by reason',
      kind: 'lines',
      unit: 'ops',
      description:
        'eof is good. upstream_… means that the application or its node is not there; tunnel_lost that the other sidecar or the way to it broke; reset is one of the two applications.',
      queries: [
        {
          expression: `sum by (direction, reason) (${rateOf('remora_connections_closed_total')}) > 0`,
          legend: '{{direction}}: {{reason}}',
        },
      ],
      emptyBecause: 'nothing ended',
    },
    {
      title: 'Bytes',
      kind: 'lines',
      unit: 'Bps',
      description: 'Application bytes. sent is from the client to the server, in both directions of the pod.',
      queries: [
        {
          expression: `sum by (direction, flow) (${rateOf('remora_bytes_total')})`,
          legend: '{{direction}} {{flow}}',
        },
      ],
    },
    {
      title: 'Open connections',
      kind: 'lines',
      unit: 'short',
      description:
        'Carried now. It follows the pools of the applications. A line that only rises is a leak of an application: `remora connections` has the age of each.',
      queries: [{ expression: `sum by (direction) (${of('remora_connections_open')})`, legend: '{{direction}}' }],
    },
    {
      title: 'Tunnels and what they carry',
      kind: 'lines',
      unit: 'short',
      description:
        'A tunnel for each peer and identity, and two for a while after a rotation; many connections in each. As many tunnels as connections means that peers come and go: look at ended by reason.',
      queries: [
        { expression: `sum by (direction) (${of('remora_tunnels_open')})`, legend: '{{direction}} tunnels' },
        { expression: `sum by (direction) (${of('remora_tunnel_streams_open')})`, legend: '{{direction}} connections' },
      ],
    },
    {
      title: 'Endpoints set aside',
      kind: 'lines',
      unit: 'short',
      description:
        'Endpoints that could not be reached and are passed over for a while; 0 is good. Look at the readiness of their pods, and at the network between both nodes.',
      queries: [{ expression: of('remora_endpoints_set_aside'), legend: '{{namespace}}/{{pod}}' }],
      steps: badFrom(1, 10),
    },
  ],
};

const ends = 'source_workload, source_workload_namespace, destination_workload, destination_workload_namespace';
const edge =
  '{{source_workload}}.{{source_workload_namespace}} → {{destination_workload}}.{{destination_workload_namespace}}';

/** From the families that Kiali and Istio's dashboards read; each connection is told by its server alone, so that none counts twice. */
export const edges: Row = {
  title: 'Who talks to whom',
  panels: [
    {
      title: 'New connections',
      kind: 'lines',
      unit: 'ops',
      description:
        'By both workloads, as the sidecar of the server tells it. mutual_tls is the mesh; none is plaintext, and its caller is unknown unless the registry knows the address. The variables choose the server.',
      queries: [
        {
          expression: `sum by (${ends}, connection_security_policy) (${rateOf('istio_tcp_connections_opened_total', 'reporter="destination"')})`,
          legend: `${edge} {{connection_security_policy}}`,
        },
      ],
    },
    {
      title: 'Bytes',
      kind: 'lines',
      unit: 'Bps',
      description: 'Application bytes of both ways together, by both workloads, as the sidecar of the server tells it.',
      queries: [
        {
          expression: `sum by (${ends}) (${rateOf('istio_tcp_sent_bytes_total', 'reporter="destination"')} + ${rateOf('istio_tcp_received_bytes_total', 'reporter="destination"')})`,
          legend: edge,
        },
      ],
    },
  ],
};

export const sidecars: Row = {
  title: 'Sidecars',
  panels: [
    {
      title: 'Readiness gates',
      kind: 'states',
      unit: 'bool_on_off',
      description:
        'Each gate must be open for the pod to get traffic. `remora status` says what a shut one waits for. not_draining is shut while a pod ends, which is right.',
      queries: [
        {
          expression: `min by (namespace, workload, gate) (${of('remora_ready')})`,
          legend: '{{namespace}}/{{workload}} {{gate}}',
        },
      ],
      steps: badBelow(1, 1),
    },
    {
      title: 'Modes in force',
      kind: 'lines',
      unit: 'short',
      description:
        'Sidecars by mode, and ports that have a mode of their own. STRICT takes mutual TLS only, PERMISSIVE plaintext as well, DISABLE whatever comes, as it is. All STRICT is where a move into the mesh ends.',
      queries: [{ expression: `count by (mode, port) (${of('remora_mode_info')})`, legend: '{{mode}} {{port}}' }],
    },
    {
      title: 'Plaintext that STRICT would refuse',
      kind: 'lines',
      unit: 'ops',
      description:
        'Connections in plaintext by workload and port. Where there have been none for as long as anybody calls seldom, the port can be switched to STRICT; `remora strict-preview` says who they are.',
      queries: [
        {
          expression: `sum by (namespace, workload, port) (${rateOf('remora_strict_preview_plaintext_connections_total')})`,
          legend: '{{namespace}}/{{workload}} {{port}}',
        },
      ],
    },
    {
      title: 'AuthorizationPolicies',
      kind: 'lines',
      unit: 'short',
      description:
        'In all sidecars together: enforced, of AUDIT, on trial (dry_run), and invalid ones, of which there should be none.',
      queries: [{ expression: `sum by (state) (${of('remora_policy_objects')})`, legend: '{{state}}' }],
    },
    {
      title: 'What policies on trial would change',
      kind: 'lines',
      unit: 'ops',
      description:
        'Connections a second that are carried and would be denied with the policies on trial in force, or the reverse. The access log has the names, in dryRun.',
      emptyBecause: 'no policy is on trial',
      queries: [
        {
          expression: `sum by (namespace, workload, enforced, dry_run) (${rateOf('remora_connections_dry_run_total')})`,
          legend: '{{namespace}}/{{workload}} {{enforced}} now, {{dry_run}} then',
        },
      ],
    },
    {
      title: 'Interception',
      kind: 'states',
      unit: 'bool_on_off',
      description:
        'On while connections of the pod are proved to be captured. Off means that the redirect rules are gone or are passed by: traffic is not protected. The log of the sidecar says what was tried.',
      queries: [
        {
          expression: `min by (namespace, workload, pod, family, direction) (${of('remora_interception_ok')})`,
          legend: '{{pod}} {{direction}} {{family}}',
        },
      ],
      steps: badBelow(1, 1),
    },
    {
      title: 'Connections around the sidecar',
      kind: 'lines',
      unit: 'short',
      description:
        'Connections of the application that should have been captured and are unknown to the sidecar. 0 is good.',
      queries: [
        {
          expression: of('remora_interception_bypassed_connections'),
          legend: '{{namespace}}/{{pod}} {{direction}}',
        },
      ],
      steps: badFrom(1, 1),
    },
    {
      title: 'Control plane, as sidecars see it',
      kind: 'states',
      unit: 'bool_on_off',
      description: 'On while it answers. Off for all is the control plane; off for one is its network or its token.',
      queries: [
        {
          expression: `min by (namespace, workload) (${of('remora_control_plane_up')})`,
          legend: '{{namespace}}/{{workload}}',
        },
      ],
      steps: badBelow(1, 1),
    },
    {
      title: 'Memory',
      kind: 'lines',
      unit: 'percentunit',
      description:
        'Used, as a part of where it ends: of the container, and of the heap of Node.js. From 85 % on the sidecar takes no new connections (memory_pressure). Raise the limit, or add replicas.',
      queries: [
        {
          expression: `max by (namespace, workload, pool) (${of('remora_memory_used_bytes')} / ${of('remora_memory_limit_bytes')})`,
          legend: '{{namespace}}/{{workload}} {{pool}}',
        },
      ],
      steps: badFrom(0.7, 0.85),
    },
    {
      title: 'Memory used',
      kind: 'lines',
      unit: 'bytes',
      description: 'The same in bytes, without page cache. container is there only where the container has a limit.',
      queries: [{ expression: of('remora_memory_used_bytes'), legend: '{{namespace}}/{{pod}} {{pool}}' }],
    },
    {
      title: 'Event loop lag, p99',
      kind: 'lines',
      unit: 's',
      description:
        'What every connection waits besides. Below 10 ms is good. When it rises the sidecar has too little CPU: look at its throttling and at connections and handshakes above.',
      queries: [
        {
          expression: `histogram_quantile(0.99, sum by (le, namespace, workload) (${rateOf('remora_event_loop_lag_seconds_bucket')} and on (instance) remora_build_info))`,
          legend: '{{namespace}}/{{workload}}',
        },
      ],
      steps: badFrom(0.05, 0.25),
    },
    {
      title: 'Log lines left out',
      kind: 'lines',
      unit: 'ops',
      description:
        'By what they would have told of: the limits keep a flood of one kind from filling the log, so look at that kind above. output_blocked is another thing: nobody reads the log of that container.',
      queries: [
        {
          expression: `sum by (namespace, workload, reason) (${rateOf('remora_log_lines_suppressed_total')}) > 0`,
          legend: '{{namespace}}/{{workload}}: {{reason}}',
        },
      ],
      emptyBecause: 'every line was written',
    },
    {
      title: "Applications' own metrics",
      kind: 'lines',
      unit: 'ops',
      description:
        'Scrapes that the metrics of the application should follow, by what became of those. success is good; anything else leaves them out of that scrape, and never ours. The log of the sidecar says what its endpoint answered.',
      queries: [
        {
          expression: `sum by (namespace, workload, result) (${rateOf('remora_application_scrapes_total')})`,
          legend: '{{namespace}}/{{workload}} {{result}}',
        },
      ],
      emptyBecause: 'no application has metrics that are joined',
    },
    {
      title: 'Builds',
      kind: 'lines',
      unit: 'short',
      description: 'Sidecars by version. More than one is an upgrade that is not through: restart what is left.',
      queries: [
        {
          expression: `count by (version, node) (${of('remora_build_info')})`,
          legend: '{{version}} on Node.js {{node}}',
        },
      ],
    },
  ],
};
