import { lifeLeft } from '../expressions.ts';
import { of, rateOf } from '../variables.ts';
import type { Row } from './panel.ts';
import { badBelow, badFrom, neutral } from './panel.ts';

const noRefusal = 'nobody was refused';

/** What tells in ten seconds whether all is well. */
export const glance: Row = {
  title: 'At a glance',
  panels: [
    {
      title: 'Sidecars',
      kind: 'number',
      unit: 'short',
      description:
        'Sidecars that are scraped. When it is less than the pods that should have one, look at the targets of Prometheus.',
      queries: [{ expression: `count(${of('remora_build_info')})`, legend: 'sidecars' }],
      steps: neutral,
    },
    {
      title: 'Not ready',
      kind: 'number',
      unit: 'short',
      description:
        'Sidecars with a shut readiness gate; 0 is good. Their applications get no traffic. Look at the readiness gates below for which gate, then `remora status` beside the sidecar.',
      queries: [
        {
          expression: `count(min by (namespace, workload, pod) (${of('remora_ready')}) == 0) or vector(0)`,
          legend: 'not ready',
        },
      ],
      steps: badFrom(1, 1),
    },
    {
      title: 'Next identity to lapse',
      kind: 'number',
      unit: 's',
      description:
        'How long the identity lasts that ends first if nothing renews it. With the default lifetime of an hour it never falls below 25 minutes; at 0 that sidecar refuses everything. Look at time to outage and renewals below.',
      queries: [
        { expression: `min(${of('remora_identity_time_to_outage_seconds')})`, legend: 'until the first outage' },
      ],
      steps: badBelow(300, 900),
    },
    {
      title: 'Handshakes that fail',
      kind: 'number',
      unit: 'percentunit',
      description:
        'The part of all handshakes that fail; 0 is good, a port scan makes it rise for a while. Look at failed handshakes by reason, then `remora handshakes`.',
      queries: [
        {
          expression: `(sum(${rateOf('remora_tls_handshakes_total', 'result="failure"')}) / sum(${rateOf('remora_tls_handshakes_total')})) >= 0 or vector(0)`,
          legend: 'failed',
        },
      ],
      steps: badFrom(0.01, 0.05),
    },
    {
      title: 'Plaintext taken in the last hour',
      kind: 'number',
      unit: 'short',
      description:
        'Connections that were accepted without mutual TLS. 0 once a namespace is STRICT; while it moves, the number that must reach 0 first. `remora connections` names the callers.',
      queries: [
        {
          expression: `sum(increase(${of('remora_connections_total', 'direction="inbound"', 'security="plaintext"')}[1h])) or vector(0)`,
          legend: 'plaintext',
        },
      ],
      steps: badFrom(1, 1),
    },
    {
      title: 'Around the sidecar',
      kind: 'number',
      unit: 'short',
      description:
        'Connections of applications that should be captured and are not; 0 is good. Whatever they carry is not encrypted by the mesh. The log line of the sidecar has addresses and uid.',
      queries: [{ expression: `sum(${of('remora_interception_bypassed_connections')})`, legend: 'connections' }],
      steps: badFrom(1, 1),
    },
    {
      title: 'Without control plane',
      kind: 'number',
      unit: 'short',
      description:
        'Sidecars that do not reach the control plane; 0 is good. They go on with what they know until their identity lapses. Look at the control plane below.',
      queries: [{ expression: `count(${of('remora_control_plane_up')} == 0) or vector(0)`, legend: 'sidecars' }],
      steps: badFrom(1, 1),
    },
  ],
};

export const handshakes: Row = {
  title: 'Handshakes',
  panels: [
    {
      title: 'Handshakes',
      kind: 'lines',
      unit: 'ops',
      description:
        'Mutual TLS handshakes a second. Few are good: a tunnel carries many connections, so handshakes follow rotations and new peers, not requests.',
      queries: [
        {
          expression: `sum by (direction, result) (${rateOf('remora_tls_handshakes_total')})`,
          legend: '{{direction}} {{result}}',
        },
      ],
    },
    {
      title: 'Failed handshakes by reason',
      kind: 'lines',
      unit: 'ops',
      description:
        'None is good. Each reason has a sentence and a remedy: `remora handshakes` beside the sidecar shows the last ones with both identities and their dates.',
      queries: [
        {
          expression: `sum by (namespace, workload, direction, reason) (${rateOf('remora_tls_handshakes_total', 'result="failure"')}) > 0`,
          legend: '{{workload}} {{direction}}: {{reason}}',
        },
      ],
      emptyBecause: noRefusal,
    },
    {
      title: 'Duration of handshakes',
      kind: 'lines',
      unit: 's',
      description:
        'From the first byte to a verified peer. A few milliseconds and one or two round trips are good. When it rises look at the lag of the event loop, then at the CPU limit of the sidecar and the network between the nodes.',
      queries: [
        {
          expression: `histogram_quantile(0.5, sum by (le, direction) (${rateOf('remora_tls_handshake_duration_seconds_bucket')}))`,
          legend: '{{direction}} median',
        },
        {
          expression: `histogram_quantile(0.99, sum by (le, direction) (${rateOf('remora_tls_handshake_duration_seconds_bucket')}))`,
          legend: '{{direction}} p99',
        },
      ],
      steps: badFrom(0.5, 5),
    },
    {
      title: 'What handshakes settle on',
      kind: 'lines',
      unit: 'ops',
      description:
        'TLS version, cipher and key exchange. TLSv1.3 with X25519MLKEM768 is what two sidecars agree on; X25519 or prime256v1 is a peer of another make. A server is not told the group: unknown.',
      queries: [
        {
          expression: `sum by (direction, version, cipher, group) (${rateOf('remora_tls_negotiated_total')})`,
          legend: '{{direction}} {{version}} {{cipher}} {{group}}',
        },
      ],
    },
  ],
};

