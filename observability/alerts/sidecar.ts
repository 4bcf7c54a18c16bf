import { jobs, whose } from '../scrape-labels.ts';
import type { Alert } from './alert.ts';
import { atControlPlane, beside, minute } from './alert.ts';

const pod = 'namespace="shop", workload="web", pod="web-0"';
const labels = { namespace: 'shop', workload: 'web', pod: 'web-0' };

const captureSteps = [
  `${beside('status')} has a line **Interception**: what is ok, what is **LOST**, and how many connections go around the sidecar.`,
  'The log of the sidecar has one line for each connection that went around it, with addresses and uid.',
  'On the node, in the network namespace of the pod: `nft list table inet remora`. Each rule has a comment and a counter; when the table is not there, somebody has removed it.',
  `${beside('explain --to ADDRESS:PORT')} says whether a destination is captured, and by which rule.`,
];

/** Alerts about redirect rules, readiness and memory: whether the sidecar does its work at all. */
export function sidecarAlerts(): readonly Alert[] {
  return [
    {
      name: 'RemoraInterceptionLost',
      severity: 'critical',
      expression: `min by (${whose}, direction, family) (remora_interception_ok) == 0`,
      forSeconds: 2 * minute,
      summary: 'Traffic of {{ $labels.namespace }}/{{ $labels.pod }} is not captured',
      description:
        'The proof that {{ $labels.direction }} {{ $labels.family }} connections reach the sidecar has failed for two minutes, or connections go around it: what the application sends or takes may be in plaintext, and no policy holds.',
      runbook: {
        means:
          'The sidecar proves over and over that connections of the pod come to it, and this proof fails: the redirect rules are gone, or something comes before them. It also fires while single connections go around it; then [RemoraInterceptionBypassed](RemoraInterceptionBypassed.md) says how many. Applications go on to talk, without mutual TLS and without policy.',
        users: 'Usually nothing, which is the danger. Calls to STRICT pods fail as `plaintext_in_strict` over there.',
        find: captureSteps,
        fix: [
          'Delete the pod: its init container writes the rules anew. Rules cannot be repaired from inside, because the sidecar has no privileges.',
          'When it comes again, find out who flushes rules: a CNI plugin, another mesh, a security agent, `nft flush ruleset` in a container with NET_ADMIN.',
        ],
        falseAlarm:
          'None is known: a NetworkPolicy that keeps the control plane from trying it is no failure, and what cannot be proved has no series. [docs/interception.md](../interception.md) says how it is proved.',
      },
      test: {
        series: { [`remora_interception_ok{direction="outbound", family="ipv4", ${pod}}`]: '1 1 0 0 0 0 1 1' },
        quietAt: 3,
        firesAt: 5,
        labels: { ...labels, direction: 'outbound', family: 'ipv4' },
        value: '0',
        resolvedAt: 6,
      },
    },
    {
      name: 'RemoraInterceptionBypassed',
      severity: 'critical',
      expression: `sum by (${whose}, direction) (remora_interception_bypassed_connections) > 0`,
      forSeconds: minute,
      summary: 'Connections of {{ $labels.namespace }}/{{ $labels.pod }} go around the sidecar',
      description:
        '{{ $value }} established {{ $labels.direction }} connections should have been captured and are unknown to the sidecar.',
      runbook: {
        means:
          'The sidecar compares the connections of the pod with its own. These ones should have come to it by the rules, and did not. They are neither encrypted nor subject to any policy.',
        users: 'Nothing.',
        find: captureSteps,
        fix: [
          'A container that runs as the uid and gid of the sidecar is not captured: give it another user.',
          'Connections from before the rules were written, or while they were flushed: restart the application, or delete the pod.',
          'What is to go around on purpose belongs into the `traffic.sidecar.istio.io/exclude…` annotations; then it is no bypass.',
        ],
        falseAlarm:
          'Excluded ports and ranges, and connections that are older than the rules, are not counted. Two rare cases that look wrong are in [docs/interception.md](../interception.md).',
      },
      test: {
        series: { [`remora_interception_bypassed_connections{direction="outbound", ${pod}}`]: '0 0 2 2 2 0 0' },
        quietAt: 2,
        firesAt: 3,
        labels: { ...labels, direction: 'outbound' },
        value: '2',
        resolvedAt: 5,
      },
    },
    {
      name: 'RemoraSidecarNotReady',
      severity: 'warning',
      expression: `min by (${whose}, gate) (remora_ready{gate!="not_draining"}) == 0`,
      forSeconds: 5 * minute,
      summary: 'The sidecar of {{ $labels.namespace }}/{{ $labels.pod }} is not ready',
      description: 'Its readiness gate {{ $labels.gate }} has been shut for five minutes: the pod gets no traffic.',
      runbook: {
        means:
          'A pod is ready when every gate of its sidecar is open: `listeners` are bound, there is an `identity`, a complete `policy`, and `interception` is proved.',
        users: 'The pod gets no new traffic from Services. With all pods of a workload, the workload is down.',
        find: [
          `${atControlPlane('mesh')}: is it this pod alone, or many at once?`,
          `${beside('status')}: each shut gate says what it waits for.`,
          '`identity`: the runbook of [RemoraIdentityLost](RemoraIdentityLost.md). `policy`: that of [RemoraControlPlaneLost](RemoraControlPlaneLost.md), unless the log says that a policy is not understood: then the control plane is newer than the sidecar, which an image of the same version puts right. `interception`: that of [RemoraInterceptionLost](RemoraInterceptionLost.md).',
          '`listeners`: another program of the pod has a port of the sidecar; the log names it.',
        ],
        fix: ['By gate, as above. All gates open by themselves when the cause is gone.'],
        falseAlarm: 'A pod that ends shuts `not_draining`, which is left out here.',
      },
      test: {
        series: { [`remora_ready{gate="identity", ${pod}}`]: '1 0+0x8 1+0x3' },
        quietAt: 5,
        firesAt: 7,
        labels: { ...labels, gate: 'identity' },
        value: '0',
        resolvedAt: 10,
      },
    },
    {
      name: 'RemoraSidecarUnreachable',
      severity: 'warning',
      expression: `min by (${whose}) (up{job="${jobs.sidecars}"}) == 0`,
      forSeconds: 5 * minute,
      summary: 'The metrics of {{ $labels.namespace }}/{{ $labels.pod }} cannot be read',
      description:
        'Prometheus has not been able to scrape its sidecar for five minutes. No other alert can tell anything of that pod.',
      runbook: {
        means:
          'The sidecar does not answer on its metrics port, 15020. Either it is not running, and then everything that is captured is refused; or something lies between Prometheus and it.',
        users: 'When the sidecar is down: every connection of the pod fails. Otherwise nothing.',
        find: [
          '`kubectl -n NAMESPACE get pod POD`: restarts, OOMKilled, or Pending?',
          '`kubectl -n NAMESPACE logs POD -c remora --previous --tail=20`: the last line says why it ended.',
          'When it runs: a NetworkPolicy that does not let Prometheus reach 15020.',
        ],
        fix: [
          'OOMKilled: raise the memory limit of the sidecar; see [RemoraMemoryNearLimit](RemoraMemoryNearLimit.md).',
          'Exit code 78: a setting; the last line of its log names it.',
          'Allow port 15020 from the namespace of Prometheus.',
        ],
        falseAlarm: 'A pod that has ended and is still listed, for up to five minutes.',
      },
      test: {
        series: { [`up{job="${jobs.sidecars}", instance="10.0.0.7:15020", ${pod}}`]: '1 0+0x8 1+0x3' },
        quietAt: 5,
        firesAt: 7,
        labels,
        value: '0',
        resolvedAt: 10,
      },
    },
    {
      name: 'RemoraPolicyInvalid',
      severity: 'critical',
      expression: `max by (${whose}) (remora_policy_objects{state="invalid"}) > 0`,
      forSeconds: minute,
      summary: 'Policies of {{ $labels.namespace }}/{{ $labels.pod }} cannot be enforced',
      description:
        '{{ $value }} policies have something in them that is not supported. An AuthorizationPolicy that is to allow or deny denies everybody until it is put right; one of AUDIT or on trial does nothing; a PeerAuthentication means STRICT.',
      runbook: {
        means:
          'A policy has an action, a field or a value that the mesh does not support: CUSTOM, a misspelt field, an address that is none. What it was meant to allow or deny is not known for certain, so an AuthorizationPolicy denies everything in its scope, and cuts what is open there. A PeerAuthentication means STRICT.',
        users:
          'All connections to the pod are refused as `policy_error`, or cut as `policy_change`, if it is an AuthorizationPolicy that is to allow or deny. Under an invalid PeerAuthentication those without mutual TLS are: as `plaintext_in_strict`, or `alpn`.',
        find: [
          `${beside('status')}: how many are **INVALID**, and the first of them with what is wrong and where in the object. \`GET /policy\` of the admin port names each.`,
          '`remora validate FILE` says the same of the file, with line and column; so does the log of the control plane.',
          `${beside('explain --from SPIFFE-ID')}: whether it is this policy that decides, or sets the mode.`,
        ],
        fix: [
          'Correct the policy, or delete it. Sidecars hear of it within seconds.',
          'Check policies with `remora validate` before they are applied.',
          'To try an AuthorizationPolicy without enforcing it, annotate it with `istio.io/dry-run: "true"`.',
        ],
        falseAlarm: 'One of AUDIT or on trial denies nothing; it is no use as it is either.',
      },
      test: {
        series: { [`remora_policy_objects{state="invalid", ${pod}}`]: '0 0 2 2 2 0 0' },
        quietAt: 2,
        firesAt: 3,
        labels,
        value: '2',
        resolvedAt: 5,
      },
    },
    {
      name: 'RemoraMemoryNearLimit',
      severity: 'warning',
      expression: `max by (${whose}, pool) (remora_memory_used_bytes / remora_memory_limit_bytes) > 0.8`,
      forSeconds: 5 * minute,
      summary: 'The sidecar of {{ $labels.namespace }}/{{ $labels.pod }} is short of memory ({{ $labels.pool }})',
      description:
        'It uses {{ $value | humanizePercentage }} of its limit. From 85 % on it takes nothing new and refuses as memory_pressure; connections that run go on.',
      runbook: {
        means:
          'Memory follows what is open: connections, their buffers, tunnels. `container` is the limit of the container, `heap` that of Node.js inside of it. The sidecar refuses new connections before it would be ended.',
        users: 'From 85 % on, new connections fail; retries may reach another replica.',
        find: [
          'The panels **Memory**, **Open connections** and **Tunnels and what they carry**: which of them rose with it?',
          `${beside('connections')}: many that are old and move nothing are a leak of the application.`,
          '[docs/limits.md](../limits.md) has what a connection takes, and what a stalled one may hold.',
        ],
        fix: [
          'Raise the memory limit of the sidecar; a running pod can be resized, it looks at its limit again and again.',
          'More replicas of the workload.',
          'Lower `maxConnections` when the limit cannot be raised.',
        ],
        falseAlarm:
          'Much of what Node.js holds after a peak is garbage, which it throws away when it is needed: the value falls by itself near the limit.',
      },
      test: {
        series: {
          [`remora_memory_used_bytes{pool="container", ${pod}}`]: '50 90+0x8 60+0x3',
          [`remora_memory_limit_bytes{pool="container", ${pod}}`]: '100+0x20',
        },
        quietAt: 5,
        firesAt: 7,
        labels: { ...labels, pool: 'container' },
        value: '90%',
        resolvedAt: 10,
      },
    },
  ];
}
