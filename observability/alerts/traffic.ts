import { whose } from '../scrape-labels.ts';
import type { Alert, Pace } from './alert.ts';
import { beside, minute, risen, span } from './alert.ts';

const pod = 'namespace="shop", workload="web", pod="web-0"';
const labels = { namespace: 'shop', workload: 'web', pod: 'web-0' };

/** The part of handshakes that may fail, and how many failures are a pattern. */
const mayFail = 0.05;
const fewFailures = 5;

/** Alerts about what peers are refused, and what is let in. */
export function trafficAlerts(pace: Pace): readonly Alert[] {
  const window = span(10 * minute, pace);
  const failures = `sum by (${whose}, direction) (increase(remora_tls_handshakes_total{result="failure"}[${window}]))`;
  return [
    {
      name: 'RemoraHandshakesFailing',
      severity: 'warning',
      expression: `${failures} / sum by (${whose}, direction) (increase(remora_tls_handshakes_total[${window}])) > ${mayFail} and ${failures} > ${fewFailures}`,
      forSeconds: 5 * minute,
      summary: 'Handshakes of {{ $labels.namespace }}/{{ $labels.pod }} fail ({{ $labels.direction }})',
      description:
        '{{ $value | humanizePercentage }} of its {{ $labels.direction }} handshakes within ten minutes have failed. `remora handshakes` beside it says why.',
      runbook: {
        means:
          'Peers and this sidecar cannot prove themselves to each other. A tunnel carries many connections, so that handshakes are few, and a small number of them can be all the traffic of a pair.',
        users:
          'Connections between some pods fail at once. `outbound`: those that this pod makes; `inbound`: those that others make to it.',
        find: [
          `${beside('handshakes')}: the last failures in words, with the identity that was expected and the one that was shown, and the dates of the certificate.`,
          'The panel **Failed handshakes by reason** has the reason, and the table below what each means.',
          `${beside('explain ID')} for a connection id of the log: what was decided, by which rule, and what to do. The same id stands in the log of the other sidecar.`,
        ],
        fix: ['Each reason has its remedy in the table below.'],
        falseAlarm:
          'A port scan, or a client outside of the mesh that tries a STRICT port again and again: `plaintext_in_strict`, `bad_record`, `alpn`, `no_client_cert`, all inbound, from addresses that are none of the mesh. They are refused, as they should be; find out who it is.',
      },
      test: {
        series: {
          [`remora_tls_handshakes_total{direction="inbound", result="success", reason="", ${pod}}`]: '0+1x60',
          [`remora_tls_handshakes_total{direction="inbound", result="failure", reason="untrusted", ${pod}}`]:
            '0+0x10 1+1x20 21+0x29',
        },
        quietAt: 14,
        firesAt: 25,
        labels: { ...labels, direction: 'inbound' },
        value: '50%',
        resolvedAt: 45,
      },
    },
    {
      name: 'RemoraPlaintextAccepted',
      severity: 'warning',
      expression: `sum by (${whose}) (${risen('remora_connections_total{direction="inbound", security="plaintext"}', 15 * minute, pace)})`,
      forSeconds: 0,
      summary: '{{ $labels.namespace }}/{{ $labels.pod }} takes plaintext',
      description:
        'About {{ $value | printf "%.0f" }} connections were accepted without mutual TLS within a quarter of an hour: their callers are not authenticated, and what they send can be read on the network.',
      runbook: {
        means:
          'The mode of the pod is PERMISSIVE, as it is by default where no PeerAuthentication says otherwise, or DISABLE, and somebody without a sidecar calls it. Nothing is broken; that every connection is encrypted and authenticated is not so yet.',
        users: 'Nothing. They will notice when the pod becomes STRICT: these callers are refused then.',
        find: [
          `${beside('strict-preview')}: who calls in plaintext, by port, with how often and when.`,
          `${beside('connections')}: rows with \`plaintext\` have the address of the caller.`,
          'The access log has a line with `"security":"plaintext"` for each, with the address of the peer.',
          '`kubectl get pods -A -o wide` says whose address it is: a pod without sidecar, a node, or a load balancer.',
        ],
        fix: [
          'Inject a sidecar into the caller.',
          'A probe or a scrape of the platform: [docs/inject.md](../inject.md) says which are rewritten; exclude the port of others.',
          'When no caller is left, make the pod STRICT with a PeerAuthentication: then nobody can begin anew.',
        ],
        falseAlarm:
          'On purpose while a namespace moves into the mesh, or where a port has DISABLE. Silence it for that namespace, with an end. It also fires once when a Prometheus sees the mesh for the first time, for what happened before.',
      },
      test: {
        // Three from before; Prometheus is away for some minutes; then a fourth.
        series: {
          [`remora_connections_total{direction="inbound", transport="plaintext", security="plaintext", ${pod}}`]:
            '3+0x10 _x12 3+0x10 4+0x40',
        },
        quietAt: 33,
        firesAt: 36,
        labels,
        value: '1',
        resolvedAt: 52,
      },
    },
    {
      name: 'RemoraLogLinesDropped',
      severity: 'warning',
      expression: `sum by (${whose}) (${risen('remora_log_lines_suppressed_total{reason="output_blocked"}', 10 * minute, pace)})`,
      forSeconds: 0,
      summary: 'Nobody reads the log of {{ $labels.namespace }}/{{ $labels.pod }}',
      description:
        'About {{ $value | printf "%.0f" }} lines were dropped within ten minutes, because the output of the sidecar took no more. Connections do not wait for the log; what it would have told is lost.',
      runbook: {
        means:
          'The sidecar writes its log without ever waiting for it. When whoever reads it stands, a bounded number of lines is kept, and what comes then is dropped and counted.',
        users: 'Nothing. Who looks for a cause later finds no line.',
        find: [
          'The log agent of that node: is it running, is its disk full, does its container runtime hang?',
          '`kubectl logs POD -c remora --tail=5`: when the log is read again, one line says how many were lost.',
          `${beside('status')} and the metrics still tell everything but single connections.`,
        ],
        fix: [
          'Bring the log agent or the disk of the node back.',
          'When it is merely too much: a higher `logLevel`, or less of `accessLog`, both also at run time by the admin page `/logging` ([docs/logs.md](../logs.md)).',
        ],
        falseAlarm:
          'None for `output_blocked`. Lines that limits leave out have other reasons, and this alert does not count them: there the line that follows says how many there were.',
      },
      test: {
        series: { [`remora_log_lines_suppressed_total{reason="output_blocked", ${pod}}`]: '_x5 12+0x60' },
        quietAt: 4,
        firesAt: 6,
        labels,
        value: '12',
        resolvedAt: 16,
      },
    },
  ];
}
