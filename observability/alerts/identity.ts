import { lifeLeft } from '../expressions.ts';
import { whose } from '../scrape-labels.ts';
import type { Alert, Pace } from './alert.ts';
import { beside, minute, risen } from './alert.ts';

const pod = 'namespace="shop", workload="web", pod="web-0"';
const labels = { namespace: 'shop', workload: 'web', pod: 'web-0' };
const end = (kind: string) => `remora_certificate_not_after_timestamp_seconds{kind="${kind}", ${pod}}`;
const start = `remora_certificate_not_before_timestamp_seconds{${pod}}`;

const all = (metric: string, ...matchers: readonly string[]) =>
  matchers.length === 0 ? metric : `${metric}{${matchers.join(', ')}}`;

/** Below these parts of its life a certificate is late, and nearly over. It is renewed at half of it. */
const late = 0.25;
const nearlyOver = 0.1;

const renewalSteps = [
  `${beside('certs')}: the line **Renewal failed** has the reason, what happened, what to do, and what exactly was found.`,
  'The table below has every reason with its remedy. The same reason stands in `remora_certificate_renewals_total`.',
  'One pod alone: its token, its clock or its network. Every pod: the control plane; look at `remora_ca_certificates_issued_total` and at its log, `kubectl -n remora-system logs deploy/remora-control-plane`.',
];

const renewalFixes = [
  '`unreachable`, `timeout`, `http_5xx`: bring the control plane back. Sidecars renew by themselves, within 15 s where the identity is over and within two and a half minutes otherwise; none has to be restarted.',
  '`http_401`: the token of the pod, or the keys by which the control plane judges tokens, are not the current ones.',
  '`http_403`: the identity is revoked, or the pod is not in the registry; ask whoever revoked it.',
  '`not_yet_valid`, `already_expired`: set the clock of that node.',
];