export const identity: Row = {
  title: 'Identity',
  panels: [
    {
      title: 'Time to outage',
      kind: 'lines',
      unit: 's',
      description:
        'Until the identity lapses if nothing renews it: a saw that is cut at half of the lifetime is good. A line that goes on to fall is a sidecar whose renewals fail; at 0 it refuses everything. `remora certs` beside it says why.',
      queries: [
        {
          expression: of('remora_identity_time_to_outage_seconds'),
          legend: '{{namespace}}/{{pod}}',
        },
      ],
      steps: badBelow(300, 300),
    },
    {
      title: 'Workload certificates: part of life left',
      kind: 'lines',
      unit: 'percentunit',
      description:
        'The least of each workload. Certificates are renewed at half of their life, so it should stay above 40 %; below 25 % the alert fires.',
      queries: [
        {
          expression: `min by (namespace, workload) (${lifeLeft(of)})`,
          legend: '{{namespace}}/{{workload}}',
        },
      ],
      steps: badBelow(0.25, 0.25),
    },
    {
      title: 'Certificates: time left by kind',
      kind: 'lines',
      unit: 's',
      description:
        'The workload certificate, the issuer that signed it and the root, of each workload the one that ends first. Issuers are replaced by the control plane; a root is rotated by hand, months before it ends.',
      queries: [
        {
          expression: `min by (namespace, workload, kind) (${of('remora_certificate_not_after_timestamp_seconds')} - time())`,
          legend: '{{namespace}}/{{workload}} {{kind}}',
        },
      ],
    },
    {
      title: 'Renewals',
      kind: 'lines',
      unit: 'ops',
      description:
        'Attempts to renew the identity. Only successes are good: two each lifetime and sidecar. Each failure has its reason; the identity in use is kept meanwhile.',
      queries: [
        {
          expression: `sum by (source, result, reason) (${rateOf('remora_certificate_renewals_total')}) > 0`,
          legend: '{{source}} {{result}} {{reason}}',
        },
      ],
      emptyBecause: 'no renewal was due',
    },
    {
      title: 'Next renewal',
      kind: 'lines',
      unit: 's',
      description:
        'Until each sidecar renews its identity: up to half of the lifetime, and never long below 0. After a failure it is the next attempt, within two and a half minutes.',
      queries: [
        {
          expression: `${of('remora_certificate_next_renewal_timestamp_seconds')} - time()`,
          legend: '{{namespace}}/{{pod}}',
        },
      ],
    },
    {
      title: 'Peers by root',
      kind: 'lines',
      unit: 'short',
      description:
        'Who connected within the hour, by the root that he chains to. One root is usual. During a rotation the old one must come to 0 before it is removed: `remora certs` says so in words.',
      queries: [{ expression: `sum by (root) (${of('remora_peers_by_root')})`, legend: '{{root}}' }],
    },
    {
      title: 'Roots that are trusted',
      kind: 'lines',
      unit: 'short',
      description:
        'For each trust domain. One is usual, two during a rotation. Sidecars of one mesh that differ for long have lost the control plane, or have an old file.',
      queries: [
        {
          expression: `max by (namespace, workload, trust_domain) (${of('remora_trust_bundle_roots')})`,
          legend: '{{namespace}}/{{workload}} {{trust_domain}}',
        },
      ],
    },
    {
      title: 'Clock against the control plane',
      kind: 'lines',
      unit: 's',
      description:
        'The clock of the control plane minus the one of the node. Within a second is good. Beyond some seconds certificates are not valid yet, or over too soon: look at time synchronisation of that node.',
      queries: [{ expression: of('remora_clock_skew_seconds'), legend: '{{namespace}}/{{pod}}' }],
    },
    {
      title: 'Proofs of tunnels',
      kind: 'lines',
      unit: 'ops',
      description:
        'After a rotation a tunnel is proved anew on a newer one, so that its connections live on. `renewed` is good; `not_newer` a peer that has no newer certificate yet; `refused` and `unreachable` end connections with the old certificate.',
      queries: [
        {
          expression: `sum by (direction, result) (${rateOf('remora_proof_renewals_total')})`,
          legend: '{{direction}} {{result}}',
        },
      ],
      emptyBecause: 'no tunnel outlived a rotation',
    },
    {
      title: 'First connection to be cut',
      kind: 'lines',
      unit: 's',
      description:
        'Until the first of the connections that are open is cut, unless its peer is proved anew. With two sidecars a new proof comes in time and the line goes up again; what falls to 0 is a peer of another make: raise its certificate lifetime, or the grace.',
      queries: [
        {
          expression: `min by (namespace, workload, direction) (${of('remora_proof_ends_timestamp_seconds')} - time())`,
          legend: '{{namespace}}/{{workload}} {{direction}}',
        },
      ],
      emptyBecause: 'no connection is open that would be cut',
    },
  ],
};
