import type { Row } from './panel.ts';
import { badBelow, badFrom } from './panel.ts';

const noCrl = 'no file of CRLs is given';
const noWebhook = 'without a webhook, or without a new pod';

/** Of the control plane's own pages, which the variables of the sidecars do not narrow. */
export const controlPlane: Row = {
  title: 'Control plane',
  panels: [
    {
      title: 'Certificates by result',
      kind: 'lines',
      unit: 'ops',
      description:
        'Requests for a workload certificate. Only issued is good. token_… is a pod whose token is not accepted; identity_revoked is on purpose; internal and authority_expired are the control plane itself, whose log says more.',
      queries: [
        {
          expression: 'sum by (result) (rate(remora_ca_certificates_issued_total[$__rate_interval])) > 0',
          legend: '{{result}}',
        },
      ],
      emptyBecause: 'nobody asked for one',
    },
    {
      title: 'Streams of sidecars',
      kind: 'lines',
      unit: 'short',
      description:
        'Sidecars that are told of changes, by replica of the control plane. Together they should be about as many as there are sidecars.',
      queries: [{ expression: 'sum by (pod) (remora_ca_streams_open)', legend: '{{pod}}' }],
    },
    {
      title: 'Root: time left',
      kind: 'lines',
      unit: 's',
      description:
        'Until the root that issues ends: then no identity is valid. Rotate it months before, with `remora control-plane rotate-root`, which names each next step.',
      queries: [{ expression: 'min(remora_ca_root_not_after_timestamp_seconds) - time()', legend: 'root' }],
      steps: badBelow(30 * 86_400, 180 * 86_400),
    },
    {
      title: 'Roots that are trusted',
      kind: 'lines',
      unit: 'short',
      description: 'One, and two during a rotation. Two for weeks is a rotation that was not finished.',
      queries: [{ expression: 'max(remora_ca_roots)', legend: 'roots' }],
    },
    {
      title: 'Event loop lag, p99',
      kind: 'lines',
      unit: 's',
      description: 'What every request waits besides. Below 50 ms is good; otherwise it has too little CPU.',
      queries: [
        {
          expression:
            'histogram_quantile(0.99, sum by (le, pod) (rate(remora_event_loop_lag_seconds_bucket[$__rate_interval]) and on (instance) remora_ca_roots))',
          legend: '{{pod}}',
        },
      ],
      steps: badFrom(0.1, 0.5),
    },
    {
      title: 'Revoked',
      kind: 'lines',
      unit: 'short',
      description: 'Certificates and identities that sidecars are told are revoked. It changes when somebody revokes.',
      queries: [{ expression: 'max by (kind) (remora_ca_revocations)', legend: '{{kind}}' }],
    },
    {
      title: 'Revocations not known',
      kind: 'states',
      unit: 'bool_on_off',
      description:
        'On while sidecars are told to trust nobody new, because it is not known who is revoked. Off is good. The log of the control plane names the file.',
      queries: [{ expression: 'max(remora_ca_revocations_unknown)', legend: 'not known' }],
      steps: badFrom(1, 1),
    },
    {
      title: 'CRLs: until a newer one is due',
      kind: 'lines',
      unit: 's',
      description: 'Below 0 the authority that signs it has not replaced it in time, or it was not copied here.',
      queries: [
        {
          expression: 'min by (file) (remora_ca_crl_next_update_timestamp_seconds) - time()',
          legend: '{{file}}',
        },
      ],
      steps: badBelow(0, 3600),
      emptyBecause: noCrl,
    },
    {
      title: 'CRLs out of date',
      kind: 'states',
      unit: 'bool_on_off',
      description:
        'On while a file of CRLs is missing, cannot be used or is out of date. Off is good. The log of the control plane says what is wrong with it.',
      queries: [{ expression: 'max by (file) (remora_ca_crl_stale)', legend: '{{file}}' }],
      steps: badFrom(1, 1),
      emptyBecause: noCrl,
    },
    {
      title: 'Webhook by result',
      kind: 'lines',
      unit: 'ops',
      description:
        'Pods that came by the injector. injected and skipped are good; refused is a pod that cannot be injected as it is, and its owner was told why; failed is ours.',
      queries: [
        {
          expression: 'sum by (result) (rate(remora_injector_requests_total[$__rate_interval]))',
          legend: '{{result}}',
        },
      ],
      emptyBecause: noWebhook,
    },
    {
      title: 'Webhook duration, p99',
      kind: 'lines',
      unit: 's',
      description: 'Pods wait for it when they are made. Below 100 ms is good; the API server gives up after 10 s.',
      queries: [
        {
          expression:
            'histogram_quantile(0.99, sum by (le) (rate(remora_injector_duration_seconds_bucket[$__rate_interval])))',
          legend: 'p99',
        },
      ],
      steps: badFrom(0.5, 5),
      emptyBecause: noWebhook,
    },
  ],
};