/** Alerts about the sidecar's own certificate. */
export function identityAlerts(pace: Pace): readonly Alert[] {
  return [
    {
      name: 'RemoraCertificateLate',
      severity: 'warning',
      expression: `clamp_min(min by (${whose}) (${lifeLeft(all)}), 0) < ${late}`,
      forSeconds: 0,
      summary: 'The certificate of {{ $labels.namespace }}/{{ $labels.pod }} was not renewed in time',
      description:
        'Only {{ $value | humanizePercentage }} of its life is left, and it is renewed at half of it. When it is over, the pod takes and makes no connection.',
      runbook: {
        means:
          'A sidecar renews its certificate at half of its life. This one has less than a quarter left: some renewals in a row have failed. The valid certificate is kept and everything still works.',
        users:
          'Nothing yet. When the certificate is over, every connection of the pod is refused as `identity_expired`.',
        find: renewalSteps,
        fix: renewalFixes,
        falseAlarm:
          'Certificates that come in files (`source="files"`) are renewed by something else, which may come later than at three quarters of the life; cert-manager comes at two thirds by default, which is early enough. Then change the part in the rule.',
      },
      test: {
        // An hour; renewed late, in minute 50.
        series: { [end('workload')]: '3600+0x49 6600+0x20', [start]: '0+0x49 3000+0x20' },
        quietAt: 44,
        firesAt: 48,
        labels,
        value: '20%',
        resolvedAt: 51,
      },
    },
    {
      name: 'RemoraRenewalsFailing',
      severity: 'warning',
      expression: `sum by (${whose}) (${risen('remora_certificate_renewals_total{result="failure"}', 15 * minute, pace)}) unless sum by (${whose}) (${risen('remora_certificate_renewals_total{result="success"}', 15 * minute, pace)})`,
      forSeconds: 5 * minute,
      summary: 'Renewals of {{ $labels.namespace }}/{{ $labels.pod }} fail',
      description:
        'About {{ $value | printf "%.0f" }} attempts to renew its identity have failed within a quarter of an hour, and none succeeded.',
      runbook: {
        means:
          'Attempts to renew the identity fail one after the other. Between two attempts lie some seconds to two and a half minutes. The identity in use is kept until it ends: `remora_identity_time_to_outage_seconds` says when.',
        users: 'Nothing until the identity ends.',
        find: renewalSteps,
        fix: renewalFixes,
        falseAlarm:
          'A control plane that is being upgraded refuses for less than five minutes. A pod that is not in the registry yet is refused until it is.',
      },
      test: {
        // The first of each reason makes the series: a rise that `increase` does not see.
        series: {
          [`remora_certificate_renewals_total{result="failure", reason="unreachable", source="control_plane", ${pod}}`]:
            '_x19 1+0x5 2+0x30',
          [`remora_certificate_renewals_total{result="success", reason="", source="control_plane", ${pod}}`]:
            '1+0x28 2+0x30',
        },
        quietAt: 22,
        firesAt: 26,
        labels,
        value: '1',
        resolvedAt: 30,
      },
    },
    {
      name: 'RemoraIdentityOutageNear',
      severity: 'critical',
      expression: `min by (${whose}) (${lifeLeft(all)}) < ${nearlyOver} and min by (${whose}) (remora_identity_time_to_outage_seconds) > 0`,
      forSeconds: 0,
      summary: 'The identity of {{ $labels.namespace }}/{{ $labels.pod }} is nearly over',
      description:
        '{{ $value | humanizePercentage }} of the life of its certificate is left. Then the pod takes and makes no connection until a renewal succeeds.',
      runbook: {
        means: 'Renewals have failed for most of the life of a certificate. The outage is minutes away.',
        users: 'Nothing yet; soon every connection of the pod fails.',
        find: renewalSteps,
        fix: [
          ...renewalFixes,
          'Nothing can be repaired in time: move traffic to pods whose identity lasts. A restart does not help, since a new sidecar needs the same control plane, and loses the certificate that is still valid.',
        ],
        falseAlarm: 'None is known. Certificates in files that are replaced in their very last tenth would do it.',
      },
      test: {
        series: {
          [end('workload')]: '3600+0x57 7200+0x20',
          [start]: '0+0x57 3480+0x20',
          [`remora_identity_time_to_outage_seconds{${pod}}`]: '3600-60x57 3600-60x20',
        },
        quietAt: 53,
        firesAt: 57,
        labels,
        value: '5%',
        resolvedAt: 58,
      },
    },
    {
      name: 'RemoraIdentityLost',
      severity: 'critical',
      expression: `min by (${whose}) (remora_identity_time_to_outage_seconds) == 0`,
      forSeconds: minute,
      summary: '{{ $labels.namespace }}/{{ $labels.pod }} has no identity',
      description:
        'Its time to outage is {{ $value }}: every connection of the pod is refused as identity_expired until a renewal succeeds.',
      runbook: {
        means:
          'The sidecar has no identity that a peer would accept: it never got one, its certificate has expired or was revoked, or its root is trusted no more. It fails closed, stays up, and recovers by itself.',
        users: 'Every connection from and to the pod fails. It is not ready, so Services do not send it anything new.',
        find: [
          ...renewalSteps,
          `${beside('certs')} and ${beside('status')} say **LAPSED**, and why when it is over before its certificate is: revoked, or the root removed.`,
        ],
        fix: [
          ...renewalFixes,
          'Revoked by mistake: lift it with `remora control-plane revoke --lift`, see [docs/control-plane.md](../control-plane.md#revocation); then the next renewal succeeds.',
        ],
        falseAlarm:
          'A pod that has just started has no identity for some seconds; that is less than the minute it waits.',
      },
      test: {
        series: { [`remora_identity_time_to_outage_seconds{${pod}}`]: '120 60 0 0 0 0 3600 3540' },
        quietAt: 2,
        firesAt: 3,
        labels,
        value: '0',
        resolvedAt: 6,
      },
    },
    {
      name: 'RemoraClockSkew',
      severity: 'warning',
      expression: `abs(max by (${whose}) (remora_clock_skew_seconds)) > 10`,
      forSeconds: 5 * minute,
      summary: 'The clock of {{ $labels.namespace }}/{{ $labels.pod }} differs from the control plane',
      description:
        'The two clocks are {{ $value | humanizeDuration }} apart. Certificates of this pod look too new or too old to its peers.',
      runbook: {
        means:
          'When a certificate is issued, both clocks are compared. Certificates begin a little before their time, which hides some seconds; beyond that peers refuse them as `not_yet_valid` or `expired`.',
        users:
          'Connections that fail between some pairs of pods, in one direction, right after a renewal or near the end of a certificate.',
        find: [
          `${beside('certs')} says which clock is ahead, and \`remora_clock_skew_seconds\` by how much.`,
          'All pods of one node: the clock of that node. All pods: the clock of the control plane.',
          '`timedatectl` or `chronyc tracking` on the node.',
        ],
        fix: ['Repair time synchronisation on that node. The next renewal measures again.'],
        falseAlarm:
          'It is measured when a certificate is issued: after the clock was set, the old value stays until the next renewal.',
      },
      test: {
        series: { [`remora_clock_skew_seconds{${pod}}`]: '-0.2 -40+0x9 0.1+0x5' },
        quietAt: 5,
        firesAt: 7,
        labels,
        value: '40s',
        resolvedAt: 11,
      },
    },
  ];
}
