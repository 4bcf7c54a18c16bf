import { jobs, whose } from '../scrape-labels.ts';
import type { Alert } from './alert.ts';
import { atControlPlane, beside, minute } from './alert.ts';

const pod = 'namespace="shop", workload="web", pod="web-0"';
const labels = { namespace: 'shop', workload: 'web', pod: 'web-0' };
const replica = `job="${jobs.controlPlane}", namespace="remora-system", pod="cp-0"`;

const days = 86_400;
const logs = '`kubectl -n remora-system logs deploy/remora-control-plane`';

/** Alerts about what issues and tells. */
export function controlPlaneAlerts(): readonly Alert[] {
  return [
    {
      name: 'RemoraControlPlaneLost',
      severity: 'warning',
      expression: `min by (${whose}) (remora_control_plane_up) == 0`,
      forSeconds: 5 * minute,
      summary: '{{ $labels.namespace }}/{{ $labels.pod }} has lost the control plane',
      description:
        'It has not answered for five minutes. The sidecar goes on with what it knows: new destinations are refused, changes of policy do not arrive, and its identity ends when it is not renewed.',
      runbook: {
        means:
          'The sidecar cannot reach the control plane. Connections that are open and destinations that it knows go on; what it must ask for is refused as `control_plane_unavailable`, and endpoints that have moved are not known.',
        users:
          'Little at first. Calls to destinations that were not used lately fail; after the life of a certificate, everything.',
        find: [
          `Every pod at once: the control plane. \`kubectl -n remora-system get pods\`, then ${logs}.`,
          'One pod or one node: its network or its NetworkPolicy towards port 15012 of the Service remora-control-plane.',
          `${beside('status')} says **stream DOWN** or **NEVER UP**, since when, and the reason: a name that does not resolve, a refused connection, a certificate that its CA file does not vouch for, a token.`,
          '`remora_identity_time_to_outage_seconds` says how long there is.',
        ],
        fix: [
          'Bring the control plane back; sidecars come by themselves, within some seconds.',
          'Allow port 15012 from the namespace.',
        ],
        falseAlarm: 'None is known for five minutes: an upgrade of the control plane with two replicas is not seen.',
      },
      test: {
        series: { [`remora_control_plane_up{${pod}}`]: '1 0+0x8 1+0x3' },
        quietAt: 5,
        firesAt: 7,
        labels,
        value: '0',
        resolvedAt: 10,
      },
    },
    {
      name: 'RemoraControlPlaneDown',
      severity: 'critical',
      expression: `absent(up{job="${jobs.controlPlane}"} == 1)`,
      forSeconds: 5 * minute,
      summary: 'No control plane answers',
      description:
        'Prometheus has reached none of its replicas for five minutes. Certificates are not renewed and new pods do not start; what runs goes on until its identity ends.',
      runbook: {
        means:
          'No replica of the control plane can be scraped. The next renewal of every sidecar fails; the webhook does not answer, so that no pod of an injected namespace is made.',
        users: 'Nothing at first; deployments hang. After half of a certificate life the first identities end.',
        find: [
          '`kubectl -n remora-system get pods -o wide` and `kubectl -n remora-system describe deploy remora-control-plane`.',
          `${logs} and the same with \`--previous\`: the last line says why it ended, exit code 78 is a setting.`,
          'When all run and are ready: a NetworkPolicy between Prometheus and port 15014, or the scrape configuration.',
        ],
        fix: [
          'What the last line of the log says.',
          'The Secret remora-authority is gone or wrong: put it back from its backup. A new authority is one that nobody trusts.',
        ],
        falseAlarm: `A Prometheus that has no job ${jobs.controlPlane}: take manifests/prometheus/scrape.yaml, or change the name in the rule.`,
      },
      test: {
        series: { [`up{${replica}, instance="10.0.0.2:15014"}`]: '1 0+0x8 1+0x3' },
        quietAt: 5,
        firesAt: 7,
        labels: {},
        value: '1',
        resolvedAt: 10,
      },
    },
    {
      name: 'RemoraRootExpiring',
      severity: 'critical',
      expression: `min(remora_ca_root_not_after_timestamp_seconds) - time() < ${60 * days}`,
      forSeconds: 0,
      summary: 'The root of the mesh ends soon',
      description:
        'It ends in {{ $value | humanizeDuration }}. When it does, no identity of the mesh is valid any more, all at once.',
      runbook: {
        means:
          'Every identity chains to the root. A new root must be trusted everywhere before the old one is taken away, so this takes days, not minutes. Sixty days are left, or fewer.',
        users: 'Nothing until the very end; then no connection of the mesh is made.',
        find: [
          `${atControlPlane('control-plane rotate-root')} shows the roots, the next step, and who stands in its way.`,
          `${beside('certs')} shows which root a sidecar and its peers chain to.`,
        ],
        fix: [
          'Rotate the root, step by step, as [docs/control-plane.md](../control-plane.md#rotate-the-root) says: `add`, `switch`, `remove`. Each step says when the next one is safe.',
        ],
        falseAlarm: 'A root that lives less than sixty days by intention: change the time in the rule.',
      },
      test: {
        series: {
          [`remora_ca_root_not_after_timestamp_seconds{${replica}}`]: `${60 * days + 600}+0x14 ${900 * days}+0x5`,
        },
        quietAt: 9,
        firesAt: 12,
        labels: {},
        value: '59d 23h 58m 0s',
        resolvedAt: 16,
      },
    },
    {
      name: 'RemoraCrlStale',
      severity: 'warning',
      expression: 'max by (file) (remora_ca_crl_stale) == 1',
      forSeconds: 10 * minute,
      summary: 'The revocation list {{ $labels.file }} is out of date',
      description:
        'It is missing, cannot be used, or its next update is past. What is known of it stays in force; certificates that were revoked since are not known.',
      runbook: {
        means:
          'A CRL of another authority, given by `--crl`, was not replaced in time or cannot be read. Whether sidecars go on to trust new peers then is what the operator chose.',
        users: 'Nothing, or no new connections from identities of that authority, by the choice of the operator.',
        find: [
          `${logs}: a line with the name of the file says what is wrong with it.`,
          '`openssl crl -in FILE -noout -lastupdate -nextupdate -issuer`.',
          'Whoever copies the file: the job, the Secret or the ConfigMap.',
        ],
        fix: ['Replace the file by the current list of that authority; it is read again by itself.'],
        falseAlarm: 'None is known.',
      },
      test: {
        series: { [`remora_ca_crl_stale{file="partner.pem", ${replica}}`]: '0 1+0x14 0+0x3' },
        quietAt: 9,
        firesAt: 12,
        labels: { file: 'partner.pem' },
        value: '1',
        resolvedAt: 16,
      },
    },
    {
      name: 'RemoraRevocationsUnknown',
      severity: 'critical',
      expression: 'max(remora_ca_revocations_unknown) == 1',
      forSeconds: 2 * minute,
      summary: 'It is not known who is revoked',
      description: 'Sidecars are told to trust nobody new until it is known again. Connections that are open go on.',
      runbook: {
        means:
          'The list of revocations cannot be read, or a CRL is out of date and the operator chose to trust nobody then. Every sidecar refuses new peers as `revoked`.',
        users: 'New tunnels are not made: connections fail as soon as a tunnel is not there yet or is renewed.',
        find: [
          `${logs}: the line that says so names the file.`,
          `${beside('certs')}: **NOBODY NEW IS TRUSTED**, with why.`,
          'The runbook of [RemoraCrlStale](RemoraCrlStale.md), when that fires too.',
        ],
        fix: ['Put the file in order: it is read again by itself, and sidecars hear of it within seconds.'],
        falseAlarm: 'None is known.',
      },
      test: {
        series: { [`remora_ca_revocations_unknown{${replica}}`]: '0 1+0x5 0+0x3' },
        quietAt: 2,
        firesAt: 4,
        labels: {},
        value: '1',
        resolvedAt: 7,
      },
    },
  ];
}
